"""mosquitto_pub and mosquitto_rr with an IoT Hub user name and a SAS token."""

import json
import subprocess


def options(hub, device):
    return [
        "-h", "localhost", "-p", str(hub.mqtt), "--cafile", hub.ca, "-i", device,
        "-u", f"localhost/{device}/?api-version=2021-04-12", "-P", hub.token(device), "-V", "mqttv311",
    ]


def test_telemetry_with_properties_reaches_the_log(hub):
    hub.create("mosq-1")
    subprocess.run(
        ["mosquitto_pub", *options(hub, "mosq-1"), "-q", "1",
         "-t", "devices/mosq-1/messages/events/level=high&$.ct=application%2Fjson&$.ce=utf-8",
         "-m", '{"temperature": 21.5}'],
        check=True, timeout=20,
    )
    monitor = hub.monitor("mosq-1")
    event = json.loads(monitor.line("{"))
    assert event["device"] == "mosq-1"
    assert event["body"] == {"temperature": 21.5}
    assert event["properties"] == {"level": "high"}
    assert event["system"]["content-type"] == "application/json"
    assert event["annotations"]["iothub-connection-device-id"] == "mosq-1"
    assert json.loads(event["annotations"]["iothub-connection-auth-method"])["type"] == "sas"


def test_twin_get_by_request_and_response(hub):
    hub.create("mosq-2")
    answer = subprocess.run(
        ["mosquitto_rr", *options(hub, "mosq-2"), "-q", "1", "-W", "10",
         "-t", "$iothub/twin/GET/?$rid=17", "-e", "$iothub/twin/res/200/?$rid=17", "-m", " ", "-F", "%t %p"],
        check=True, timeout=20, capture_output=True, text=True,
    ).stdout.strip()
    topic, body = answer.split(" ", 1)
    assert topic == "$iothub/twin/res/200/?$rid=17"
    assert json.loads(body) == {"desired": {"$version": 1}, "reported": {"$version": 1}}


def test_a_wrong_key_is_refused_with_code_5(hub):
    hub.create("mosq-3")
    arguments = options(hub, "mosq-3")
    arguments[arguments.index("-P") + 1] = hub.token("mosq-3").replace("sig=", "sig=AAAA")
    done = subprocess.run(
        ["mosquitto_pub", *arguments, "-q", "1", "-t", "devices/mosq-3/messages/events/", "-m", "{}"],
        timeout=20, capture_output=True, text=True,
    )
    assert done.returncode == 5
    assert "not authorised" in done.stderr
