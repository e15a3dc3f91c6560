"""A device without a clock asks the hub what time it is."""

import datetime
import json

import pytest

from clients import Closed, HubUnderTest
from stage import Stage, wait_until

NAME = "no-clock"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("time")) as stage:
        hub = HubUnderTest(stage)
        hub.create(NAME)
        yield hub


def test_the_hub_says_what_time_it_is_and_how_it_takes_batches(hub):
    device = hub.connect(NAME)
    assert device.subscribe("$fieldline/time/res/#") == 1
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(milliseconds=1)
    device.publish(b"", topic="$fieldline/time/GET/?$rid=a%20b")
    topic, payload = device.message()
    answer = json.loads(payload)
    assert topic == "$fieldline/time/res/200/?$rid=a%20b"
    assert before <= datetime.datetime.fromisoformat(answer["time"]) <= datetime.datetime.now(datetime.UTC)
    assert "utf-8" in answer["batchEncodings"]
    device.close()


def test_without_a_subscription_nothing_is_answered_and_the_connection_stays(hub):
    device = hub.connect(NAME)
    device.acknowledged(device.publish(b"", topic="$fieldline/time/GET/?$rid=1"))
    device.acknowledged(device.publish({"good": 1}))
    assert not device.has(3)
    device.close()


@pytest.mark.parametrize("topic", ["$fieldline/time/GET", "$fieldline/time/GET/?x=1", "$fieldline/time/SET/?$rid=1"])
def test_another_question_is_refused_and_named(hub, topic):
    device = hub.connect(NAME)
    device.publish(b"", topic=topic)
    with pytest.raises(Closed):
        device.message()
    # The log tells of one device not more than now and then; its events tell of all.
    wait_until(f"{topic} in the device's events", lambda: f"cannot use topic '{topic}'" in hub.stage.hub_command(
        "device", "events", NAME, data=hub.process.data))
