"""The HTTPS device API with plain `requests`.

No Python SDK speaks it: azure-iot-device uses HTTPS for file uploads only, and azure-iot-hub 2.7.0 has no call for
purging a queue or reading feedback; so what the C SDK's HTTP transport and the REST reference send is written out here.
Source: wire reference, sections 3 and 5.
"""

import base64
import json

import pytest
import requests

from authorities import Authority, register
from certificates import made

DEVICE = "https-1"


@pytest.fixture(scope="module")
def call(hub):
    hub.create(DEVICE)

    def call(method, path, token=None, version="2016-11-14", **options):
        headers = {"Authorization": token or hub.token(DEVICE), **options.pop("headers", {})}
        return requests.request(
            method, f"https://localhost:{hub.https}/{path}", params={"api-version": version, **options.pop("params", {})},
            headers=headers, verify=hub.ca, timeout=20, **options)
    return call


@pytest.mark.parametrize("version", ["2016-11-14", "2019-10-01", "2020-03-13", "2021-04-12"])
def test_an_event_is_taken_with_every_known_version(call, version):
    answer = call("POST", f"devices/{DEVICE}/messages/events", version=version, data=b"{}", headers={
        "Content-Type": "application/octet-stream", "Connection": "Keep-Alive", "iothub-app-KEY": "value"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_one_connection_carries_many_events(hub, call):
    with requests.Session() as session:
        for number in range(50):
            answer = session.post(
                f"https://localhost:{hub.https}/devices/{DEVICE}/messages/events?api-version=2020-03-13", data=str(number),
                headers={"Authorization": hub.token(DEVICE), "IoTHub-MessageId": f"m-{number}"}, verify=hub.ca, timeout=20)
            assert answer.status_code == 204


def test_a_batch_as_the_c_sdk_writes_it(call):
    batch = [
        {"body": base64.b64encode(bytes([0, 255])).decode(), "base64Encoded": True, "properties": {"iothub-app-p": "1"}},
        {"body": "text", "base64Encoded": False},
    ]
    answer = call("POST", f"devices/{DEVICE}/messages/events", data=json.dumps(batch),
                  headers={"Content-Type": "application/vnd.microsoft.iothub.json"})
    assert answer.status_code == 204


def test_a_client_certificate_proves_a_device_by_thumbprint_or_by_authority(hub, tmp_path):
    own, foreign = made(tmp_path, "own"), made(tmp_path, "foreign")
    hub.stage.hub_command("device", "create", "https-own", "--thumbprint", own.sha256)
    root = Authority(tmp_path, "root")
    below = Authority(tmp_path, "below", above=root)
    register(hub, root)
    hub.stage.hub_command("device", "create", "https-chain", "--by-authority")
    chain = below.chain(below.issue("https-chain"))

    def send(device, certificate):
        return requests.post(
            f"https://localhost:{hub.https}/devices/{device}/messages/events?api-version=2020-03-13", data=b"{}",
            verify=hub.ca, cert=tuple(map(str, certificate.files)), timeout=20).status_code

    assert [send("https-own", own), send("https-own", foreign), send("https-own", chain)] == [204, 401, 401]
    assert [send("https-chain", chain), send("https-chain", own)] == [204, 401]
    for device, kind in ("https-own", "x509Certificate"), ("https-chain", "x509CertificateAuthority"):
        event = json.loads(hub.monitor(device).line("{"))
        assert json.loads(event["annotations"]["iothub-connection-auth-method"])["type"] == kind
    assert "127.0.0.1" in hub.stage.hub_command("device", "events", "https-own")


def test_a_message_is_received_and_settled_by_its_etag(hub, call):
    queue = f"devices/{DEVICE}/messages/devicebound"
    assert call("GET", queue).status_code == 204
    for settle in ("complete", "abandon", "reject"):
        hub.stage.hub_command("device", "send", DEVICE, settle, "--message-id", settle, "--ack", "full")
        answer = call("GET", queue)
        assert (answer.status_code, answer.content) == (200, settle.encode())
        assert answer.headers["iothub-messageid"] == settle
        etag = answer.headers["ETag"]
        assert etag[0] == etag[-1] == '"'
        lock = etag.strip('"')
        if settle == "abandon":
            assert call("POST", f"{queue}/{lock}/abandon").status_code == 204
            lock = call("GET", queue).headers["ETag"].strip('"')
        params = {"reject": ""} if settle == "reject" else {}
        assert call("DELETE", f"{queue}/{lock}", params=params).status_code == 204
        assert call("DELETE", f"{queue}/{lock}").status_code == 412
    assert call("GET", queue).status_code == 204


def test_feedback_and_purge_as_the_rest_reference_has_them(hub, call):
    service = hub.service_token()
    while (answer := call("GET", "messages/serviceBound/feedback", service)).status_code == 200:
        for record in answer.json():
            assert set(record) == {"originalMessageId", "enqueuedTimeUtc", "statusCode", "description", "deviceId", "deviceGenerationId"}
        lock = answer.headers["ETag"].strip('"')
        assert call("DELETE", f"messages/serviceBound/feedback/{lock}", service).status_code == 204
    hub.stage.hub_command("device", "send", DEVICE, "waits", "--message-id", "waits", "--ack", "negative")
    answer = call("DELETE", f"devices/{DEVICE}/commands", service)
    assert answer.json() == {"totalMessagesPurged": 1, "deviceId": DEVICE, "moduleId": None}
    record, = call("GET", "messages/serviceBound/feedback", service).json()
    assert (record["originalMessageId"], record["statusCode"], record["deviceId"]) == ("waits", "Purged", DEVICE)


def test_somebody_elses_token_is_401_as_iot_hub_says_it(hub, call):
    hub.create("https-2")
    answer = call("POST", f"devices/{DEVICE}/messages/events", hub.token("https-2"), data=b"{}")
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")
    assert answer.json()["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"
    assert answer.json()["ExceptionMessage"].startswith("Tracking ID:")
