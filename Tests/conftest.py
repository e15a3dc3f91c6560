"""What the black-box tests share: the programs under test and a stage to run them on."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
for folder in ("Deploy/dev", "Tests/Compatibility", "Tests/EndToEnd", "Tests/Support"):
    sys.path.insert(0, str(ROOT / folder))

from stage import Stage  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "claims(*citations): the public text that a scenario proves")


@pytest.fixture(scope="session")
def programs():
    """The folder with cloud-hub and edge-agent; `make test` sets it."""
    folder = pathlib.Path(os.environ.get("PROGRAMS", ROOT / ".build/debug"))
    for name in ("cloud-hub", "edge-agent"):
        assert (folder / name).exists(), f"{folder}/{name} is missing; build it first (make build)"
    return folder


@pytest.fixture
def stage(programs, tmp_path):
    """A stage of this test's own; everything started on it ends with the test."""
    with Stage(programs, tmp_path) as stage:
        yield stage
