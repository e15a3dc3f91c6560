"""Devices with certificates of an authority: proof of possession, chains of every kind, revocation, and the sentence of each
refusal."""

import json
import re
import ssl

import pytest

from authorities import CLIENT, Authority, register
from clients import ACCEPTED, NOT_AUTHORISED, Closed, HubUnderTest, RawDevice, device_token, same, trusting, wait_line
from stage import Stage

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
KEYS = "RSA from 2048 bits, P-256, P-384, P-521, Ed25519; SHA-256 and up"
INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HubUnderTest(stage)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture(scope="module")
def root(hub, folder):
    """A proven authority of the hub."""
    authority = Authority(folder, "root")
    register(hub, authority)
    return authority


def registered(hub, name):
    hub.stage.hub_command("device", "create", name, "--by-authority")


def attempt(hub, name, certificate=None, token=None, **options):
    """A device that has tried to connect; `.code` says how that went."""
    context = trusting(hub.process)
    # This side shows whatever it has: whether that is good enough is the hub's to say.
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    if certificate:
        context.load_cert_chain(*certificate.files)
    device = RawDevice(hub.process, name, context=context, **options)
    device.login(token)
    return device


def admitted(hub, name, certificate, **options):
    device = attempt(hub, name, certificate, **options)
    assert device.code == ACCEPTED, hub.process.tail(3)
    return device


def refused(hub, name, certificate, sentence, token=None):
    device = attempt(hub, name, certificate, token)
    assert device.code == NOT_AUTHORISED
    assert device.is_closed()
    same(hub.log("a device was refused", f"device={name} "),
         f"{TIME} warning mqtt: address=127.0.0.1 device={name} reason={sentence} [Listeners] a device was refused")


def failed(hub, *arguments):
    """A command that cannot be done: its exit status and what it says."""
    done = hub.stage.hub_command(*arguments, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.strip()


def rows(hub, *verb):
    return json.loads(hub.stage.hub_command(*verb, "--output", "json"))


# -- who is let in


def test_a_device_with_a_certificate_of_a_proven_authority_gets_in_and_its_telemetry_says_how(hub, root):
    registered(hub, "leaf-1")
    device = admitted(hub, "leaf-1", root.issue("leaf-1"))
    device.acknowledged(device.publish({"n": 1}))
    device.close()
    event = next(event for event in hub.events() if event["device"] == "leaf-1")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "device", "type": "x509CertificateAuthority", "issuer": "iothub"}


def test_intermediates_may_stand_between_and_are_known_again_when_the_device_does_not_send_them(hub, folder, root):
    factory = Authority(folder, "factory", above=root)
    line = Authority(folder, "line", above=factory)
    registered(hub, "leaf-2")
    registered(hub, "leaf-2b")
    bare = line.issue("leaf-2")
    refused(hub, "leaf-2", bare,
            "the certificate of leaf-2 was issued by 'CN=line', which leads to no authority of this hub; register that one "
            "with 'cloud-hub certificate add', or let the device send the certificates between them with its own")
    admitted(hub, "leaf-2", line.chain(bare)).close()
    admitted(hub, "leaf-2", bare).close()
    admitted(hub, "leaf-2b", line.issue("leaf-2b")).close()


def test_an_intermediate_may_be_registered_itself(hub, folder):
    unknown = Authority(folder, "unknown-root")
    plant = Authority(folder, "plant", above=unknown, path_length=0)
    register(hub, plant)
    registered(hub, "leaf-3")
    admitted(hub, "leaf-3", plant.issue("leaf-3")).close()


def test_a_module_has_device_and_module_in_its_common_name(hub, root):
    registered(hub, "host-1")
    hub.stage.hub_command("module", "create", "host-1", "reader", "--by-authority")
    device = admitted(hub, "host-1/reader", root.issue("host-1/reader"))
    device.acknowledged(device.publish({"n": 1}, topic="devices/host-1/modules/reader/messages/events/"))
    device.close()
    event = next(event for event in hub.events() if event.get("module") == "reader")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "module", "type": "x509CertificateAuthority", "issuer": "iothub"}
    refused(hub, "host-1/reader", root.issue("host-1"),
            "the certificate of host-1/reader has the common name 'host-1'; its authority has to issue one whose common name is "
            "'host-1/reader'")


