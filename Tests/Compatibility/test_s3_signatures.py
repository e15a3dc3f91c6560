"""The table of signatures that our signer is held to (Tests/CloudHub/S3StoreTests) is what Amazon's own library makes.

`python Tests/Compatibility/test_s3_signatures.py` writes it anew.
"""

import datetime
import json
import pathlib
import urllib.parse
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TABLE = pathlib.Path(__file__).resolve().parents[1] / "Golden/s3/signatures.json"
ID, SECRET, REGION, TIME = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-central-1", "2026-11-21T08:53:07Z"
BODY = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

ROWS = [
    ("PUT", "plain", {}, {}), ("GET", "with space", {}, {"range": "bytes=0-41"}), ("GET", "plus+and&and=", {}, {}),
    ("PUT", "ümläut/日本語/🙂", {}, {"content-type": "text/plain; charset=utf-8"}),
    ("DELETE", "a%20b%2F", {}, {}), ("PUT", "~tilde-_.!*'()", {}, {}), ("PUT", "d:1;x,$@#?", {}, {}),
    ("PUT", "folds", {}, {"content-type": "  a   b "}), ("PUT", 'quote"<>\\^`{|}', {}, {}),
    ("POST", "file", {"uploads": ""}, {}),
    ("PUT", "file", {"partNumber": "12", "uploadId": "a+b/c=="}, {}),
    ("POST", "file", {"uploadId": "2~x y.z"}, {"content-type": "application/xml"}),
    ("DELETE", "file", {"uploadId": "ü"}, {}), ("PUT", "deep/" * 60 + "end", {}, {"cache-control": "no-cache"}),
]


def signed(method, key, query, headers, virtual_host):
    host = "bucket.s3.example:9000" if virtual_host else "s3.example:9000"
    path = ("" if virtual_host else "/bucket") + "/" + urllib.parse.quote("pre/" + key, safe="/~")
    request = AWSRequest(method, f"https://{host}{path}", params=query, headers={**headers, "X-Amz-Content-SHA256": BODY})
    now = datetime.datetime.fromisoformat(TIME.replace("Z", "+00:00")).replace(tzinfo=None)
    signer = botocore.auth.S3SigV4Auth(Credentials(ID, SECRET), "s3", REGION)
    # The clock is all that is not the library's own; and the digest that it would make of the body.
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_: now), \
            mock.patch.object(signer, "payload", lambda _: BODY), mock.patch.object(signer, "_modify_request_before_signing"):
        request.context["timestamp"] = now.strftime(botocore.auth.SIGV4_TIMESTAMP)
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        canonical = signer.canonical_request(request)
        text = signer.string_to_sign(request, canonical)
        signer._inject_signature_to_request(request, signer.signature(text, request))
    return {
        "method": method, "key": key, "query": query, "headers": headers, "virtualHost": virtual_host, "path": path,
        "authorization": request.headers["Authorization"]}


def table():
    rows = [signed(*row, virtual_host) for row in ROWS for virtual_host in (False, True)]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def test_the_table_is_what_the_library_signs():
    assert TABLE.read_text() == table()


if __name__ == "__main__":
    TABLE.write_text(table())
