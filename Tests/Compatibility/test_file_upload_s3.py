"""File upload into an S3 store: the device speaks to the hub with the unmodified azure-storage-blob package, and the file is
an object of the bucket when it is told so. The store checks every signature, and the size of every part."""

import itertools
import os

import pytest
import requests
from azure.core.exceptions import (
    AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError, ServiceResponseError)
from azure.storage.blob import BlobBlock, ContentSettings

from certificates import made
from s3_store import SECRET, Line, Site, Store, config
from stage import Stage, StageError, wait_until

MIB = 1 << 20
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def store(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("store")) as stage:
        store = Store(stage)
        store.client.create_bucket(Bucket="uploads")
        yield store


@pytest.fixture(scope="module")
def site(programs, store, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        path = config(stage.folder, store.endpoint, "uploads", prefix="hub-1/")
        yield Site(stage, "--config", path)


@pytest.fixture
def device(site):
    name = f"up-{next(NUMBERS)}"
    site.create(name)
    return name


@pytest.mark.parametrize("size", [0, 1, MIB, 20 * MIB, 70 * MIB], ids=["empty", "1B", "1MiB", "20MiB", "70MiB-in-blocks"])
def test_what_the_blob_client_puts_is_an_object_when_it_is_told_so(site, store, device, size):
    content = os.urandom(size)
    info = site.start(device, "logs/day one.bin")
    with site.blob(info) as blob:
        blob.upload_blob(content, overwrite=True, content_settings=ContentSettings(content_type="text/x-log; a=b"))
        assert store.content("uploads", f"hub-1/{device}/logs/day one.bin") == content
        assert blob.download_blob(offset=size // 2, length=size).readall() == content[size // 2:] if size else True
    assert site.tell(device, info).status_code == 204
    assert site.listed(device) == {"logs/day one.bin": size}
    assert site.fetched(device, "logs/day one.bin") == content
    head = store.client.head_object(Bucket="uploads", Key=f"hub-1/{device}/logs/day one.bin")
    assert head["ContentType"] == "text/x-log; a=b"
    assert site.files_on_disk() == set(), "the hub keeps bytes that are in the store"
    assert store.unfinished("uploads") == []
    site.command("device", "delete-file", device, "logs/day one.bin")
    assert site.listed(device) == {} and f"hub-1/{device}/logs/day one.bin" not in store.names("uploads")


def test_blocks_smaller_than_a_part_are_joined_in_the_order_of_the_list(site, store, device):
    blocks = {f"b{number:02}": os.urandom(MIB + number) for number in range(20)}
    info = site.start(device, "joined")
    with site.blob(info) as blob:
        for name in reversed(blocks):
            blob.stage_block(name, blocks[name])
        assert len(site.files_on_disk()) == 20 and store.names("uploads") == set()
        blob.commit_block_list([BlobBlock(name) for name in blocks])
        assert store.content("uploads", f"hub-1/{device}/joined") == b"".join(blocks.values())
        # A log that grows: blocks of the object are used again, with a new one behind them.
        committed, waiting = blob.get_block_list("all")
        assert [block.id for block in committed] == list(blocks) and waiting == []
        blob.stage_block("new", b"end")
        kept = [BlobBlock(name) for name in list(blocks)[1:]]
        blob.commit_block_list([*kept, BlobBlock("new")])
    assert site.fetched(device, "joined") == b"".join(list(blocks.values())[1:]) + b"end"
    assert site.files_on_disk() == set()


def test_the_blob_client_without_overwrite_meets_the_object_that_is_there(site, device):
    with site.blob(site.start(device, "a")) as blob:
        blob.upload_blob(b"first")
        with pytest.raises(ResourceExistsError):
            blob.upload_blob(b"second")
        blob.upload_blob(b"third", overwrite=True, validate_content=True)
        assert blob.download_blob().readall() == b"third"


@pytest.mark.parametrize("name", [
    "a+b c&d=e.log", "ümläut/日本語 🙂.txt", "100%.txt", "%2F%20", "~x'!()*", "quote\"<>^`{|}", "#?;:@$,",
])
def test_an_object_is_called_as_the_device_calls_its_file(site, store, name):
    owner = "d:1,$@#x%"
    if owner not in site.command("device", "list"):
        site.create(owner)
    with site.blob(site.start(owner, name)) as blob:
        blob.upload_blob(name.encode(), overwrite=True)
        assert blob.download_blob().readall() == name.encode()
    assert store.content("uploads", f"hub-1/{owner}/{name}") == name.encode()
    site.command("device", "delete-file", owner, name)
    assert f"hub-1/{owner}/{name}" not in store.names("uploads")


def test_a_name_that_no_object_can_have_is_refused_before_anything_is_sent(site, device):
    answer = site.ask(device, "", blobName="ü" * 600)
    assert answer.status_code == 400 and "1024 bytes" in answer.text


def test_an_object_that_somebody_removed_at_the_store_is_gone_and_can_be_deleted(site, store, device):
    with site.blob(site.start(device, "gone")) as blob:
        blob.upload_blob(b"x" * 100)
        store.client.delete_object(Bucket="uploads", Key=f"hub-1/{device}/gone")
        with pytest.raises(ResourceNotFoundError):
            blob.download_blob()
    site.command("device", "delete-file", device, "gone")
    assert site.listed(device) == {}


def test_an_object_that_somebody_made_shorter_is_never_taken_for_the_file(site, store, device):
    with site.blob(site.start(device, "cut")) as blob:
        blob.upload_blob(b"x" * 300_000)
        store.client.put_object(Bucket="uploads", Key=f"hub-1/{device}/cut", Body=b"y" * 1000)
        with pytest.raises(AzureError):
            blob.download_blob().readall()


# -- trouble between hub and store


@pytest.fixture
def line(store):
    line = Line(store.port)
    yield line
    line.close()


@pytest.fixture
def far(programs, store, line, tmp_path):
    """A hub that reaches the store by that line."""
    with Stage(programs, tmp_path) as stage:
        path = config(stage.folder, line.endpoint, "uploads", prefix=f"{tmp_path.name}/")
        site = Site(stage, "--config", path)
        site.config, site.prefix = path, f"{tmp_path.name}/"
        site.create("d")
        wait_until("the check of the store", lambda: sum("cloud-hub-check" in first for first in line.requests) == 3)
        yield site


def health(site):
    answer = requests.get(f"{site.base}/healthz", verify=site.ca, timeout=10)
    return answer.status_code, next(part for part in answer.text.splitlines() if " files" in part)


def test_a_connection_that_breaks_costs_one_part_and_5xx_is_tried_again(far, store, line):
    content = os.urandom(40 * MIB)
    line.cuts = [MIB, 20 * MIB]
    with far.blob(far.start("d", "cut")) as blob:
        blob.upload_blob(content, max_concurrency=1)
    assert store.content("uploads", far.prefix + "d/cut") == content
    line.cuts = [0] * 2
    line.answers = [b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] * 2
    with far.blob(far.start("d", "slow")) as blob:
        blob.upload_blob(b"x")
    assert store.content("uploads", far.prefix + "d/slow") == b"x" and health(far)[1] == "ok files"


def test_a_client_that_gives_up_finds_its_list_at_work_and_the_file_is_carried_once(far, store, line):
    content = os.urandom(24 * MIB)
    info = far.start("d", "slow")
    with far.blob(info) as blob:
        for number in range(6):
            blob.stage_block(f"b{number}", content[number * 4 * MIB:(number + 1) * 4 * MIB])
    line.bytes_a_second = 5 * MIB
    names = [BlobBlock(f"b{number}") for number in range(6)]
    with far.blob(info, read_timeout=1) as hasty, pytest.raises(ServiceResponseError):
        hasty.commit_block_list(names)
    with far.blob(info) as blob:
        with pytest.raises(HttpResponseError) as busy:
            blob.upload_blob(b"another", overwrite=True)
        assert busy.value.status_code == 503 and busy.value.error_code == "ServerBusy"
        blob.commit_block_list(names)
        # And once more, when it is all over: nothing is sent.
        before = len(line.requests)
        blob.commit_block_list(names)
        assert len(line.requests) == before
    assert store.content("uploads", far.prefix + "d/slow") == content
    assert sum("?uploads=" in first for first in line.requests) == 1


def test_a_hub_that_dies_on_the_way_leaves_no_parts_at_the_store(far, store, line):
    content = os.urandom(24 * MIB)
    info = far.start("d", "torn")
    with far.blob(info) as blob:
        blob.stage_block("all", content)
    line.bytes_a_second = 2 * MIB
    with far.blob(info, read_timeout=1) as hasty, pytest.raises(ServiceResponseError):
        hasty.commit_block_list([BlobBlock("all")])
    wait_until("an upload in parts", lambda: store.unfinished("uploads"))
    far.process.kill()
    far.stage.forget(far.process)
    line.bytes_a_second = None
    again = Site(far.stage, "--config", far.config, name="again", https=far.process.https)
    wait_until("the parts to go", lambda: not store.unfinished("uploads"))
    with again.blob(info) as blob:
        blob.commit_block_list([BlobBlock("all")])
    assert again.tell("d", info).status_code == 204
    assert store.content("uploads", far.prefix + "d/torn") == content


def test_a_store_that_is_down_stops_no_hub_and_uploads_heal(programs, tmp_path):
    with Stage(programs, tmp_path) as stage:
        store = Store(stage)
        store.client.create_bucket(Bucket="heal")
        store.kill()
        site = Site(stage, "--config", config(stage.folder, store.endpoint, "heal"))
        site.create("d")
        site.process.wait_log("the store for files is in trouble")
        status, line = health(site)
        assert status == 503 and "cannot be reached" in line and "files.s3.endpoint" in line
        info = site.start("d", "a")
        with site.blob(info) as blob:
            blob.stage_block("b", b"content")
            with pytest.raises(HttpResponseError) as refusal:
                blob.commit_block_list([BlobBlock("b")])
            assert (refusal.value.status_code, refusal.value.error_code) == (503, "ServerBusy")
            missing = site.tell("d", info)
            assert missing.headers["iothub-errorcode"] == "InvalidStorageEndpointOrBlob"
            store.start()
            blob.commit_block_list([BlobBlock("b")])
        assert site.tell("d", info).status_code == 204
        assert store.content("heal", "d/a") == b"content"
        assert health(site) == (200, "ok files")
        site.process.wait_log("the store for files is well again")
        store.kill()
        refused = site.command("device", "delete-file", "d", "a", check=False)
        assert refused.returncode == 1 and "store" in refused.stderr
        assert site.listed("d") == {"a": 7}, "a file that is still in the store is off the list"


# -- what the operator got wrong


@pytest.fixture(scope="module")
def fast_store(programs, tmp_path_factory):
    """Its clock is an hour fast."""
    with Stage(programs, tmp_path_factory.mktemp("fast")) as stage:
        yield Store(stage, env={"CLOCK_AHEAD": "3600"})


@pytest.fixture(scope="module")
def secure_store(programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    with Stage(programs, folder) as stage:
        store = Store(stage, tls=made(folder, "localhost", names=("DNS:localhost", "IP:127.0.0.1")))
        store.client.create_bucket(Bucket="uploads")
        yield store


@pytest.mark.parametrize("options, words", [
    ({"secret": "wrong"}, "does not accept the signature"),
    ({"key": "test:reader", "secret": "reading"}, "the access key may not do this"),
    ({"bucket": "none"}, "there is no such bucket"),
    ({"region": "eu-west-7"}, "the bucket is in another region, us-east-1"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_what_is_wrong_with_the_configuration_is_told_at_once(programs, store, tmp_path, options, words):
    said(programs, tmp_path, store, words, **{"bucket": "uploads", **options})


def test_clocks_that_differ_are_told_from_a_wrong_key(programs, fast_store, tmp_path):
    said(programs, tmp_path, fast_store, "the clocks of hub and store differ too much")


def test_a_certificate_that_is_not_trusted_is_told(programs, secure_store, tmp_path):
    said(programs, tmp_path, secure_store, "the store's certificate is not trusted")


def said(programs, folder, store, words, bucket="uploads", **options):
    with Stage(programs, folder) as stage:
        process = stage.start_hub("--config", config(stage.folder, store.endpoint, bucket, **options))
        line = process.wait_log("the store for files is in trouble")
        assert words in line and options.get("secret", SECRET) not in line, line


def test_a_store_with_a_certificate_of_its_own_is_reached_by_its_ca_file(programs, secure_store, tmp_path):
    with Stage(programs, tmp_path) as stage:
        path = config(stage.folder, secure_store.endpoint, "uploads", ca_file=secure_store.tls.path)
        site = Site(stage, "--config", path)
        site.create("d")
        with site.blob(site.start("d", "a")) as blob:
            blob.upload_blob(b"over TLS")
        assert secure_store.content("uploads", "d/a") == b"over TLS"


def test_a_bucket_can_be_named_in_the_host(programs, secure_store, tmp_path):
    """`127.0` before `.0.1` is a host that everybody finds, without a name server."""
    secure_store.client.create_bucket(Bucket="127.0")
    with Stage(programs, tmp_path) as stage:
        path = config(
            stage.folder, f"https://0.1:{secure_store.port}", "127.0", ca_file=secure_store.tls.path,
            addressing="virtual-host")
        site = Site(stage, "--config", path)
        site.create("d")
        content = os.urandom(20 * MIB)
        with site.blob(site.start("d", "a b")) as blob:
            blob.upload_blob(content)
            assert blob.download_blob().readall() == content
        assert secure_store.content("127.0", "d/a b") == content


@pytest.mark.parametrize("content, words", [
    (None, "cannot be read"), ("only-one-line\n", "does not hold two lines"), ("", "does not hold two lines"),
])
def test_a_hub_without_its_key_does_not_start(programs, store, tmp_path, content, words):
    with Stage(programs, tmp_path) as stage:
        path = config(stage.folder, store.endpoint, "uploads")
        key = stage.folder / "s3-key"
        key.unlink() if content is None else key.write_text(content)
        with pytest.raises(StageError) as refusal:
            stage.start_hub("--config", path)
        assert words in str(refusal.value) and "files.s3.key_file" in str(refusal.value)


# -- how much it costs


def memory(process, name):
    with open(f"/proc/{process.process.pid}/status") as status:
        return next(int(row.split()[1]) for row in status if row.startswith(name)) * 1024


def test_a_large_file_goes_through_a_hub_that_does_not_grow(site, store, device):
    content = os.urandom(256 * MIB)

    def upload(name, size):
        with site.blob(site.start(device, name)) as blob:
            blob.upload_blob(content[:size], overwrite=True)
    upload("warm", 96 * MIB)
    with open(f"/proc/{site.process.process.pid}/clear_refs", "w") as peak:
        peak.write("5")
    before = memory(site.process, "VmRSS")
    upload("large", len(content))
    grown = memory(site.process, "VmHWM") - before
    print(f"the hub grew by {grown / MIB:.1f} MiB")
    assert grown < 8 * MIB
    assert store.client.head_object(Bucket="uploads", Key=f"hub-1/{device}/large")["ContentLength"] == len(content)
    for name in ("warm", "large"):
        site.command("device", "delete-file", device, name)
