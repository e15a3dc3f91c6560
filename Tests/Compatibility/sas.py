"""Shared access signatures, written from the public documentation and independent of the code under test."""

import base64
import hashlib
import hmac
import time
import urllib.parse


def parts(connection_string):
    return dict(part.split("=", 1) for part in connection_string.split(";"))


def sign(resource, key, expiry, policy=None):
    encoded = urllib.parse.quote(resource, safe="")
    digest = hmac.new(base64.b64decode(key), f"{encoded}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(digest), safe="")
    token = f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}"
    return token + (f"&skn={policy}" if policy else "")


def device_token(connection_string, lifetime=3600, key=None):
    fields = parts(connection_string)
    resource = f"{fields['HostName']}/devices/{fields['DeviceId']}"
    if "ModuleId" in fields:
        resource += f"/modules/{fields['ModuleId']}"
    return sign(resource, key or fields["SharedAccessKey"], int(time.time()) + lifetime)


def service_token(connection_string, lifetime=3600):
    fields = parts(connection_string)
    return sign(fields["HostName"], fields["SharedAccessKey"], int(time.time()) + lifetime, fields["SharedAccessKeyName"])
