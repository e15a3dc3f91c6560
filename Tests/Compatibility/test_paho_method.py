"""paho-mqtt answers a direct method that a service invokes by REST."""

import json
import threading

import paho.mqtt.client as mqtt
import requests


def test_direct_method_is_answered(hub):
    hub.create("paho-1")
    client = mqtt.Client(client_id="paho-1", clean_session=False, protocol=mqtt.MQTTv311)
    client.username_pw_set("localhost/paho-1/?api-version=2021-04-12", hub.token("paho-1"))
    client.tls_set(ca_certs=hub.ca)
    subscribed = threading.Event()

    def on_connect(client, _userdata, _flags, code):
        assert code == 0
        client.subscribe("$iothub/methods/POST/#", qos=1)

    def on_message(client, _userdata, message):
        _, _, _, name, query = message.topic.split("/")
        request = query.removeprefix("?$rid=")
        body = json.dumps({"method": name, "echo": json.loads(message.payload)})
        client.publish(f"$iothub/methods/res/207/?$rid={request}", body, qos=1)

    client.on_connect, client.on_message = on_connect, on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("localhost", hub.mqtt, 30)
    client.loop_start()
    try:
        assert subscribed.wait(10), "no SUBACK"
        answer = requests.post(
            f"https://localhost:{hub.https}/twins/paho-1/methods?api-version=2021-04-12",
            headers={"Authorization": hub.service_token()},
            json={"methodName": "reboot", "payload": {"delay": 3}, "responseTimeoutInSeconds": 10},
            verify=hub.ca, timeout=20,
        )
        assert answer.status_code == 200
        assert answer.json() == {"status": 207, "payload": {"method": "reboot", "echo": {"delay": 3}}}
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_method_on_a_device_that_is_away_is_404103(hub):
    hub.create("paho-2")
    answer = requests.post(
        f"https://localhost:{hub.https}/twins/paho-2/methods?api-version=2021-04-12",
        headers={"Authorization": hub.service_token()}, json={"methodName": "reboot"}, verify=hub.ca, timeout=20,
    )
    assert answer.status_code == 404
    assert "404103" in answer.text
