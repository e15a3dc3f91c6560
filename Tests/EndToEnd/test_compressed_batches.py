"""Batches that a gateway compressed, made by another implementation of zstd than the hub's."""

import json
import re

import pytest
import zstandard

from clients import BATCH_TYPE, HubUnderTest
from stage import ROOT, Stage

GATEWAY = "zstd-gateway"
EPOCH = "00000000000000aa"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("zstd")) as stage:
        hub = HubUnderTest(stage)
        hub.create(GATEWAY, "--gateway")
        yield hub


@pytest.fixture
def gateway(hub):
    device = hub.connect(GATEWAY)
    device.subscribe("$fieldline/receipts")
    yield device
    device.close()


@pytest.fixture(scope="module")
def dictionary():
    """The first telemetry dictionary, out of the source that both programs are built with."""
    source = (ROOT / "Protocol/CZstd/dictionary1.c").read_text()
    return zstandard.ZstdCompressionDict(bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", source)))


def batch(first, count=1):
    records = [{"seq": str(first + place), "device": GATEWAY, "metric": "temperature", "value": f"{place}.5",
                "time": "2026-11-21T08:53:00.250Z"} for place in range(count)]
    return {"v": 1, "epoch": EPOCH, "runs": [[str(first), str(count)]], "records": records}


def send(gateway, body, encoding):
    gateway.acknowledged(gateway.publish(body, bag=f"$.ct={BATCH_TYPE}&$.ce={encoding}"))


def test_a_compressed_batch_is_stored_as_plain_json_that_says_so(hub, gateway, dictionary):
    text = json.dumps(batch(1, 100)).encode()
    frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(text)
    assert len(frame) < len(text) / 8
    send(gateway, frame, "zstd-fieldline-1")
    send(gateway, zstandard.ZstdCompressor().compress(json.dumps(batch(101)).encode()), "zstd")
    # Compressed or not, a repeat is one.
    send(gateway, json.dumps(batch(1, 100)).encode(), "utf-8")
    events = [event for event in hub.events() if event["device"] == GATEWAY]
    assert [event["body"] for event in events] == [batch(1, 100), batch(101)]
    assert {event["system"]["content-encoding"] for event in events} == {"utf-8"}


@pytest.mark.parametrize("what, encoding, reason", [
    ("no frame", "zstd", "it is no whole zstd frame: it does not begin as one"),
    ("half a frame", "zstd-fieldline-1", "it is no whole zstd frame: "),
    ("a bomb", "zstd", "decompressed it has more than 262144 bytes; send smaller batches"),
    ("plain", "gzip", "'gzip' is no encoding that this hub knows; it takes zstd-fieldline-1, zstd"),
])
def test_what_cannot_be_decompressed_is_quarantined_with_its_reason_and_the_next_one_passes(
        hub, gateway, dictionary, what, encoding, reason):
    body = {
        "no frame": b"{}", "plain": json.dumps(batch(500)).encode(),
        "half a frame": zstandard.ZstdCompressor(dict_data=dictionary).compress(json.dumps(batch(500, 50)).encode())[:-20],
        "a bomb": zstandard.ZstdCompressor().compress(b"0" * (64 << 20)),
    }[what]
    send(gateway, body, encoding)
    (entry,) = json.loads(gateway.message()[1])["entries"]
    assert entry["code"] == "malformedBatch"
    assert reason in entry["reason"]
    sequence = 1000 + len(hub.events())
    send(gateway, json.dumps(batch(sequence)).encode(), "utf-8")
    assert hub.bodies(GATEWAY)[-1] == batch(sequence)