@pytest.mark.parametrize("bits", [2048, None], ids=["rsa", "ec"])
@pytest.mark.parametrize("extensions", ["", "basicConstraints=CA:FALSE\n", CLIENT], ids=["bare", "plain", "client"])
def test_keys_and_extensions_of_every_usual_kind(hub, root, bits, extensions):
    name = f"kind-{bits}-{len(extensions)}"
    registered(hub, name)
    admitted(hub, name, root.issue(name, extensions, bits=bits)).close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_resumed_handshake_keeps_the_chain(hub, folder, root, version):
    """A client that resumes shows neither its certificate nor the ones behind it."""
    between = Authority(folder, f"between-{version.name}", above=root)
    name = f"resumes-{version.name}"
    registered(hub, name)
    context = trusting(hub.process, between.chain(between.issue(name)))
    context.minimum_version = context.maximum_version = version
    first = RawDevice(hub.process, name, context=context)
    assert first.login() == ACCEPTED
    first.acknowledged(first.publish({"first": True}))
    # A change of the authorities empties what the hub remembers of chains.
    hub.stage.hub_command("certificate", "code", "root")
    again = RawDevice(hub.process, name, context=context, session=first.socket.session)
    assert again.socket.session_reused
    assert again.login() == ACCEPTED
    first.close()
    again.close()


def test_what_is_sent_right_behind_connect_is_not_lost_while_the_chain_is_checked(hub, root):
    registered(hub, "eager")
    device = RawDevice(hub.process, "eager", context=trusting(hub.process, root.issue("eager")))
    sent, whole = device.send, []
    device.send = whole.append
    device.receive = lambda kind: (0, 0)
    device.login()
    number = device.publish({"n": 1})
    del device.send, device.receive
    sent(b"".join(whole))
    assert tuple(device.receive(2)) == (0, ACCEPTED)
    device.acknowledged(number)
    device.close()


# -- who is refused


