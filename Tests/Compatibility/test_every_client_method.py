"""Every public method of the unmodified azure-iot-device: both classes, blocking and asyncio, MQTT and WebSockets.

The SDK has the ports 8883 and 443 in its code, so this hub listens there, on loopback.
"""

import asyncio
import contextlib
import inspect
import json
import os
import queue
import threading

import azure.iot.device as blocking
import pytest
from azure.iot.device import X509, Message, MethodResponse, aio
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from azure.storage.blob import BlobClient

from certificates import made
from conftest import Hub
from sas import device_token
from stage import Stage

SECONDS = 30
CLASSES = [blocking.IoTHubDeviceClient, blocking.IoTHubModuleClient, aio.IoTHubDeviceClient, aio.IoTHubModuleClient]

# What a client never asks a hub for: each with its reason.
NOT_HERE = {
    "IoTHubModuleClient.invoke_method": "a module's own call goes to the runtime on its gateway",
    "IoTHubModuleClient.receive_message_on_input": "an input is fed by the routes of the runtime on a gateway",
    "IoTHubModuleClient.on_message_received": "of a module this is its inputs",
}
SCENARIOS = {}


def scenario(*methods):
    """What the function tries; it gets a `Trial`."""
    def add(function):
        for method in methods:
            SCENARIOS[method] = function
        return function
    return add


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield Hub(stage, stage.start_hub(mqtt=8883, https=443))


@pytest.fixture(scope="module")
def loop():
    """The loop of the asyncio clients, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Client:
    """Either kind of client, called the same way."""

    def __init__(self, loop, client):
        self._loop, self.inner, self._is_over = loop, client, False

    def shut_down(self):
        if not self._is_over:
            self._is_over = True
            self.call("shutdown")

    def call(self, method, *arguments):
        result = getattr(self.inner, method)(*arguments)
        if not inspect.isawaitable(result):
            return result

        async def answer():
            return await result
        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(SECONDS)

    def heard(self, handler):
        """A queue of what the handler of that name is given."""
        found = queue.Queue()
        setattr(self.inner, handler, lambda *given: found.put(given[0] if given else None))
        return found


class Trial:
    """One identity of its own on the hub, and clients for it."""

    def __init__(self, hub, loop, tmp_path, registry, kind, transport):
        self.hub, self.registry, self.folder = hub, registry, tmp_path
        self._loop, self._kind, self._stack = loop, kind, contextlib.ExitStack()
        self.is_module = "Module" in kind.__name__
        self.device, self.module = f"d-{os.urandom(4).hex()}", "m" if self.is_module else None
        self.hub.create(self.device)
        if self.module:
            registry.create_module_with_sas(self.device, self.module, "", None, None)
        self.options = {"server_verification_cert": open(hub.ca).read(), "websockets": transport == "websockets"}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()

    @property
    def string(self):
        names = ["--module", self.module] if self.module else []
        return self.hub.stage.hub_command("connection-string", "--device", self.device, *names)

    def new(self, maker, *arguments, **options):
        """A client by one of the `create_from_…` functions, shut down in the end."""
        client = Client(self._loop, getattr(self._kind, maker)(*arguments, **{**self.options, **options}))
        self._stack.callback(client.shut_down)
        return client

    def client(self, **options):
        client = self.new("create_from_connection_string", self.string, **options)
        client.call("connect")
        return client

    def token(self, seconds=3600):
        return device_token(self.string, seconds)

    def arrives(self, client, text):
        """The event that the hub keeps of a message that the client sends now."""
        client.call("send_message", Message(text))
        return self.event(text)

    def event(self, text):
        output = self.hub.stage.hub_command("monitor", self.device, "--from-start", "--no-follow", timeout=60)
        events = [json.loads(line) for line in output.splitlines()]
        found = [event for event in events if event["body"] == text]
        assert len(found) == 1 and found[0].get("module") == self.module, events
        return found[0]

    def twin(self):
        return self.registry.get_module_twin(self.device, self.module) if self.module else self.registry.get_twin(self.device)

    def desire(self, properties):
        patch = Twin(properties=TwinProperties(desired=properties))
        if self.module:
            self.registry.update_module_twin(self.device, self.module, patch, "*")
        else:
            self.registry.update_twin(self.device, patch, "*")

    def invoke(self, name, payload):
        """Calls a method from another thread; a queue with its result."""
        results = queue.Queue()
        call = CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=SECONDS)

        def run():
            try:
                results.put(
                    self.registry.invoke_device_module_method(self.device, self.module, call)
                    if self.module else self.registry.invoke_device_method(self.device, call))
            except Exception as error:  # the test's own thread looks at it
                results.put(error)
        threading.Thread(target=run, daemon=True).start()
        return results


@pytest.mark.parametrize("transport", ["mqtt", "websockets"])
@pytest.mark.parametrize(
    "kind, method", [
        (kind, name) for kind in CLASSES for name in dir(kind)
        if name[0] != "_" and f"{kind.__name__}.{name}" not in NOT_HERE],
    ids=lambda value: value if isinstance(value, str) else f"{value.__module__.split('.')[-2]}-{value.__name__}")
def test_a_client_method_does_what_it_says(hub, loop, tmp_path, monkeypatch, method, kind, transport):
    assert method in SCENARIOS, f"a scenario for {method} is missing here, or a reason in NOT_HERE"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    registry = IoTHubRegistryManager.from_connection_string(hub.policy_string)
    with Trial(hub, loop, tmp_path, registry, kind, transport) as trial:
        SCENARIOS[method](trial)


def test_no_scenario_and_no_reason_is_left_over():
    assert set(SCENARIOS) - {name for kind in CLASSES for name in dir(kind)} == set()
    assert set(NOT_HERE) - {f"{kind.__name__}.{name}" for kind in CLASSES for name in dir(kind)} == set()


# -- making clients


@scenario("create_from_connection_string")
def by_connection_string(trial):
    event = trial.arrives(trial.client(), "by string")
    method = json.loads(event["annotations"]["iothub-connection-auth-method"])
    assert method == {"scope": "module" if trial.module else "device", "type": "sas", "issuer": "iothub"}


@scenario("create_from_sastoken")
def by_token(trial):
    trial.arrives(trial.new("create_from_sastoken", trial.token()), "by token")


@scenario("create_from_symmetric_key")
def by_key(trial):
    key = trial.registry.get_device(trial.device).authentication.symmetric_key.secondary_key
    trial.arrives(trial.new("create_from_symmetric_key", key, "localhost", trial.device), "by the second key")


@scenario("create_from_x509_certificate")
def by_certificate(trial):
    own, spare = made(trial.folder, "own"), made(trial.folder, "spare")
    if trial.module:
        trial.registry.create_module_with_x509(trial.device, "x", own.sha1, spare.sha1, "")
        trial.module = "x"
    else:
        trial.device += "-x"
        trial.registry.create_device_with_x509(trial.device, own.sha1, spare.sha1, "enabled")
    names = {"device_id": trial.device, **({"module_id": trial.module} if trial.module else {})}
    client = trial.new(
        "create_from_x509_certificate", x509=X509(*map(str, spare.files)), hostname="localhost", **names)
    event = trial.arrives(client, "by certificate")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"])["type"] == "x509Certificate"


@scenario("create_from_edge_environment")
def by_environment(trial):
    """As a module that is tried on a developer's machine: the variables name the hub itself as its gateway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EdgeHubConnectionString", f"{trial.string};GatewayHostName=localhost")
        patch.setenv("EdgeModuleCACertificateFile", trial.hub.ca)
        trial.options.pop("server_verification_cert")
        trial.arrives(trial.new("create_from_edge_environment"), "by environment")


