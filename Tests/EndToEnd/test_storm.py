"""Everybody comes back at once: all get in, a bounded number of handshakes is in progress, and nobody else notices."""

import json
import os
import ssl
import urllib.request

import pytest

from pressure import WatchedHub, ended, figures, hello, opened
from sas import service_token
from stage import Stage, wait_until

TIGHT = """
[limits]
handshakes_max = 4
handshakes_waiting_max = 3000
"""
AT_ONCE = 4 * os.cpu_count()


@pytest.fixture
def hub(programs, tmp_path):
    with Stage(programs, tmp_path) as stage:
        yield WatchedHub(stage, TIGHT)


def create_devices(hub, count):
    context = ssl.create_default_context(cafile=str(hub.process.ca))
    token = service_token(hub.stage.hub_command("connection-string", data=hub.process.data))
    for start in range(0, count, 100):
        body = [{"id": f"bench-{number}", "importMode": "create", "status": "enabled"}
                for number in range(start, min(count, start + 100))]
        request = urllib.request.Request(
            f"https://localhost:{hub.process.https}/devices?api-version=2021-04-12", json.dumps(body).encode(),
            {"Authorization": token, "Content-Type": "application/json"}, method="POST")
        urllib.request.urlopen(request, context=context).read()


def test_a_thousand_devices_at_once_get_in_while_others_send(hub):
    create_devices(hub, 1020)
    with hub.unharmed(mebibytes=160):
        steady = hub.bench("paced", "--connections", 20, "--rate", 5, "--seconds", 20)
        assert steady.stdout.readline() == "ready\n"
        come = figures(hub.bench("storm", "--connections", 1000, "--first", 20, "--seconds", 1))
        assert (come["connected"], come["retries"]) == (1000, 0)
        stayed = figures(steady)
        assert (stayed["failed"], stayed["unanswered"]) == (0, 0)
        assert stayed["acknowledged"] > 0
        found = hub.metrics()
        assert found["handshakes_completed_total"] >= 1020
        assert 1 <= found["handshakes_in_progress_peak"] <= AT_ONCE
        assert found["handshakes_refused_total"] == found["handshakes_timed_out_total"] == 0
        wait_until("an empty waiting room", lambda: hub.handshakes("waiting") == hub.handshakes("in_progress") == 0)


def test_nothing_is_begun_for_a_peer_that_left_while_it_waited(hub):
    with hub.unharmed():
        failed = hub.handshakes("failed_total")
        for port in (hub.process.mqtt, hub.process.https):
            gone = hub.handshakes("gone_total")
            for peer in [opened(port) for _ in range(50)]:
                peer.close()
            wait_until("fifty that left", lambda: hub.handshakes("gone_total") == gone + 50)
        assert hub.handshakes("failed_total") == failed


def test_peers_that_stop_in_their_handshake_hold_nobody_up(hub):
    first = hello(hub)
    with hub.unharmed():
        for port in (hub.process.mqtt, hub.process.https):
            held = [opened(port, first) for _ in range(AT_ONCE * 5)]
            wait_until("all of them begun, and slow",
                       lambda: hub.handshakes("slow") == len(held), 60)
            hub.create(f"between-{port}")
            device = hub.connect(f"between-{port}")
            device.acknowledged(device.publish({"n": 1}))
            device.close()
            assert hub.handshakes("in_progress_peak") <= AT_ONCE
            for peer in held:
                assert ended(peer)[:1] == b"\x16", "the hub said its part, then closed"
    hub.log("a TLS handshake failed", "the client began TLS and did not go on with it within limits.handshake_timeout")
    assert hub.handshakes("timed_out_total") == AT_ONCE * 10


def test_of_too_many_that_say_nothing_the_oldest_are_closed_and_the_rest_in_time(stage):
    hub = WatchedHub(stage, "[limits]\nhandshakes_waiting_max = 64\nhandshake_timeout = \"2s\"\n")
    each = 64 // os.cpu_count()
    with hub.unharmed():
        silent = [opened(hub.process.mqtt) for _ in range(64 * 4)]
        hub.create("among-them")
        device = hub.connect("among-them")
        device.acknowledged(device.publish({"n": 1}))
        device.close()
        assert hub.handshakes("waiting") <= each * os.cpu_count()
        for peer in silent:
            assert ended(peer) == b""
    found = hub.metrics()
    assert found["handshakes_refused_total"] >= 64 * 3
    assert found["handshakes_refused_total"] + found["handshakes_timed_out_total"] >= 64 * 4
    hub.log("a TLS handshake failed", "too many connections wait for TLS, so the oldest are closed")
    hub.log("a TLS handshake failed", "the client connected and sent nothing")
