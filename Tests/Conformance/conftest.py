"""One hub for all scenarios, and the check of what they cite."""

import itertools
import json
import pathlib
import time

import pytest

from claims import problems, scenarios
from clients import ACCEPTED, RawDevice
from sas import sign
from services import HTTPSHub
from stage import Stage

HERE = pathlib.Path(__file__).parent
NUMBERS = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--claims", action="store_true", help="print what is claimed and what says so, and run nothing")


def pytest_collection_modifyitems(session, config, items):
    ours = [item for item in items if HERE in item.path.parents]
    found = problems(scenarios(ours))
    if found:
        raise pytest.UsageError("\n".join(found))


def pytest_collection_finish(session):
    if not session.config.getoption("claims", default=False):
        return
    for place, citations in scenarios(session.items):
        name = place.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        for citation in citations:
            print(f"{name}\t{citation}")
    session.items.clear()


@pytest.fixture(scope="session")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HTTPSHub(stage)


@pytest.fixture
def name(hub):
    """A device of the scenario's own: its id."""
    name = f"device-{next(NUMBERS)}"
    hub.create(name)
    return name


@pytest.fixture
def module(hub, name):
    """A connected module of that device: `device/m`."""
    path = f"/devices/{name}/modules/m"
    assert hub.rest("PUT", path, {"deviceId": name, "moduleId": "m"})[0] in (200, 201)
    key = json.loads(hub.rest("GET", path)[2])["authentication"]["symmetricKey"]["primaryKey"]
    module = RawDevice(hub.process, f"{name}/m", sign(f"localhost{path}", key, int(time.time()) + 600))
    assert module.code == ACCEPTED
    yield module
    module.close()
