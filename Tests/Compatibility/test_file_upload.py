"""File upload with unmodified packages: azure-iot-device asks and tells, azure-storage-blob puts the file.

azure-iot-device has ports 8883 and 443 in its code, so this hub listens on both.
"""

import hashlib
import base64
import contextlib
import itertools
import os
import socket
import sqlite3
import ssl
import threading
import urllib.parse
from datetime import datetime, timedelta, timezone

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.iot.device import X509, IoTHubDeviceClient
from azure.storage.blob import BlobBlock, BlobClient, ContentSettings, generate_blob_sas

from certificates import made
from claims import claims
from conftest import Hub
from sas import device_token
from stage import Stage, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        config = stage.folder / "cloud-hub.toml"
        config.write_text('[files]\nquota = "400MiB"\nfile_bytes_max = "100MiB"\n')
        yield Hub(stage, stage.start_hub("--config", config, mqtt=8883, https=443))


NUMBERS = itertools.count(1)


@pytest.fixture
def device(hub):
    """A device of its own for each test."""
    name = f"up-{next(NUMBERS)}"
    hub.create(name)
    return name


def sdk(hub, name):
    with open(hub.ca) as authority:
        return IoTHubDeviceClient.create_from_connection_string(
            hub.stage.device_string(name), server_verification_cert=authority.read())


def ask(hub, device, path, **body):
    """One call of the device API, by hand."""
    return requests.post(
        f"https://localhost/devices/{device}/files{path}?api-version=2019-10-01", json=body, verify=hub.ca, timeout=10,
        headers={"Authorization": device_token(hub.stage.device_string(device))})


def start(hub, device, name):
    answer = ask(hub, device, "", blobName=name)
    assert answer.status_code == 200, answer.text
    return answer.json()


def address(info):
    return f"https://{info['hostName']}/{info['containerName']}/{urllib.parse.quote(info['blobName'])}{info['sasToken']}"


def blob_client(hub, info, **options):
    return BlobClient.from_blob_url(address(info), connection_verify=hub.ca, retry_total=0, **options)


def told(hub, device, info, **more):
    return ask(hub, device, "/notifications", **{
        "correlationId": info["correlationId"], "isSuccess": True, "statusCode": 201, "statusDescription": "ok", **more})


def listed(hub, device):
    rows = hub.stage.hub_command("device", "files", device).splitlines()[1:]
    return {row.split(maxsplit=3)[3]: int(row.split()[2]) for row in rows}


@claims("Learn: Upload files with IoT Hub – Initialize, upload and notify")
@pytest.mark.parametrize("size", [0, 1, MIB, 70 * MIB], ids=["empty", "1B", "1MiB", "70MiB-in-blocks"])
def test_the_device_sdk_asks_the_blob_client_puts_and_the_sdk_tells(hub, device, size):
    content = os.urandom(size)
    client = sdk(hub, device)
    client.connect()
    info = client.get_storage_info_for_blob("logs/day one.bin")
    assert set(info) == {"correlationId", "hostName", "containerName", "blobName", "sasToken"}
    assert info["blobName"] == f"{device}/logs/day one.bin" and info["sasToken"].startswith("?")
    with blob_client(hub, info) as blob:
        # Above 64 MiB the client sends blocks of 4 MiB and their list.
        result = blob.upload_blob(content, overwrite=True)
        assert result["etag"] and result["last_modified"]
    client.notify_blob_upload_status(info["correlationId"], True, 200, "done")
    client.shutdown()
    assert listed(hub, device) == {"logs/day one.bin": size}
    link = hub.stage.hub_command("device", "file-link", device, "logs/day one.bin")
    with BlobClient.from_blob_url(link, connection_verify=hub.ca) as reader:
        assert reader.get_blob_properties().size == size
        assert reader.download_blob(max_concurrency=2).readall() == content
        with pytest.raises(HttpResponseError):
            reader.upload_blob(b"x", overwrite=True, retry_total=0)
    hub.process.wait_log("a device uploaded a file")


def test_the_blob_client_without_overwrite_meets_the_blob_that_is_there(hub, device):
    info = start(hub, device, "a")
    with blob_client(hub, info) as blob:
        blob.upload_blob(b"first", metadata={"kind": "log"}, content_settings=ContentSettings(content_type="text/plain"))
        with pytest.raises(ResourceExistsError):
            blob.upload_blob(b"second")
        blob.upload_blob(b"third", overwrite=True, validate_content=True)
        assert blob.download_blob().readall() == b"third"