def test_each_refusal_has_its_own_sentence(hub, folder, root):
    short = Authority(folder, "short", path_length=0)
    register(hub, short)
    below = Authority(folder, "below", above=short)
    mute = Authority(folder, "mute", above=root, usage="cRLSign")
    none = Authority(folder, "none", above=root, ca="FALSE", usage="digitalSignature")
    late = Authority(folder, "late", above=root, starts=-7200, ends=-3600)
    forged = Authority(folder / "forged", "root")
    unproven = Authority(folder, "unproven")
    register(hub, unproven, proven=False)
    critical = CLIENT + "1.2.3.4=critical,DER:0500\n"
    older = Authority(folder, "older", bits=2048)
    register(hub, older)
    versatile = Authority(folder, "versatile", usage="keyCertSign,cRLSign,digitalSignature")
    register(hub, versatile)
    long = root
    for number in range(6):
        long = Authority(folder, f"long-{number}", above=long)
    cases = {
        "ended": (root.issue("ended", starts=-7200, ends=-3600),
                  f"ended at {INSTANT}; give the device a new one"),
        "not-begun": (root.issue("not-begun", starts=3600, ends=7200),
                      f"begins at {INSTANT} only; check the clocks of the hub and of the authority"),
        "server": (root.issue("server", "extendedKeyUsage=serverAuth\n"),
                   "is not meant for a client by its key usage; have it issued for TLS client authentication"),
        "sha1": (older.issue("sha1", digest="sha1"),
                 "itself is signed with an algorithm that is not safe; use SHA-256"),
        "weak": (root.issue("weak", bits=1024), f"cannot be read, or its key or signature is none that the hub takes ({KEYS}); have its authority issue it anew"),
        "odd": (root.issue("odd", critical),
                "itself has the critical extension 1.2.3.4, which this hub does not know; leave it out"),
        "deep": (below.chain(below.issue("deep")),
                 "has more authorities between itself and the authority 'short' than the 0 that its path length allows"),
        "muted": (mute.chain(mute.issue("muted")),
                  "was issued by a certificate that may issue none: the key usage of the intermediate authority 'CN=mute' "
                  "lacks certificate signing"),
        "no-ca": (none.chain(none.issue("no-ca")),
                  "was issued by a certificate that may issue none: the intermediate authority 'CN=none' is not marked as an "
                  "authority's"),
        "behind": (late.chain(late.issue("behind")),
                   f"comes from the intermediate authority 'CN=late', whose certificate ended at {INSTANT}; renew that one"),
        "forgery": (forged.issue("forgery"),
                    "names the authority 'root' as its issuer, but was not signed with its key; find out who made it"),
        "early": (unproven.issue("early"),
                  "comes from the authority 'unproven', whose possession nobody has proven yet; see 'cloud-hub certificate "
                  "code unproven'"),
        "alone": (Authority(folder, "alone-root").issue("alone"),
                  "was issued by 'CN=alone-root', which leads to no authority of this hub; register that one with 'cloud-hub "
                  "certificate add', or let the device send the certificates between them with its own"),
        "other": (root.issue("someone-else"),
                  "has the common name 'someone-else'; its authority has to issue one whose common name is 'other'"),
        "itself": (versatile.certificate,
                   "is the certificate of the authority 'versatile' itself; give the device one of its own, and look who has that "
                   "key"),
        "long": (long.chain(long.issue("long")),
                 "came with 6 others; let the device send at most 5, from its own issuer upwards"),
    }
    for name, (certificate, sentence) in cases.items():
        registered(hub, name)
        refused(hub, name, certificate, f"the certificate of {name} {sentence}")


def test_a_certificate_without_digital_signature_ends_the_handshake_itself(hub, root):
    registered(hub, "signer")
    with pytest.raises((Closed, OSError)):
        attempt(hub, "signer", root.issue("signer", "keyUsage=critical,keyCertSign\n"))
    same(hub.log("a TLS handshake failed", "key usage"),
         f"{TIME} warning mqtt: address=127.0.0.1 reason=the client's certificate is not meant for a client by its key usage; "
         "have it issued for TLS client authentication [Listeners] a TLS handshake failed")


def test_neither_token_nor_thumbprint_nor_nothing_opens_a_device_of_an_authority(hub, root):
    registered(hub, "strict")
    string = hub.create("donor").replace("DeviceId=donor", "DeviceId=strict")
    refused(hub, "strict", None,
            "strict sent a token, but is registered for certificates of an authority; give it its certificate or change its "
            "authentication to sas", token=device_token(string))
    registered(hub, "bare")
    refused(hub, "bare", None,
            "bare sent neither a token nor a client certificate; give it its connection string or certificate")


def test_a_certificate_of_an_authority_opens_no_device_that_is_registered_otherwise(hub, root):
    hub.create("with-keys")
    refused(hub, "with-keys", root.issue("with-keys"),
            "with-keys sent a certificate and no token, but is registered with symmetric keys; give it its connection string or "
            "register the thumbprint")
    own, other = root.issue("by-print"), root.issue("by-print")
    hub.stage.hub_command("device", "create", "by-print", "--thumbprint", own.sha256)
    refused(hub, "by-print", other,
            f"the certificate of by-print has neither registered thumbprint; its SHA-256 is {other.sha256.upper()}")
    admitted(hub, "by-print", own).close()


# -- who is cut off