# -- the connection


@scenario("connect", "disconnect", "connected")
def connects_and_disconnects(trial):
    client = trial.new("create_from_connection_string", trial.string)
    assert not client.inner.connected
    for _ in range(2):
        client.call("connect")
        assert client.inner.connected
        client.call("disconnect")
        assert not client.inner.connected


@scenario("shutdown")
def shuts_down(trial):
    client = trial.client()
    client.shut_down()
    assert not client.inner.connected
    with pytest.raises(Exception):
        client.call("send_message", "too late")


@scenario("on_connection_state_change")
def tells_of_its_connection(trial):
    client = trial.new("create_from_connection_string", trial.string)
    changes = client.heard("on_connection_state_change")
    for step in ("connect", "disconnect"):
        client.call(step)
        changes.get(timeout=SECONDS)


@scenario("on_background_exception")
def tells_that_its_place_was_taken(trial):
    """The hub closes a connection when another one comes with the same id: nobody called anything, so it is told."""
    first = trial.client(connection_retry=False)
    errors = first.heard("on_background_exception")
    trial.arrives(trial.client(), "the second")
    assert str(errors.get(timeout=SECONDS)) == "Unexpected disconnection"


# -- tokens


@scenario("update_sastoken")
def renews_its_token(trial):
    client = trial.new("create_from_sastoken", trial.token(600))
    client.call("connect")
    client.call("update_sastoken", trial.token(3600))
    assert client.inner.connected
    trial.arrives(client, "with the new token")


@scenario("on_new_sastoken_required")
def asks_for_a_new_token(trial):
    """Two minutes before the old one ends, which the SDK has in its code."""
    client = trial.new("create_from_sastoken", trial.token(122))
    asked = client.heard("on_new_sastoken_required")
    client.call("connect")
    asked.get(timeout=SECONDS)
    client.call("update_sastoken", trial.token())
    trial.arrives(client, "with the new token")


# -- messages


@scenario("send_message")
def sends(trial):
    message = Message('{"level": 3}', message_id="m-1", content_type="application/json", content_encoding="utf-8")
    message.correlation_id, message.custom_properties["a b"] = "c-1", "v/1&=ü"
    client = trial.client()
    client.call("send_message", message)
    event = trial.event({"level": 3})
    assert event["properties"] == {"a b": "v/1&=ü"}
    assert (event["system"]["message-id"], event["system"]["correlation-id"]) == ("m-1", "c-1")
    with pytest.raises(ValueError):
        client.call("send_message", Message("x" * (256 * 1024 + 1)))
    trial.arrives(client, "after one that was too large")


