"""The gateway's disk fails under it, is read-only, or comes back: nothing acknowledged is lost, and it heals by itself."""

import contextlib
import json
import os
import sqlite3
import subprocess

import pytest

from clients import small_disk, wait_line
from ledger import Publisher
from stage import ROOT, wait_until
from test_durability import shim  # noqa: F401
from test_durability_agent import power_cut_loses
from test_failures_agent import Site as Plant
from test_failures_agent import broker_found
from test_kill import Site, differences


@pytest.fixture(scope="session")
def fault_disk(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "faultdisk.so"
    source = ROOT / "Tests/Support/faultdisk.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def status(stage, config):
    done = subprocess.run([stage.programs / "edge-agent", "status", "--config", config], capture_output=True, text=True, check=True)
    return done.stdout


def start_site(stage, fault_disk, **env):
    order = stage.folder / "order"
    site = Site(stage, agent_env={
        "LD_PRELOAD": str(fault_disk), "FAULTDISK_FILE": str(order), "FAULTDISK_FOLDER": str(stage.folder / "outbox.sqlite"),
        **env})
    site.publisher = Publisher(site.broker.port, pace=0.01)
    wait_until("the first readings", site.stored, 20)
    return site, order


@pytest.mark.parametrize("fault, words", [
    ("sync", "the disk reported a failure"), ("write", "the disk reported a failure"), ("full", "the disk is full"),
    ("ro", "the disk is read-only")])
def test_a_failing_disk_is_named_loses_nothing_and_heals(stage, fault_disk, fault, words):
    """With `sync` what was written is gone from disk and cache when fdatasync fails: only what an earlier one has confirmed
    may count."""
    site, order = start_site(stage, fault_disk)
    for _ in range(2):
        told = site.agent.log_path.read_text().count("the outbox takes readings again")
        order.write_text(fault)
        wait_until("the state of the outbox", lambda: "state        degraded: cannot append" in status(stage, site.config), 30)
        assert words in status(stage, site.config)
        assert site.agent.is_running
        sent = site.publisher.sent
        wait_until("more readings at the broker", lambda: site.publisher.sent > sent + 50, 30)
        order.unlink()
        wait_until("the good news", lambda: site.agent.log_path.read_text().count("the outbox takes readings again") > told, 30)
        assert "state " not in status(stage, site.config)
    assert words in site.agent.log_path.read_text()
    assert differences(stage, site, site.publisher) == []


def refused(site, words):
    """Waits until the log says so; the sensors' broker has more meanwhile."""
    wait_line(site.agent, "readings cannot be kept", words, seconds=30)
    sent = site.publisher.sent
    wait_until("more readings at the broker", lambda: site.publisher.sent > sent + 50, 30)
    assert site.agent.is_running


def healed(site, times=1):
    def told():
        return site.agent.log_path.read_text().count("the outbox takes readings again") >= times
    wait_until("the good news", told, 30)


def test_a_disk_that_is_pulled_and_comes_back_is_opened_again(stage, fault_disk):
    """Every file that was open on it is dead for good, as after a USB disk was pulled."""
    site, order = start_site(stage, fault_disk)
    for turn in (1, 2):
        order.write_text("gone")
        refused(site, "its file is not there")
        order.unlink()
        healed(site, turn)
    assert differences(stage, site, site.publisher) == []


def test_after_a_failed_sync_nothing_counts_that_is_only_in_the_cache(stage, fault_disk):
    """The cache reads back what the disk does not have (the kernel does so after a failed sync). What is acknowledged
    afterwards survives a power cut, also when the agent was killed in between."""
    images = stage.folder / "images"
    images.mkdir()
    site, order = start_site(stage, fault_disk, FAULTDISK_IMAGES=str(images))
    for is_killed in (False, True):
        before = site.agent.log_path.read_text().count("readings cannot be kept")
        order.write_text("cache")
        wait_until(
            "the refusal", lambda: site.agent.log_path.read_text().count("readings cannot be kept") > before, 30)
        order.unlink()
        if is_killed:
            site.kill("agent")
        stored = site.stored()
        wait_until("readings that pass", lambda: site.stored() > stored + 5, 30)
        # The hub must not have what the outbox is asked for afterwards.
        site.hub.stop()
        stage.forget(site.hub)
        sent = site.publisher.sent
        wait_until("more readings in the outbox alone", lambda: site.publisher.sent > sent + 100, 30)
        order.write_text("!")
        site.agent.process.wait(30)
        stage.forget(site.agent)
        order.unlink()
        (stage.folder / "outbox.sqlite-shm").unlink(missing_ok=True)
        site.start_agent()
        site.start_hub()
    assert differences(stage, site, site.publisher) == []


def moved(folder, there, suffixes=("", "-wal", "-shm")):
    for suffix in suffixes:
        if (folder / f"outbox.sqlite{suffix}").exists():
            (folder / f"outbox.sqlite{suffix}").rename(there / f"outbox.sqlite{suffix}")


def test_a_file_that_is_moved_away_is_named_and_taken_again_when_it_is_back(stage):
    site = Site(stage)
    site.publisher = Publisher(site.broker.port, pace=0.01)
    wait_until("the first readings", site.stored, 20)
    aside = stage.folder / "aside"
    aside.mkdir()
    moved(stage.folder, aside)
    refused(site, "its file is not there")
    moved(aside, stage.folder)
    healed(site)
    (stage.folder / "outbox.sqlite-wal").unlink()
    stored = site.stored()
    wait_until("readings that pass", lambda: site.stored() > stored + 5, 30)
    # What is acknowledged by now lies where the next run looks for it.
    site.kill("agent")
    assert differences(stage, site, site.publisher) == []


def test_a_file_that_is_not_this_outbox_is_left_alone(stage):
    site = Site(stage)
    site.publisher = Publisher(site.broker.port, pace=0.01)
    wait_until("the first readings", site.stored, 20)
    copy = stage.folder / "copy"
    copy.mkdir()
    with contextlib.closing(sqlite3.connect(stage.folder / "outbox.sqlite")) as outbox:
        outbox.execute("VACUUM INTO ?", [str(copy / "outbox.sqlite")])
    stored = site.stored()
    wait_until("readings after the copy", lambda: site.stored() > stored + 5, 30)
    aside = stage.folder / "aside"
    aside.mkdir()
    moved(stage.folder, aside)
    moved(copy, stage.folder)
    refused(site, "an older copy")
    moved(stage.folder, copy)
    moved(aside, stage.folder)
    healed(site)
    assert differences(stage, site, site.publisher) == []


class MountedSite(Site):
    """The outbox lies on a file system of its own, in `mount`."""

    mount = None

    def write_config(self):
        config = super().write_config()
        config.write_text(config.read_text().replace(f"{self.stage.folder}/outbox.sqlite", f"{self.mount}/outbox.sqlite"))
        return config


def test_a_file_system_that_the_kernel_gives_up_is_named_and_opened_again_when_it_is_mounted_anew(stage, tmp_path):
    """`abort` is what the kernel does after an error of the disk; what is mounted then is another mount of the same disk."""
    disk, mount = tmp_path / "disk.img", tmp_path / "mount"
    mount.mkdir()
    disk.touch()
    os.truncate(disk, 24 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    devices = []

    def plug_in():
        """As another device each time, as a disk that is pulled and plugged in."""
        done = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a disk image cannot be mounted here: {done.stderr.strip()}")
        devices.append(done.stdout.strip())
        subprocess.run(["mount", devices[-1], mount], check=True)
    plug_in()
    try:
        MountedSite.mount = mount
        site = MountedSite(stage)
        site.publisher = Publisher(site.broker.port, pace=0.01)
        wait_until("the first readings", site.stored, 20)
        subprocess.run(["mount", "-o", "remount,abort", mount], check=True)
        refused(site, "in the kernel log")
        subprocess.run(["umount", "--lazy", mount], check=True)
        plug_in()
        healed(site)
        site.kill("agent")
        assert differences(stage, site, site.publisher) == []
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False)
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=False)