def test_a_connection_ends_with_its_certificate(hub, root):
    registered(hub, "brief")
    device = admitted(hub, "brief", root.issue("brief", ends=4))
    assert device.is_closed()
    refused(hub, "brief", root.issue("brief", starts=-60, ends=-1),
            f"the certificate of brief ended at {INSTANT}; give the device a new one")


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_revoked_certificate_is_cut_off_and_refused_and_its_successor_passes(hub, folder, form):
    authority = Authority(folder, f"revoking-{form}")
    register(hub, authority)
    name, other = f"lost-{form}", f"kept-{form}"
    registered(hub, name)
    registered(hub, other)
    old = authority.issue(name)
    device, untouched = admitted(hub, name, old), admitted(hub, other, authority.issue(other))
    authority.revoke(old)
    shown = hub.stage.hub_command("certificate", "revoke-list", authority.name, authority.list(form=form))
    assert re.search(r"^revoked +1$", shown, re.M)
    assert device.is_closed()
    untouched.acknowledged(untouched.publish({"still": "here"}))
    refused(hub, name, old,
            f"the certificate of {name} was revoked by the authority '{authority.name}'; give the device a new one")
    admitted(hub, name, authority.issue(name)).close()
    untouched.close()


def test_a_revoked_intermediate_takes_everybody_below_with_it(hub, folder):
    top = Authority(folder, "revoking-top")
    register(hub, top)
    middle = Authority(folder, "revoked-middle", above=top)
    registered(hub, "below-1")
    chain = middle.chain(middle.issue("below-1"))
    device = admitted(hub, "below-1", chain)
    top.revoke(middle.certificate)
    hub.stage.hub_command("certificate", "revoke-list", top.name, top.list())
    assert device.is_closed()
    refused(hub, "below-1", chain,
            "the certificate of below-1 comes from the intermediate authority 'CN=revoked-middle', which was revoked by the "
            "authority 'revoking-top'; give the device a new one")


def test_a_deleted_authority_takes_its_devices_with_it_and_no_others(hub, folder, root):
    going = Authority(folder, "going")
    register(hub, going)
    registered(hub, "goes")
    registered(hub, "stays")
    certificate = going.issue("goes")
    device, other = admitted(hub, "goes", certificate), admitted(hub, "stays", root.issue("stays"))
    assert hub.stage.hub_command("certificate", "delete", "going") == "deleted going"
    assert device.is_closed()
    other.acknowledged(other.publish({"still": "here"}))
    other.close()
    refused(hub, "goes", certificate,
            "the certificate of goes was issued by 'CN=going', which leads to no authority of this hub; register that one with "
            "'cloud-hub certificate add', or let the device send the certificates between them with its own")


def test_a_disabled_or_deleted_device_is_cut_off_with_its_modules(hub, root):
    registered(hub, "cut")
    hub.stage.hub_command("module", "create", "cut", "m", "--by-authority")
    device, module = admitted(hub, "cut", root.issue("cut")), admitted(hub, "cut/m", root.issue("cut/m"))
    hub.stage.hub_command("device", "delete", "cut")
    assert device.is_closed() and module.is_closed()


def test_a_list_that_is_out_of_date_still_counts_and_the_log_says_what_to_do(hub, programs, folder, tmp_path):
    authority = Authority(folder, "tired")
    with Stage(programs, tmp_path) as stage:
        own = HubUnderTest(stage)
        register(own, authority)
        registered(own, "lost")
        old = authority.issue("lost")
        authority.revoke(old)
        done = stage.hub_command(
            "certificate", "revoke-list", "tired", authority.list(starts=-7200, ends=-3600), check=False)
        assert done.returncode == 0
        same(done.stderr.strip(),
             f"cloud-hub: warning: the list ended at {INSTANT}; have the authority make a new one, what was revoked since is "
             "not in it")
        refused(own, "lost", old, "the certificate of lost was revoked by the authority 'tired'; give the device a new one")
        assert own.process.stop() == 0
        stage.forget(own.process)
        again = stage.start_hub(name="again")
        same(wait_line(again, "a revocation list is out of date"),
             f"{TIME} warning authorities: authority=tired ended={INSTANT} [Authorities] a revocation list is out of date; what "
             "was revoked since is not known. Give the hub the newest with 'cloud-hub certificate revoke-list'")