@scenario("send_message_to_output")
def sends_to_an_output(trial):
    trial.client().call("send_message_to_output", "to an output", "upstream")
    assert trial.event("to an output")["system"]["output-name"] == "upstream"


@scenario("get_storage_info_for_blob", "notify_blob_upload_status")
def uploads_a_file(trial):
    client = trial.client()
    info = client.call("get_storage_info_for_blob", "a b.log")
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    with BlobClient.from_blob_url(url, connection_verify=trial.hub.ca) as blob:
        blob.upload_blob(b"hello", overwrite=True)
    client.call("notify_blob_upload_status", info["correlationId"], True, 200, "done")
    rows = json.loads(trial.hub.stage.hub_command("device", "files", trial.device, "--output", "json"))
    assert [(row["name"], row["bytes"]) for row in rows] == [("a b.log", 5)]
    with pytest.raises(Exception):
        client.call("notify_blob_upload_status", info["correlationId"], True, 200, "twice")


def send_down(trial, text):
    trial.hub.stage.hub_command("device", "send", trial.device, text, "--property", "colour=dark red")


@scenario("receive_message")
def receives(trial):
    client = trial.client()
    send_down(trial, "hello")
    message = client.call("receive_message")
    assert (message.data, message.custom_properties["colour"]) == (b"hello", "dark red")


@scenario("on_message_received")
def is_given_messages(trial):
    """Also the one that was sent while it was away."""
    send_down(trial, "early")
    client = trial.client()
    messages = client.heard("on_message_received")
    assert messages.get(timeout=SECONDS).data == b"early"
    send_down(trial, "late")
    assert messages.get(timeout=SECONDS).data == b"late"


# -- the twin


@scenario("get_twin")
def reads_its_twin(trial):
    trial.desire({"interval": 5, "deep": {"x": [1, None, "ü"]}})
    assert trial.client().call("get_twin") == {
        "desired": {"interval": 5, "deep": {"x": [1, None, "ü"]}, "$version": 2}, "reported": {"$version": 1}}


@scenario("patch_twin_reported_properties")
def reports(trial):
    client = trial.client()
    client.call("patch_twin_reported_properties", {"colour": "green", "gone": 1, "deep": {"x": 1}})
    client.call("patch_twin_reported_properties", {"gone": None, "deep": {"y": 2}})
    reported = trial.twin().properties.reported
    assert {name: value for name, value in reported.items() if name[0] != "$"} == {
        "colour": "green", "deep": {"x": 1, "y": 2}}
    assert reported["$version"] == 3
    with pytest.raises(Exception):
        client.call("patch_twin_reported_properties", {"bad.key": 1})
    assert trial.twin().properties.reported["$version"] == 3


@scenario("receive_twin_desired_properties_patch")
def receives_a_desired_patch(trial):
    client = trial.client()
    patches = queue.Queue()
    waiting = threading.Thread(
        target=lambda: patches.put(client.call("receive_twin_desired_properties_patch")), daemon=True)
    waiting.start()
    # The call subscribes first; until then a change is not sent, and would be found by its version only.
    version = 1
    while patches.empty():
        version += 1
        trial.desire({"interval": version})
        waiting.join(1)
    patch = patches.get()
    assert patch["interval"] == patch["$version"]


@scenario("on_twin_desired_properties_patch_received")
def is_given_desired_patches(trial):
    client = trial.client()
    patches = client.heard("on_twin_desired_properties_patch_received")
    trial.desire({"interval": 5, "gone": None})
    assert patches.get(timeout=SECONDS) == {"interval": 5, "gone": None, "$version": 2}


# -- methods


@scenario("receive_method_request")
def receives_a_method(trial):
    client = trial.client()
    requests = queue.Queue()
    threading.Thread(
        target=lambda: requests.put(client.call("receive_method_request", "reboot")), daemon=True).start()
    # The call subscribes first; until then the hub says that the device is not there.
    while requests.empty():
        result = trial.invoke("reboot", {"x": 1})
        with contextlib.suppress(queue.Empty):
            request = requests.get(timeout=1)
            break
    assert (request.name, request.payload) == ("reboot", {"x": 1})
    client.call("send_method_response", MethodResponse.create_from_method_request(request, 200, {"y": 2}))
    assert result.get(timeout=SECONDS).payload == {"y": 2}


@scenario("on_method_request_received", "send_method_response")
def answers_methods(trial):
    client = trial.client()
    requests = client.heard("on_method_request_received")
    result = trial.invoke("reboot", {"x": 1})
    request = requests.get(timeout=SECONDS)
    client.call("send_method_response", MethodResponse.create_from_method_request(request, 201, {"echo": request.payload}))
    answer = result.get(timeout=SECONDS)
    assert (answer.status, answer.payload) == (201, {"echo": {"x": 1}})
