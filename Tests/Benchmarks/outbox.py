"""Figures of the gateway's outbox alone, on the file system of the working folder: flash, rates, a backlog of millions."""

import os
import subprocess
import tempfile


def run(programs, *arguments):
    done = subprocess.run([str(item) for item in (programs / "outbox-bench", *arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"outbox-bench failed: {done.stderr}")
    return done.stdout.split()


def flash(programs, folder):
    for replay, name in ((1, "replay kept"), (0, "no replay")):
        figures = []
        for milliseconds, commits in ((10, 2000), (100, 2000), (500, 1200), (1000, 1200), (10_000, 400)):
            ratio, = run(programs, "flash", f"{folder}/flash-{replay}-{milliseconds}", milliseconds, commits, replay)
            figures.append(f"{milliseconds / 1000:g} s {ratio}")
        print(f"outbox flash         bytes written for each byte of readings, 100 readings/s, {name}, by commit interval: "
              f"{', '.join(figures)} (budget 1.3 at 1 s)", flush=True)


def rates(programs, folder):
    for each, readings in ((1, 5_000), (100, 500_000), (1000, 2_000_000)):
        wall, cpu = run(programs, "rate", f"{folder}/rate-{each}", readings, each)
        print(f"outbox rate          {int(wall):,} readings/s appended, taken and acknowledged, {each} a commit; "
              f"{int(cpu):,} per CPU second", flush=True)


def backlog(programs, folder, many=10_000_000, drained=2_000_000):
    count, stored, rate = map(int, run(programs, "fill", f"{folder}/many", many, 100))
    size = os.path.getsize(f"{folder}/many")
    print(f"outbox backlog       {count:,} readings in {size / 2**20:.0f} MiB, {stored / count:.1f} bytes each; filled at {rate:,}/s")
    count, milliseconds, resident, _ = map(int, run(programs, "open", f"{folder}/many"))
    print(f"outbox start         {milliseconds} ms from opening {count:,} readings to the first batch (budget 500 ms), "
          f"{resident / 1024:.1f} MiB resident (budget 25)", flush=True)
    run(programs, "fill", f"{folder}/two", drained, 100)
    count, wall, cpu, oldest, resident = map(int, run(programs, "drain", f"{folder}/two"))
    print(f"outbox drain         {wall:,} readings/s of {count:,} (budget 50,000), {cpu:,} per CPU second; live readings "
          f"{oldest} ms old at most (budget 1000 ms), {resident / 1024:.1f} MiB resident", flush=True)


def measure(programs):
    """Below the working folder, because /tmp may be memory that never reaches a disk."""
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        flash(programs, folder)
        rates(programs, folder)
        backlog(programs, folder)