def test_authorities_survive_a_restart_and_are_changed_without_a_running_hub_too(programs, folder, tmp_path):
    authority = Authority(folder, "lasting")
    with Stage(programs, tmp_path) as stage:
        hub = HubUnderTest(stage)
        register(hub, authority)
        registered(hub, "lasts")
        lost = authority.issue("lasts")
        authority.revoke(lost)
        stage.hub_command("certificate", "revoke-list", "lasting", authority.list())
        assert hub.process.stop() == 0
        stage.forget(hub.process)
        shown = rows(hub, "certificate", "list")
        assert [(row["name"], row["proven"], row["revoked"]) for row in shown] == [("lasting", True, 1)]
        second = Authority(folder, "second")
        stage.hub_command("certificate", "add", "second", second.certificate.path)
        hub.process = stage.start_hub(name="again")
        admitted(hub, "lasts", authority.issue("lasts")).close()
        refused(hub, "lasts", lost,
                "the certificate of lasts was revoked by the authority 'lasting'; give the device a new one")
        assert [row["name"] for row in rows(hub, "certificate", "list")] == ["lasting", "second"]


# -- the operator's commands


def test_possession_is_proven_by_a_certificate_that_carries_the_last_code(hub, folder):
    authority, other = Authority(folder, "proving"), Authority(folder, "not-proving")
    certificate = authority.certificate
    hub.stage.hub_command("certificate", "add", "proving", certificate.path)
    assert [row["proven"] for row in rows(hub, "certificate", "list") if row["name"] == "proving"] == [False]

    def verify(proof):
        return failed(hub, "certificate", "verify", "proving", proof.path)
    assert verify(authority.issue("anything")) == (1, (
        "cloud-hub: there is no code to prove 'proving' with; get one with 'cloud-hub certificate code proving'"))
    first = hub.stage.hub_command("certificate", "code", "proving")
    code = hub.stage.hub_command("certificate", "code", "proving")
    assert re.fullmatch("[0-9A-F]{48}", code) and code != first
    assert verify(authority.issue(first)) == (1, (
        f"cloud-hub: the certificate's common name is '{first}', not the code of the last 'cloud-hub certificate code "
        "proving'; sign one whose common name is that code"))
    assert verify(other.issue(code)) == (1, (
        "cloud-hub: the certificate was not signed by 'proving'; sign one with that authority's own key"))
    code_status, sentence = verify(authority.issue(code, starts=-7200, ends=-3600))
    assert code_status == 1
    same(sentence, f"cloud-hub: the certificate counts from {INSTANT} to {INSTANT}, and now is {INSTANT}; sign a new one")
    shown = json.loads(hub.stage.hub_command(
        "certificate", "verify", "proving", authority.issue(code).path, "--output", "json"))
    assert shown["proven"] is True and shown["thumbprint"] == certificate.sha256.upper()
    assert shown["subject"] == "CN=proving"
    assert verify(authority.issue(code)) == (1, (
        "cloud-hub: there is no code to prove 'proving' with; get one with 'cloud-hub certificate code proving'")), "once"