def test_an_agent_that_acknowledges_too_early_is_caught(stage, fault_disk):
    """The comparison above can fail: with this planted bug, what the disk refused is lost."""
    site, order = start_site(stage, fault_disk, FIELDLINE_PLANTED_BUG="agentAcknowledgesBeforeDurable")
    order.write_text("sync")
    wait_until("the refusal", lambda: "readings cannot be kept" in site.agent.log_path.read_text(), 30)
    order.unlink()
    wait_until("the good news", lambda: "the outbox takes readings again" in site.agent.log_path.read_text(), 30)
    assert any(problem.startswith("lost") for problem in differences(stage, site, site.publisher, patience=2))


def test_a_kill_while_syncs_fail_loses_nothing(stage, fault_disk):
    """What the disk has then is what the next run finds: every reading that was acknowledged, none twice."""
    site, order = start_site(stage, fault_disk)
    for _ in range(3):
        order.write_text("sync")
        wait_until("the refusal", lambda: "readings cannot be kept" in site.agent.log_path.read_text(), 30)
        order.unlink()
        site.kill("agent")
        before = site.stored()
        wait_until("readings that pass", lambda: site.stored() > before, 30)
    assert differences(stage, site, site.publisher) == []


def test_a_read_only_disk_is_named_and_heals(stage, tmp_path):
    """As the kernel leaves it after an error of the file system."""
    plant = Plant(stage)
    with small_disk(tmp_path / "disk", 24) as disk:
        plant.outbox = disk.path / "outbox.sqlite"
        plant.start_broker()
        config = plant.write_config()
        agent = plant.start_agent()
        broker_found(plant, agent)
        plant.publish(3)
        wait_until("3 readings in the outbox", lambda: plant.kept() >= 3)
        # A file system with files open for writing does not become read-only in an orderly way.
        agent.process.terminate()
        agent.process.wait(20)
        stage.forget(agent)
        subprocess.run(["mount", "-o", "remount,ro", disk.path], check=True)
        refused = subprocess.run(
            [stage.programs / "edge-agent", "run", "--config", config], capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode == 1
        assert "read-only" in refused.stderr.lower(), refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", disk.path], check=True)
        plant.start_agent(name="agent-2")
        plant.start_hub("hub-2")
        plant.everything_arrives()


@pytest.mark.parametrize("interval", ["300ms", "2s"])
def test_a_power_cut_costs_nothing_that_the_broker_repeats_at_any_commit_interval(stage, shim, interval):  # noqa: F811
    """The local broker gets its acknowledgement after the commit, however seldom that is."""
    sent, lost, doubled = power_cut_loses(stage, shim, rounds=3, outbox=f'commit_interval = "{interval}"')
    assert sent > 100
    assert (lost, doubled) == (set(), 0)


def test_losses_are_told_by_sensor_as_readings(stage):
    """A quota of 1 MiB and no hub: what is dropped is known at the hub by sensor, when it is back."""
    plant = Plant(stage)
    plant.start_broker()
    config = plant.write_config()
    config.write_text(config.read_text().replace("[outbox]\n", '[outbox]\nquota = "1MiB"\n'))
    agent = stage.start_agent(config, name="agent-small")
    broker_found(plant, agent)
    noise = subprocess.run(["openssl", "rand", "-hex", "1500000"], capture_output=True, text=True, check=True).stdout
    for start in range(0, 3_000_000, 60_000):
        body = {f"noise-{place}": noise[start + place * 3000:start + (place + 1) * 3000] for place in range(20)}
        subprocess.run(["mosquitto_pub", "-p", str(plant.broker_port), "-q", "1", "-t", "plant/sensor-1/state", "-m", json.dumps(body)],
                       check=True)
    wait_until("the first loss", lambda: "at its quota" in agent.log_path.read_text(), 30)
    assert (stage.folder / "outbox.sqlite").stat().st_size <= 1 << 20
    dropped = int(next(line for line in status(stage, config).splitlines() if line.startswith("lost")).split()[1])
    assert dropped > 0
    plant.start_hub("hub-2")

    def told():
        output = stage.hub_command("monitor", "--from-start", "--no-follow")
        records = [record for line in output.splitlines() for record in json.loads(line)["body"].get("records", [])]
        return [record for record in records if record.get("metric", "").startswith("fieldline.dropped.noise-")]
    reports = wait_until("reports at the hub", told, 90, every=0.5)
    assert {record["device"] for record in reports} == {"sensor-1"}
    assert all(int(record["value"]) > 0 for record in reports)
