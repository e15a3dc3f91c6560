"""A hub before an S3 store that nobody here wrote (see Tests/Support/s3_server.py), and a device that uploads to it."""

import contextlib
import pathlib
import socket
import sys
import threading
import time
import urllib.parse

import boto3
import requests
from azure.storage.blob import BlobClient
from botocore.config import Config

from sas import device_token
from stage import free_port

SERVER = pathlib.Path(__file__).resolve().parents[1] / "Support/s3_server.py"
KEY, SECRET, REGION = "test:tester", "testing", "us-east-1"


class Store:
    """The server's process, and a client of Amazon's."""

    def __init__(self, stage, port=None, name="store", tls=None, env=None):
        self.stage, self.port, self.name, self.tls, self.env = stage, port or free_port(), name, tls, env
        self.start()
        self.endpoint = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.client = self.client_with(KEY, SECRET)

    def start(self):
        self.process = self.stage.start(self.name, [
            sys.executable, "-W", "ignore", SERVER, self.stage.folder / self.name, self.port,
            *(self.tls.files if self.tls else ())], env=self.env)
        self.process.line("ready", 60)

    def kill(self):
        self.process.kill()
        self.stage.forget(self.process)

    def client_with(self, key, secret):
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION,
            verify=False, config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"))

    def content(self, bucket, name):
        return self.client.get_object(Bucket=bucket, Key=name)["Body"].read()

    def names(self, bucket):
        return {row["Key"] for row in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])}

    def unfinished(self, bucket):
        return self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


class Line:
    """What lies between hub and store: passes bytes on, as slowly and as badly as it is told to."""

    def __init__(self, port):
        self.target, self.connections = port, 0
        self.bytes_a_second = None
        self.cuts = []      # after how many bytes the next connections end
        self.answers = []   # what the next connections are answered instead, whole
        self.requests = []  # first lines
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"http://localhost:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        # Wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer, contextlib.suppress(OSError):
            if self.answers:
                answer = self.answers.pop(0)
                peer.recv(65536)
                return peer.sendall(answer)
            cut = self.cuts.pop(0) if self.cuts else None
            with socket.create_connection(("127.0.0.1", self.target), 10) as store:
                store.settimeout(None)
                threading.Thread(target=self._pass, args=(store, peer), daemon=True).start()
                self._pass(peer, store, cut)

    def _pass(self, source, target, cut=None):
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if cut is not None and (cut := cut - len(chunk)) < 0:
                    break
                first = chunk.split(b"\r\n", 1)[0]
                if first.endswith(b" HTTP/1.1"):
                    self.requests.append(first.decode())
                target.sendall(chunk)
                if self.bytes_a_second:
                    time.sleep(len(chunk) / self.bytes_a_second)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def config(folder, endpoint, bucket, *, key=KEY, secret=SECRET, files="", **more):
    """A configuration file with the bucket in it."""
    key_file = folder / "s3-key"
    key_file.touch(0o600)
    key_file.write_text(f"{key}\n{secret}\n")
    lines = "".join(f'{name} = "{value}"\n' for name, value in more.items())
    path = folder / "cloud-hub.toml"
    path.write_text(
        f'[files]\nstore = "s3"\n{files}\n[files.s3]\nendpoint = "{endpoint}"\nbucket = "{bucket}"\nkey_file = "{key_file}"\n'
        + lines)
    return path


class Site:
    """A hub with a device, on ports of its own."""

    def __init__(self, stage, *arguments, **options):
        self.stage, self.process = stage, stage.start_hub(*arguments, **options)
        self.ca = str(self.process.ca)
        self.base = f"https://localhost:{self.process.https}"

    def create(self, device):
        self.stage.hub_command("device", "create", device, data=self.process.data)

    def ask(self, device, path, **body):
        token = device_token(self.stage.device_string(device, data=self.process.data))
        return requests.post(
            f"{self.base}/devices/{urllib.parse.quote(device, safe='')}/files{path}?api-version=2021-04-12", json=body,
            verify=self.ca, timeout=30, headers={"Authorization": token})

    def start(self, device, name):
        answer = self.ask(device, "", blobName=name)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def blob(self, info, **options):
        address = f"https://{info['hostName']}/{info['containerName']}/{urllib.parse.quote(info['blobName'])}{info['sasToken']}"
        options.setdefault("retry_total", 0)
        return BlobClient.from_blob_url(address, connection_verify=self.ca, **options)

    def tell(self, device, info, **more):
        return self.ask(device, "/notifications", **{
            "correlationId": info["correlationId"], "isSuccess": True, "statusCode": 201, "statusDescription": "ok", **more})

    def command(self, *arguments, **options):
        return self.stage.hub_command(*arguments, data=self.process.data, **options)

    def listed(self, device):
        rows = self.command("device", "files", device).splitlines()[1:]
        return {row.split(maxsplit=3)[3]: int(row.split()[2]) for row in rows}

    def fetched(self, device, name):
        link = self.command("device", "file-link", device, name)
        with BlobClient.from_blob_url(link, connection_verify=self.ca) as reader:
            return reader.download_blob().readall()

    def files_on_disk(self):
        return {path.name for path in (self.process.data / "files").iterdir()}
