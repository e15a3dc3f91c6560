"""Certificates for tests, made by the openssl command: of devices, and of servers with any life."""

import hashlib
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

CA_CONFIG = """
[ca]
default_ca = here
[here]
new_certs_dir = {folder}
database = {folder}/index.txt
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@dataclass
class Certificate:
    path: Path
    key: Path

    @property
    def files(self):
        return self.path, self.key

    @property
    def der(self):
        first, end, _ = self.path.read_text().partition("-----END CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(first + end)

    @property
    def sha1(self):
        return hashlib.sha1(self.der).hexdigest()

    @property
    def sha256(self):
        return hashlib.sha256(self.der).hexdigest()


def made(folder, name, starts=-3600, ends=3600, issuer=None, names=()):
    """A certificate with its key, signed by `issuer` or by itself; its life counts in seconds from now."""
    folder.mkdir(exist_ok=True)
    found = Certificate(folder / f"{name}.pem", folder / f"{name}-key.pem")
    request, config, extensions = (folder / f"{name}.{end}" for end in ("csr", "cnf", "ext"))
    config.write_text(CA_CONFIG.format(folder=folder))
    (folder / "index.txt").write_text("")
    extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "/dev/null",
            "-subj", f"/CN={name}", "-keyout", found.key, "-out", request)
    signer = ["-cert", issuer.path, "-keyfile", issuer.key] if issuer else ["-selfsign", "-keyfile", found.key]
    openssl("ca", "-batch", "-config", config, *signer, "-in", request, "-out", found.path, "-notext", "-extfile", extensions,
            "-startdate", date(starts), "-enddate", date(ends))
    return found


def date(seconds_from_now):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds_from_now))


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
