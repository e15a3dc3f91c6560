"""Certificate authorities for tests, made by the openssl command: roots, intermediates, leaves of every kind, lists."""

import time

from certificates import Certificate, date, openssl

CONFIG = """
[ca]
default_ca = here
[here]
new_certs_dir = {folder}
database = {folder}/index.txt
rand_serial = yes
unique_subject = no
default_md = {digest}
policy = any
default_crl_days = 1
crlnumber = {folder}/crlnumber
[any]
commonName = supplied
"""

CLIENT = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"


class Authority:
    """One authority in a folder of its own, signed by another or by itself."""

    def __init__(self, folder, name, above=None, path_length=None, usage="keyCertSign,cRLSign", ca="TRUE", **life):
        self.folder, self.name, self.above, self._number = folder / name, name, above, 0
        self.folder.mkdir(parents=True)
        (self.folder / "index.txt").write_text("")
        (self.folder / "crlnumber").write_text("01\n")
        length = "" if path_length is None else f",pathlen:{path_length}"
        extensions = f"basicConstraints=critical,CA:{ca}{length}\n" + (f"keyUsage=critical,{usage}\n" if usage else "")
        self.certificate = (above or self)._make(name, extensions, signs_itself=above is None, folder=self.folder, **life)

    def issue(self, common_name, extensions=CLIENT, **options):
        """A certificate with its key."""
        self._number += 1
        return self._make(common_name, extensions, file=f"{self._number}-leaf", **options)

    def chain(self, leaf):
        """The leaf's file with every intermediate behind it, the root left out."""
        text, authority = leaf.path.read_text(), self
        while authority.above:
            text += authority.certificate.path.read_text()
            authority = authority.above
        path = leaf.path.with_suffix(".chain.pem")
        path.write_text(text)
        return Certificate(path, leaf.key)

    def revoke(self, certificate):
        self._ca("-revoke", certificate.path)

    def list(self, starts=-60, ends=3600, form="PEM"):
        """A new revocation list: its file."""
        path = self.folder / f"list-{time.monotonic_ns()}.pem"
        self._ca("-gencrl", "-out", path, "-crl_lastupdate", date(starts), "-crl_nextupdate", date(ends))
        if form == "DER":
            openssl("crl", "-in", path, "-outform", "DER", "-out", path.with_suffix(".der"))
            return path.with_suffix(".der")
        return path

    def _ca(self, *arguments, digest="sha256", signer=None):
        config = self.folder / "ca.cnf"
        config.write_text(CONFIG.format(folder=self.folder, digest=digest))
        certificate = signer or ["-cert", self.certificate.path, "-keyfile", self.certificate.key]
        openssl("ca", "-batch", "-config", config, *certificate, *arguments)

    def _make(self, common_name, extensions, file=None, folder=None, signs_itself=False, starts=-3600, ends=86_400,
              digest="sha256", bits=None):
        folder = folder or self.folder
        file = file or "authority"
        found = Certificate(folder / f"{file}.pem", folder / f"{file}-key.pem")
        key = ["-newkey", f"rsa:{bits}"] if bits else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        request, wanted = folder / f"{file}.csr", folder / f"{file}.ext"
        wanted.write_text(extensions)
        # A slash belongs to the name of a module's certificate; in -subj it has to be escaped.
        subject = common_name.replace("/", "\\/")
        openssl("req", "-new", *key, "-nodes", "-config", "/dev/null", "-subj", f"/CN={subject}", "-keyout", found.key,
                "-out", request)
        self._ca("-in", request, "-out", found.path, "-notext", "-extfile", wanted, "-startdate", date(starts),
                 "-enddate", date(ends), digest=digest,
                 signer=["-selfsign", "-keyfile", found.key] if signs_itself else None)
        return found


def register(hub, authority, name=None, proven=True):
    """Adds the authority to the hub and proves it, all by the command line."""
    name = name or authority.name
    hub.stage.hub_command("certificate", "add", name, authority.certificate.path, data=hub.process.data)
    if proven:
        prove(hub, authority, name)
    return name


def prove(hub, authority, name):
    code = hub.stage.hub_command("certificate", "code", name, data=hub.process.data)
    hub.stage.hub_command("certificate", "verify", name, authority.issue(code).path, data=hub.process.data)
