"""An S3 server that nobody here wrote: OpenStack Swift with its S3 layer, which checks every signature.

    s3_server.py FOLDER PORT [CERTIFICATE KEY]

Proxy, account, container and object server run in this one process on loopback; everything is below FOLDER. The access
key is `test:tester`, the secret `testing`, the region `us-east-1`; `test:reader` with `reading` may nothing. Buckets can be
addressed as hosts below `0.1`: `127.0.0.1` is the bucket `127.0`. CLOCK_AHEAD in the environment puts the server's clock forward, in seconds.
"""

import os
import time

if os.environ.get("CLOCK_AHEAD"):
    time.time = lambda right=time.time: right() + float(os.environ["CLOCK_AHEAD"])

import eventlet  # noqa: E402
import eventlet.wsgi  # noqa: E402

eventlet.monkey_patch()

import logging  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402

from eventlet.green import ssl  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.utils import set_swift_dir  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

PROXY = """
[DEFAULT]
swift_dir = {folder}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
storage_domain = 0.1
dns_compliant_bucket_names = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_test_reader = reading
[filter:slo]
use = egg:swift#slo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
"""

STORAGE = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
log_level = WARNING
[pipeline:main]
pipeline = server
[app:server]
use = egg:swift#{kind}
"""


def write_ring(folder, name, port):
    builder = RingBuilder(2, 1, 1)
    builder.add_dev({
        "id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": port, "device": "disk",
        "replication_ip": "127.0.0.1", "replication_port": port})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def serve(folder, kind, text, listener):
    config = folder / f"{kind}-server.conf"
    config.write_text(text.format(folder=folder, kind=kind))
    app = loadapp(str(config), global_conf={"log_name": kind})
    log = open(folder / f"{kind}.log", "w")
    return eventlet.spawn(eventlet.wsgi.server, listener, app, log=log, log_output=True, max_size=64)


def main(folder, port, certificate=None, key=None):
    folder = pathlib.Path(folder).resolve()
    (folder / "disks/disk").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = only\ndefault = yes\n")
    set_swift_dir(str(folder))
    greens = []
    for kind in ("account", "container", "object"):
        listener = eventlet.listen(("127.0.0.1", 0))
        write_ring(folder, kind, listener.getsockname()[1])
        greens.append(serve(folder, kind, STORAGE, listener))
    listener = eventlet.listen(("127.0.0.1", port))
    if certificate:
        listener = eventlet.wrap_ssl(
            listener, certfile=certificate, keyfile=key, server_side=True, ssl_version=ssl.PROTOCOL_TLS_SERVER)
    greens.append(serve(folder, "proxy", PROXY, listener))
    print("ready", flush=True)
    for green in greens:
        green.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    os.umask(0o077)
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
