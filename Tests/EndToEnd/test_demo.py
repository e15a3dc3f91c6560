"""The demo does all its steps without a person, and leaves nothing running."""

import subprocess
import sys

from stage import ROOT


def test_the_demo_does_every_step(programs):
    done = subprocess.run(
        [sys.executable, ROOT / "Deploy/dev/demo.py", "--programs", programs, "--once"],
        capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") >= 15
    assert "FAILED" not in done.stdout
