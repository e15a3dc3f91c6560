"""Writes what the fuzzers start from: python3 Tests/Fuzz/seeds.py FOLDER makes one folder a harness below it."""

import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "Tests/Golden"


def wire_vectors():
    found = {}
    for path in sorted((GOLDEN / "mqtt").glob("*/*/wire.hex")):
        text = "".join(line.partition("#")[0] for line in path.read_text().splitlines(keepends=True))
        found[path.parent.name] = bytes.fromhex(text)
    return found


def conversations(vectors):
    """Whole ones, so that the session's deeper states are not left to luck."""
    def joined(names):
        return b"".join(vectors[name] for name in names.split())
    publish = "publish-example "
    made = {
        "subscriptions": joined("connect-smallest subscribe-example pingreq unsubscribe-example disconnect"),
        "qos1": joined(publish * 4 + "publish-qos0-retained"),
        "qos2": joined(
            "publish-qos2-duplicate-retained pubrel " + publish + "publish-qos2-duplicate-retained pubrel pubrec pubcomp "
            "puback " + publish * 5),
    }
    made["all"] = joined("connect-flags-example") + made["qos1"] + made["qos2"]
    return made


def frame(opcode, payload, mask=None, final=True):
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    head = bytes([(0x80 if final else 0) | opcode, length[0] | (0x80 if mask else 0)]) + length[1:]
    if mask:
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + (mask or b"") + payload


def web_sockets():
    found = {}
    for name, mask in (("client", b"abcd"), ("server", None)):
        found[name] = (
            frame(2, b"whole", mask) + frame(2, b"in ", mask, False) + frame(9, b"ping", mask) + frame(0, b"two", mask)
            + frame(10, b"", mask) + frame(2, bytes(200), mask) + frame(8, struct.pack(">H", 1000) + b"bye", mask))
        found[name + "-ping"] = frame(9, bytes(125), mask)
    found["head"] = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
    found["document"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    found["chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
    found["proxy"] = b"HTTP/1.1 200 Connection established\r\n\r\n" + frame(2, b"x")
    return found


def answers():
    """What a server says to a client: a first byte that cuts, then packets."""
    def publish(topic, payload, packet_id=None):
        body = struct.pack(">H", len(topic)) + topic + (struct.pack(">H", packet_id) if packet_id else b"") + payload
        return bytes([0x32 if packet_id else 0x30, len(body)]) + body
    messages = b"".join(publish(b"a/b", b"{}", number) for number in range(1, 5))
    return {
        "messages": messages, "one": publish(b"$iothub/twin/res/200/?$rid=1", b"{}"),
        "acknowledged": bytes.fromhex("40020001 40020002 90030003 01 d000".replace(" ", "")),
        "mixed": publish(b"a", b"") + bytes.fromhex("40020001d000") + messages,
    }


def contract():
    lines = [
        "localhost/dev-1/?api-version=2021-04-12&DeviceClientType=py%2F2.14.0", "H/dev-1/m/?api-version=2021-04-12",
        "HostName=h.example;DeviceId=d;SharedAccessKey=AAAA", "HostName=h;DeviceId=d;x509=true;GatewayHostName=g",
        "HostName=h;SharedAccessKeyName=service;SharedAccessKey=AAAA", "/devices/d%20e/messages/events",
        "SharedAccessSignature sr=h%2Fdevices%2Fdev-1&sig=AAAA&se=1800000000&skn=device", "2026-01-01T00:00:00.123Z",
        "%24.ct=a%2fb&a=&b&c=d+e", "d3b07384-d113-4ec2-9d53-6f4ed3b07384", "devices/dev-1/modules/m/inputs/#",
        "devices/dev-1/modules/m/messages/events/a=b",
    ]
    for path in sorted((GOLDEN / "hub-topics").glob("*.txt")):
        lines += [line.split("\t")[0] for line in path.read_text().splitlines() if line and line[0] != "#"]
    return {f"line-{place}": line.encode() for place, line in enumerate(lines)}


def documents():
    found = {
        f"{path.parent.name}-{path.stem}": path.read_bytes() for path in sorted((GOLDEN / "telemetry").glob("*/*.json"))}
    found["receipt"] = (
        b'{"v":1,"epoch":"9f86d081884c7d65","entries":[{"run":["1002","1"],"code":"childNotInScope","reason":"x"}]}')
    found["device"] = (
        b'{"deviceId":"d","status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAAA"}}}')
    found["method"] = b'{"methodName":"m","payload":{"a":[1,-2.5e3,true,null]},"responseTimeoutInSeconds":5}'
    found["twin"] = '{"a":{"b":{"c":null}},"t":"ü\\u0001","n":-4503599627370496}'.encode()
    found["bulk"] = b'[{"id":"d","importMode":"create","status":"enabled"}]'
    return found


def configurations():
    found = {path.stem: path.read_bytes() for path in sorted((ROOT / "Deploy/config").glob("*.toml"))}
    # With their comments taken off, the samples show what every key looks like.
    for name, text in list(found.items()):
        lines = [line[1:] if line.startswith(b"#") and not line.startswith(b"# ") else line for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith(b"#")]
        found[name + "-shown"] = b"\n".join(keys)[:4000]
    for path in sorted((GOLDEN / "agent-config/invalid").glob("*.toml")):
        found[path.stem] = path.read_bytes()
    found["rules"] = b'[[rules]]\nname = "a"\nwhen = "t > 3 for 5s"\n[[rules]]\nname = "b"\n'
    found["condition"] = b"temperature > 70.5 for 10s"
    found["template"] = b"{device}: {metric} is {value}"
    return found


def signals():
    steps = bytes(value for number in range(200) for value in (number * 7 % 64, number * 37 % 254))
    found = {f"readings-{kind}": bytes([kind, 8, 20, 60]) + steps for kind in (0, 1, 2, 130)}
    found["restarts"] = bytes([0, 16, 5, 200]) + steps[:90] + b"\x05\xfe" + steps[:90] + b"\x05\xff" + steps[:90]
    for number, text in enumerate((
            "temperature > 70 and [door-1/open] == 0", "-(a + [b/c] * 2) / if(known(d), 1, 0)",
            "clamp(a, 0, 1) + default(b, 3) - min(a, b, c) % 2", "not (a or b) and round(a) != 1e3")):
        found[f"expression-{number}"] = b"e" + text.encode()
    for name in ("Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran", "America/Godthab", "UTC"):
        file = pathlib.Path("/usr/share/zoneinfo") / name
        if file.is_file():
            found["zone-" + name.replace("/", "-")] = b"z" + file.read_bytes()[:4000]
    found["zone-footer"] = b"z" + b"TZif2" + bytes(36) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0" + b"TZif2" + bytes(
        35) + b"\0\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0\nCET-1CEST,M3.5.0,M10.5.0/3\n"
    found["rows"] = b"r" + bytes(range(1, 120))
    return found


def main(folder):
    vectors = wire_vectors()
    sets = {
        "MQTT": {**vectors, **{"conversation-" + name: bytes_ for name, bytes_ in conversations(vectors).items()}},
        "WebSocket": web_sockets(),
        "MQTTClient": answers(),
        "Contract": contract(),
        "Documents": documents(),
        "Config": configurations(),
        "Signals": signals(),
    }
    for name, seeds in sets.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds.items():
            (target / f"seed-{seed}").write_bytes(content)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
