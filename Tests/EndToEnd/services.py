"""The hub by its HTTPS interfaces."""

import json
import urllib.error
import urllib.request

from clients import HubUnderTest, trusting
from sas import device_token, service_token


class HTTPSHub(HubUnderTest):
    """A running hub with its command line and its HTTPS interfaces, for devices and services."""

    def says(self, *arguments):
        return self.stage.hub_command(*arguments, data=self.process.data).rstrip("\n")

    def token(self, name):
        return device_token(self.stage.device_string(name, data=self.process.data))

    def call(self, method, path, token=None, body=None, headers=None):
        """Status, headers, body."""
        separator = "&" if "?" in path else "?"
        request = urllib.request.Request(
            f"https://localhost:{self.process.https}{path}{separator}api-version=2020-03-13", body, method=method,
            headers={**({"Authorization": token} if token else {}), **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=20, context=trusting(self.process)) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def device_events(self, *arguments):
        return [json.loads(line) for line in self.says("device", "events", *arguments, "--json").splitlines()]

    def rest(self, method, path, body=None, **headers):
        """As a service that may do everything: status, headers, body."""
        token = service_token(self.stage.hub_command("connection-string", data=self.process.data))
        return self.call(method, path, token, json.dumps(body).encode() if body is not None else None,
                         {"Content-Type": "application/json", **headers})

    def switch(self, name, status):
        body = json.loads(self.rest("GET", f"/devices/{name}")[2])
        assert self.rest("PUT", f"/devices/{name}", {**body, "status": status}, **{"If-Match": "*"})[0] == 200