def test_a_device_with_a_certificate_uploads_too(hub, tmp_path):
    own = made(tmp_path, "own")
    hub.stage.hub_command("device", "create", "up-x509", "--thumbprint", own.sha1)
    with open(hub.ca) as authority:
        client = IoTHubDeviceClient.create_from_x509_certificate(
            x509=X509(*map(str, own.files)), hostname="localhost", device_id="up-x509",
            server_verification_cert=authority.read())
    client.connect()
    info = client.get_storage_info_for_blob("by-certificate.txt")
    blob_client(hub, info).upload_blob(b"proof")
    client.notify_blob_upload_status(info["correlationId"], True, 200, "done")
    client.shutdown()
    assert "by-certificate.txt" in hub.stage.hub_command("device", "files", "up-x509")


def test_two_devices_upload_at_once(hub, device):
    hub.create(device + "-b")
    names = [device, device + "-b"]
    contents = {name: os.urandom(12 * MIB) for name in names}

    def upload(name):
        info = start(hub, name, "big")
        with blob_client(hub, info, max_single_put_size=MIB, max_block_size=MIB) as blob:
            blob.upload_blob(contents[name], overwrite=True, max_concurrency=3)
        assert told(hub, name, info).status_code == 204
    threads = [threading.Thread(target=upload, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for name in names:
        with BlobClient.from_blob_url(
                hub.stage.hub_command("device", "file-link", name, "big"), connection_verify=hub.ca) as reader:
            assert hashlib.sha256(reader.download_blob().readall()).digest() == hashlib.sha256(contents[name]).digest()


def cut_in_the_middle(hub, url, sent, said):
    """A PUT whose connection ends after `sent` of `said` bytes."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=hub.ca)
    with socket.create_connection(("127.0.0.1", 443), 20) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall((
                f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: localhost\r\nx-ms-blob-type: BlockBlob\r\n"
                f"Content-Length: {said}\r\n\r\n").encode() + os.urandom(sent))


def files_on_disk(hub):
    return set(os.listdir(hub.process.data / "files"))


def test_a_cut_connection_leaves_nothing_and_the_upload_goes_on_with_new_blocks(hub, device):
    info = start(hub, device, "cut")
    before = files_on_disk(hub)
    with blob_client(hub, info) as blob:
        blob.stage_block("block-1", b"one ")
        staged = files_on_disk(hub) - before
        assert len(staged) == 1
        # base64 of 'block-2'
        cut_in_the_middle(hub, address(info) + "&comp=block&blockid=YmxvY2stMg%3D%3D", 300_000, 4 * MIB)
        cut_in_the_middle(hub, address(info), 300_000, 4 * MIB)
        wait_until("the torn files to go", lambda: files_on_disk(hub) - before == staged)
        with pytest.raises(ResourceNotFoundError):
            blob.download_blob()
        # The client asks what the hub has, and sends the rest.
        _, waiting = blob.get_block_list("all")
        assert [block.id for block in waiting] == ["block-1"] and waiting[0].size == 4
        blob.stage_block("block-2", b"two")
        blob.commit_block_list([BlobBlock("block-1"), BlobBlock("block-2")])
        assert blob.download_blob().readall() == b"one two"
    assert told(hub, device, info).status_code == 204


def changed(url, name, value):
    parts = urllib.parse.urlsplit(url)
    query = {**dict(urllib.parse.parse_qsl(parts.query)), name: value}
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))


def another_name(url):
    return url.replace("/refused?", "/other?")


@pytest.mark.parametrize("spoil", [
    lambda url: changed(url, "sig", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    lambda url: changed(url, "se", "2030-01-01T00:00:00Z"),
    lambda url: changed(url, "sp", "rwd"),
    another_name,
], ids=["wrong signature", "longer life", "more rights", "another blob"])
def test_a_signature_is_for_one_blob_as_it_was_given(hub, device, spoil):
    info = start(hub, device, "refused")
    with BlobClient.from_blob_url(spoil(address(info)), connection_verify=hub.ca, retry_total=0) as blob:
        with pytest.raises(ClientAuthenticationError) as refusal:
            blob.upload_blob(b"x", overwrite=True)
        assert refusal.value.error_code == "AuthenticationFailed"
    assert listed(hub, device) == {}


def test_the_azure_library_signs_as_the_hub_does_and_what_expired_is_refused(hub, device):
    info = start(hub, device, "signed")
    with contextlib.closing(sqlite3.connect(f"file:{hub.process.data}/hub.sqlite?mode=ro", uri=True)) as database:
        key = base64.b64encode(database.execute("SELECT key FROM blob_key").fetchone()[0]).decode()

    def client(seconds, permission):
        token = generate_blob_sas(
            "fieldline", info["containerName"], info["blobName"], account_key=key, permission=permission,
            expiry=datetime.now(timezone.utc) + timedelta(seconds=seconds))
        return blob_client(hub, {**info, "sasToken": "?" + token})
    with client(60, "w") as blob:
        blob.upload_blob(b"x", overwrite=True)
        with pytest.raises(HttpResponseError) as refusal:
            blob.download_blob()
        assert refusal.value.error_code == "AuthorizationPermissionMismatch"
    with client(-1, "rw") as blob:
        with pytest.raises(ClientAuthenticationError) as refusal:
            blob.upload_blob(b"y", overwrite=True)
        assert "was valid until" in str(refusal.value)
    with client(60, "r") as blob:
        assert blob.download_blob().readall() == b"x"


def test_without_a_signature_nothing_is_told(hub, device):
    url = f"https://localhost/device-files/{device}/a"
    for call in (requests.get, requests.put, requests.delete):
        answer = call(url, verify=hub.ca, timeout=10)
        assert answer.status_code == 401 and "NoAuthenticationInformation" in answer.text


def test_a_file_over_the_size_limit_is_refused_with_a_sentence(hub, device):
    info = start(hub, device, "large")
    with blob_client(hub, info, max_single_put_size=200 * MIB) as blob:
        with pytest.raises(HttpResponseError) as refusal:
            blob.upload_blob(b"\0" * (101 * MIB), overwrite=True)
    assert refusal.value.error_code == "RequestBodyTooLarge" and "file_bytes_max" in str(refusal.value)


def test_the_quota_refuses_and_a_deleted_file_makes_room(hub, device):
    names = []
    with pytest.raises(HttpResponseError) as refusal:
        for number in range(10):
            info = start(hub, device, f"part-{number}")
            with blob_client(hub, info, max_single_put_size=100 * MIB) as blob:
                blob.upload_blob(b"\0" * (90 * MIB), overwrite=True)
            assert told(hub, device, info).status_code == 204
            names.append(f"part-{number}")
    assert refusal.value.status_code == 403 and refusal.value.error_code == "FileQuotaExceeded"
    for name in names:
        hub.stage.hub_command("device", "delete-file", device, name)
    assert listed(hub, device) == {}
    with blob_client(hub, start(hub, device, "again")) as blob:
        blob.upload_blob(b"small", overwrite=True)


@claims("Learn: IoT Hub quotas and throttling – Other limits")
def test_ten_uploads_at_a_time_and_each_correlation_id_once(hub, device):
    infos = [start(hub, device, f"n-{number}") for number in range(10)]
    refused = ask(hub, device, "", blobName="n-10")
    assert refused.status_code == 403
    assert refused.headers["iothub-errorcode"] == "DeviceMaximumActiveFileUploadLimitExceeded"
    missing = told(hub, device, infos[0])
    assert missing.status_code == 400 and missing.headers["iothub-errorcode"] == "InvalidStorageEndpointOrBlob"
    assert told(hub, device, infos[0], isSuccess=False).status_code == 204
    twice = told(hub, device, infos[0], isSuccess=False)
    assert twice.status_code == 400 and twice.headers["iothub-errorcode"] == "InvalidFileUploadCorrelationId"
    assert ask(hub, device, "", blobName="n-10").status_code == 200
    # The C SDK's older form has the id in the path.
    old = ask(hub, device, "/notifications/" + infos[1]["correlationId"], isSuccess=False, statusCode=-1)
    assert old.status_code == 204


@pytest.mark.parametrize("body, code", [
    ({}, "ArgumentNull"), ({"blobName": 7}, "ArgumentNull"), ({"blobName": ""}, "ArgumentInvalid"),
    ({"blobName": "../other/a"}, "ArgumentInvalid"), ({"blobName": "a" * 1025}, "ArgumentInvalid"),
])
def test_a_name_that_is_none_is_refused(hub, device, body, code):
    answer = ask(hub, device, "", **body)
    assert answer.status_code == 400 and answer.headers["iothub-errorcode"] == code


def test_another_device_may_not_ask_and_a_disabled_one_may_not_put(hub, device):
    info = start(hub, device, "a")
    hub.create(device + "-x")
    foreign = requests.post(
        f"https://localhost/devices/{device}/files?api-version=2019-10-01", json={"blobName": "b"}, verify=hub.ca, timeout=10,
        headers={"Authorization": device_token(hub.stage.device_string(device + "-x"))})
    assert foreign.status_code == 401
    hub.stage.hub_command("device", "delete", device)
    with blob_client(hub, info) as blob:
        with pytest.raises(ClientAuthenticationError):
            blob.upload_blob(b"x", overwrite=True)
