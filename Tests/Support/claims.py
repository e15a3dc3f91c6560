"""Scenarios are named for what they claim, and cite the public text that says so."""

import re

import pytest

# The documents that count, by how a citation begins.
SOURCES = [
    r"Learn: .+ – .+",  # a page of Microsoft Learn, and which part of it
    r"REST: .+",  # an operation of the IoT Hub REST reference
    r"MQTT 3\.1\.1 \[MQTT-\d+\.\d+\.\d+-\d+\]",
    r"MQTT 3\.1\.1 section \d+(\.\d+)*",
    r"RFC \d+ section \d+(\.\d+)*",
    r"CONTRIBUTING: .+",  # our own rules
]


def claims(*citations):
    """Marks a scenario with the text, or texts, that it proves."""
    return pytest.mark.claims(*citations)


def problems(scenarios):
    """What is wrong with them: pairs of where a scenario is (`file::name`) and its citations."""
    found, places = [], {}
    for place, citations in scenarios:
        name = place.rpartition("::")[2]
        if not citations:
            found.append(f"{place} cites nothing; put @claims(...) above it")
        for citation in citations:
            if not any(re.fullmatch(source, citation) for source in SOURCES):
                found.append(f"{place} cites '{citation}', which is no public text of a known kind")
        if places.setdefault(name, place) != place:
            found.append(f"{place} claims the same as {places[name]}")
    return found


def scenarios(items):
    """Each once, however many rows it has: where it is, and its citations."""
    found = {}
    for item in items:
        place = item.nodeid.partition("[")[0]
        found[place] = [citation for mark in item.iter_markers("claims") for citation in mark.args]
    return list(found.items())
