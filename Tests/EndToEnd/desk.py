"""A client of the service desk's Web API: what a Dynamics user, a flow or an integration would do."""

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid

IN_PROGRESS, SENT, ERROR = 192350000, 192350001, 192350002


class Desk:
    """Signs in with the client credentials that the hub made, at the hub that runs now."""

    def __init__(self, hub):
        self.origin = f"http://127.0.0.1:{hub.http}"
        credentials = json.loads((hub.data / "desk-client.json").read_text())
        form = {
            "grant_type": "client_credentials", "client_id": credentials["client_id"],
            "client_secret": credentials["client_secret"], "scope": f"{self.origin}/.default",
        }
        address = f"{self.origin}/{credentials['tenant']}/oauth2/v2.0/token"
        with urllib.request.urlopen(address, urllib.parse.urlencode(form).encode(), timeout=10) as answer:
            self.token = json.load(answer)["access_token"]

    def call(self, method, path, body=None, **headers):
        """Status, headers and the JSON body, or None when there is none."""
        request = urllib.request.Request(f"{self.origin}/api/data/v9.2/{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Accept", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, found, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, found, text = error.code, error.headers, error.read()
        return status, found, json.loads(text) if text else None

    def write_command(self, device, name, parameters=None):
        """A command row as a person's button makes it; the row's id."""
        row = str(uuid.uuid4())
        status, _, answer = self.call("PATCH", f"msdyn_iotdevicecommands({row})", {
            "msdyn_name": name, "msdyn_deviceid": device,
            "msdyn_message": json.dumps({"CommandName": name, "Parameters": parameters or {}}),
        }, If_None_Match="*")
        assert status == 204, answer
        return row

    def command(self, row):
        """Status and reason of a command row."""
        status, _, found = self.call(
            "GET", f"msdyn_iotdevicecommands({row})?$select=msdyn_commandstatus,msdyn_commandstatusreason")
        assert status == 200, found
        return found["msdyn_commandstatus"], found["msdyn_commandstatusreason"]
