"""File upload over a power cut of the hub, and into an Azure account. Apart from the rest, because these hubs need port 443
for themselves."""

import base64
import os
import urllib.parse
from datetime import datetime, timezone

from azure.storage.blob import BlobBlock
from azure.storage.blob._shared_access_signature import BlobSharedAccessSignature

from conftest import Hub
from stage import Stage, free_port
from test_file_upload import blob_client, start, told


def test_an_upload_goes_on_over_a_restart_of_the_hub(programs, tmp_path):
    with Stage(programs, tmp_path) as stage:
        process = stage.start_hub(https=443, mqtt=8883)
        hub = Hub(stage, process)
        hub.create("d")
        info = start(hub, "d", "kept")
        with blob_client(hub, info) as blob:
            blob.stage_block("b1", b"before ")
        process.kill()
        stage.forget(process)
        (process.data / "files/9f86d081-884c-4d65-9a2f-eaa0c55ad015").write_bytes(b"torn")
        hub = Hub(stage, stage.start_hub(https=443, mqtt=8883, name="cloud-hub-again"))
        with blob_client(hub, info) as blob:
            blob.stage_block("b2", b"after")
            blob.commit_block_list([BlobBlock("b1"), BlobBlock("b2")])
            assert blob.download_blob().readall() == b"before after"
        assert told(hub, "d", info).status_code == 204
        assert len(os.listdir(process.data / "files")) == 2


def test_into_an_azure_account_the_hub_signs_with_the_accounts_key(programs, tmp_path):
    """No account is asked here: the signature is compared with the one of Azure's own library."""
    key = base64.b64encode(os.urandom(64)).decode()
    (tmp_path / "key").write_text(key + "\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "cloud-hub.toml").write_text(
        '[files]\nstore = "azure"\n[files.azure]\naccount = "contoso"\ncontainer = "uploads"\n'
        f'key_file = "{tmp_path}/key"\nhost = "localhost:{free_port()}"\n')
    with Stage(programs, tmp_path) as stage:
        hub = Hub(stage, stage.start_hub("--config", tmp_path / "cloud-hub.toml", https=443, mqtt=8883))
        hub.create("d")
        info = start(hub, "d", "a b.log")
        assert info["hostName"].startswith("localhost:") and info["containerName"] == "uploads"
        given = dict(urllib.parse.parse_qsl(info["sasToken"][1:]))
        account = BlobSharedAccessSignature("contoso", account_key=key)
        account.x_ms_version = given["sv"]
        token = account.generate_blob(
            "uploads", info["blobName"], permission=given["sp"], protocol="https",
            expiry=datetime.fromisoformat(given["se"]).astimezone(timezone.utc))
        assert dict(urllib.parse.parse_qsl(token)) == given
        # Nobody is there: the device has done its part all the same.
        hub.process.wait_log("the storage account cannot be reached")
        assert told(hub, "d", info).status_code == 204
        assert key not in (tmp_path / "cloud-hub.log").read_text()