def test_what_cannot_be_an_authority_is_not_taken(hub, folder, root, tmp_path):
    leaf, late = root.issue("leaf"), Authority(folder, "gone-by", starts=-7200, ends=-3600)
    weak, mute = Authority(folder, "weak-root", bits=1024), Authority(folder, "mute-root", usage="cRLSign")
    both, two, text = tmp_path / "both.pem", tmp_path / "two.pem", tmp_path / "text.pem"
    fresh = Authority(folder, "fresh").certificate
    both.write_text(fresh.path.read_text() + fresh.key.read_text())
    two.write_text(fresh.path.read_text() * 2)
    text.write_text("hello")
    missing = tmp_path / "missing.pem"
    cases = [
        ("a", leaf.path, 1, "the certificate is no authority's: its basic constraints do not say CA; give the one that signs "
                            "the devices'"),
        ("a", late.certificate.path, 1, f"the certificate ended at {INSTANT}; give the authority's present one"),
        ("a", weak.certificate.path, 1, f"the file is no certificate in PEM or DER, or its key or signature is none that the hub takes ({KEYS}); "
                                      "give the file that the authority made"),
        ("a", mute.certificate.path, 1, "the certificate may not sign others: its key usage lacks certificate signing"),
        ("a", both, 1, "the file holds a private key, which the hub must never have; take it out"),
        ("a", two, 1, "the file holds 2 blocks 'CERTIFICATE' among 2; give that one alone"),
        ("a", text, 1, f"the file is no certificate in PEM or DER, or its key or signature is none that the hub takes ({KEYS}); give the "
                       "file that the authority made"),
        ("a", missing, 2, f"the file {missing} cannot be read: No such file or directory"),
        ("a b", fresh.path, 1, "an authority's name has 1 to 64 ASCII letters, digits and - . _"),
        ("root", fresh.path, 1, "there is an authority 'root' already; choose another name, or delete that one"),
        ("twice", root.certificate.path, 1, "this certificate is registered already, as 'root'"),
    ]
    before = rows(hub, "certificate", "list")
    for name, path, status, sentence in cases:
        found = failed(hub, "certificate", "add", name, path)
        assert found[0] == status
        same(found[1], f"cloud-hub: {sentence}")
    assert rows(hub, "certificate", "list") == before
    for verb in ("code", "delete"):
        assert failed(hub, "certificate", verb, "nobody") == (1, (
            "cloud-hub: there is no authority 'nobody'; 'cloud-hub certificate list' shows which there are"))


def test_only_the_authoritys_own_newest_complete_list_is_taken(hub, folder, root):
    authority, other = Authority(folder, "listing"), Authority(folder, "not-listing")
    mute = Authority(folder, "no-lists", usage="keyCertSign")
    register(hub, authority)
    register(hub, mute)

    def give(name, path):
        return failed(hub, "certificate", "revoke-list", name, path)
    assert give("listing", other.list()) == (1, (
        "cloud-hub: the revocation list was not signed by 'listing'; give that authority's own"))
    assert give("no-lists", mute.list()) == (1, (
        "cloud-hub: 'no-lists' may not sign revocation lists: its key usage lacks it"))
    assert give("listing", authority.certificate.path) == (1, (
        "cloud-hub: the file holds 0 blocks 'X509 CRL' among 1; give that one alone"))
    ahead = give("listing", authority.list(starts=3600, ends=7200))
    assert ahead[0] == 1
    same(ahead[1], f"cloud-hub: the revocation list begins at {INSTANT}, and now is {INSTANT}; check the clocks")
    hub.stage.hub_command("certificate", "revoke-list", "listing", authority.list(starts=-60))
    older = give("listing", authority.list(starts=-600))
    assert older[0] == 1
    same(older[1], f"cloud-hub: the revocation list is from {INSTANT}, older than the one of {INSTANT} that the hub has")


def test_a_long_list_fits(hub, folder):
    authority = Authority(folder, "busy")
    register(hub, authority)
    registered(hub, "one-of-many")
    certificate = authority.issue("one-of-many")
    index = authority.folder / "index.txt"
    lines = "".join(f"R\t301231235959Z\t250101000000Z\t{number:032X}\tunknown\t/CN=x\n" for number in range(1, 20_001))
    index.write_text(index.read_text() + lines)
    authority.revoke(certificate)
    shown = json.loads(hub.stage.hub_command(
        "certificate", "revoke-list", "busy", authority.list(), "--output", "json"))
    assert shown["revoked"] == 20_001
    refused(hub, "one-of-many", certificate,
            "the certificate of one-of-many was revoked by the authority 'busy'; give the device a new one")


