#!/usr/bin/env python3
"""Figures and ratios of this machine; prints, and never fails for being slow. Started by `make bench`."""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Deploy/dev"), str(ROOT / "Tests/Compatibility")]

import backlog  # noqa: E402
import gateway  # noqa: E402
import hub  # noqa: E402
import outage  # noqa: E402
import outbox  # noqa: E402
import reaction  # noqa: E402
import thingsboard  # noqa: E402
import uplink  # noqa: E402


def sizes(programs):
    print(f"edge-agent           {(programs / 'edge-agent').stat().st_size / 2**20:.1f} MiB with Swift's libraries in it (wanted 15)")
    print(f"cloud-hub            {(programs / 'cloud-hub').stat().st_size / 2**20:.1f} MiB, not stripped", flush=True)


def rules(programs):
    subprocess.run([programs / "rule-bench"], check=True)


def signals(programs):
    """Fails when an expression allocates."""
    subprocess.run([programs / "signal-bench"], check=True)


ROWS = {
    "sizes": (sizes, "the programs' files"),
    "ingest": (hub.ingest, "messages a second into the hub, durable, beside mosquitto"),
    "handshakes": (hub.handshakes, "TLS handshakes a second, beside mosquitto"),
    "storm": (hub.storm, "10,000 devices come back at once; what an idle connection costs"),
    "twins": (hub.twins, "direct methods, reported and desired properties"),
    "gateway": (gateway.measure, "readings a second from sensor to hub, from a breach to its alert"),
    "footprint": (gateway.footprint, "the gateway's memory and start with every part of it running"),
    "rules": (rules, "rule evaluations a second, by kind"),
    "reaction": (reaction.measure, "from a sensor's PUBLISH to the relay's"),
    "signals": (signals, "expressions and the pipeline: time and allocations"),
    "uplink": (uplink.measure, "the link: CPU, reconnects, bytes of a reading, of an idle day"),
    "outbox": (outbox.measure, "the outbox alone: flash, rates, a backlog of millions"),
    "backlog": (backlog.measure, "the whole gateway with 2 and 10 million readings waiting"),
    "outage": (outage.measure, "lost, doubled, late after an outage and a kill, beside a mosquitto bridge"),
    "thingsboard": (thingsboard.measure, "CPU of a reading and memory, beside thingsboard-gateway"),
}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--programs", type=pathlib.Path, help="the folder of cloud-hub and hub-bench")
    options.add_argument("--agent", type=pathlib.Path, help="edge-agent as it goes to a board")
    options.add_argument("--only", choices=ROWS, action="append", help="one part of it; may be given several times")
    options.add_argument("--list", action="store_true", help="say which parts there are")
    options = options.parse_args()
    if options.list:
        for name, (_, what) in ROWS.items():
            print(f"{name:12} {what}")
        return 0
    if not options.programs or not options.agent:
        raise SystemExit("bench.py: --programs and --agent are needed; `make bench` gives them")
    with tempfile.TemporaryDirectory() as folder:
        programs = pathlib.Path(folder)
        (programs / "edge-agent").symlink_to(options.agent.resolve())
        for name in ("cloud-hub", "hub-bench", "outbox-bench", "rule-bench", "signal-bench"):
            (programs / name).symlink_to((options.programs / name).resolve())
        return 1 if any([broke(name, ROWS[name][0], programs) for name in options.only or ROWS]) else 0


def broke(name, row, programs):
    """One row that breaks must not keep the others from being measured."""
    try:
        row(programs)
    except Exception:
        traceback.print_exc()
        print(f"{name}: broke, see above", flush=True)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
