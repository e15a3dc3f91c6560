"""Starts the parts of a small site on this machine: a broker, simulated sensors, a hub, a gateway.

Used by the demo and by the end-to-end tests. Standard library only. Every process started here is ended here, by its
process id; nothing else is touched.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


class StageError(Exception):
    """Something did not start, or did not happen in time; the text says what and where to look."""


def free_port():
    """A TCP port of the loopback interface that nobody listens on right now; not one of those that the system gives to
    outgoing connections, which could have it before it is used."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(16_384, 32_768)))
            return probe.getsockname()[1]


def wait_until(what, check, seconds=20.0, every=0.02):
    """Calls `check` until it returns something true, and returns that; raises with `what` when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise StageError(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(every)


class Program:
    """One process of ours, its output kept line by line."""

    def __init__(self, name, arguments, log_folder, env=None, preexec=None):
        self.name = name
        self.log_path = pathlib.Path(log_folder) / f"{name}.log"
        self._log = open(self.log_path, "ab")
        self._lines = queue.Queue()
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=lambda: self._begin(preexec),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @staticmethod
    def _begin(more):
        # A library of the starting process may ignore them for a moment; who is started then would never hear SIGTERM.
        for kind in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_DFL)
        if more:
            more()

    def _read(self):
        for line in self.process.stdout:
            self._log.write(line)
            self._log.flush()
            self._lines.put(line.decode(errors="replace").rstrip("\n"))
        self._lines.put(None)

    def line(self, start, seconds=30.0):
        """The next line of standard output that begins with `start`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise StageError(f"{self.name} did not print '{start}…' within {seconds:g} s; see {self.log_path}")
            if line is None:
                self.process.wait()
                raise StageError(
                    f"{self.name} ended with status {self.process.returncode} before it printed '{start}…':\n{self.tail()}"
                )
            if line.startswith(start):
                return line

    def tail(self, lines=15):
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def log_has(self, text):
        return text in self.log_path.read_text(errors="replace")

    def wait_log(self, text, seconds=20.0):
        """Waits until the log has `text` and returns the first line that has it."""
        def found():
            for line in self.log_path.read_text(errors="replace").splitlines():
                if text in line:
                    return line
            return None
        return wait_until(f"'{text}' in {self.log_path}\n{self.tail()}", found, seconds)

    @property
    def is_running(self):
        return self.process.poll() is None

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def stop(self, seconds=15.0):
        """SIGTERM, and SIGKILL when that is not enough; the exit status."""
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._closed()

    def kill(self):
        """SIGKILL: what a power cut does to a process."""
        if self.is_running:
            self.process.kill()
        self.process.wait()
        return self._closed()

    def _closed(self):
        self._reader.join(5)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._log.close()
        return self.process.returncode


def end_with_parent():
    """What a child does before it becomes its program: asks the system for SIGTERM when its parent is gone."""
    library, parent = ctypes.CDLL(None), os.getpid()
    pr_set_pdeathsig = 1

    def ask():
        library.prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
    return ask


def broker_program():
    """The broker that `make tools` unpacked, or an installed one."""
    unpacked = ROOT / ".build/tools/mosquitto/usr/sbin/mosquitto"
    if unpacked.exists():
        return str(unpacked)
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found:
        return found
    raise StageError("no mosquitto broker found: run `make tools`")


class Stage:
    """A folder, the programs that were started in it, and the order in which they end."""

    def __init__(self, programs, folder=None, bound=False):
        """With `bound`, everything started here ends with this process, even when it is killed. Linux ties that to the
        starting thread, so it is for the demo, which starts everything from its main thread."""
        self._preexec = end_with_parent() if bound else None
        self.programs = pathlib.Path(programs)
        self._own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="fieldline-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        # A second signal must not leave anything behind: what is being ended is ended.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        self.stop()
        # After a failure the folder stays: its logs say why.
        if self._own_folder and (kind is None or kind in (KeyboardInterrupt, SystemExit)):
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self):
        while self.running:
            self.running[-1].stop()
            self.running.pop()

    def start(self, name, arguments, **options):
        options.setdefault("preexec", self._preexec)
        program = Program(name, arguments, self.folder, **options)
        self.running.append(program)
        return program

    def forget(self, program):
        """For a program that a test ended itself."""
        self.running.remove(program)

    # -- the plant's broker

    def start_broker(self, port=None):
        port = port or free_port()
        config = self.folder / "mosquitto.conf"
        config.write_text(
            # Started by root it would become another user, and then no longer hear that its parent is gone.
            ("user root\n" if os.geteuid() == 0 else "") +
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type information\nlog_type subscribe\n"
        )
        arguments = [broker_program(), "-c", config]
        broker = self.start(f"broker-{port}", arguments)
        broker.port = port
        wait_until(f"the broker on port {port}\n{broker.tail()}", lambda: can_connect(port), 10)
        return broker

    # -- the hub

    def hub_command(self, *arguments, data=None, check=True, timeout=30):
        """Runs a verb of cloud-hub and returns its standard output."""
        done = subprocess.run(
            [self.programs / "cloud-hub", *map(str, arguments), "--data", str(data or self.folder / "hub")],
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise StageError(f"cloud-hub {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip() if check else done

    def start_hub(self, *extra, name="cloud-hub", data=None, mqtt=None, https=None, http=None, env=None, wrapper=()):
        """Starts a hub and waits for its ready line; `.mqtt`, `.https`, `.http` are its ports."""
        data = pathlib.Path(data or self.folder / "hub")
        hub = self.start(
            name,
            [
                *wrapper, self.programs / "cloud-hub", "serve", "--data", data, "--hostname", "localhost",
                "--mqtt", f"127.0.0.1:{mqtt or 0}", "--https", f"127.0.0.1:{https or 0}",
                "--http", f"127.0.0.1:{http or 0}", *extra,
            ],
            env=env,
        )
        ready = hub.line("cloud-hub ready")
        ports = dict(re.findall(r"(mqtts|https|http)://[^ :]+:(\d+)", ready))
        hub.mqtt, hub.https, hub.http = (int(ports[scheme]) for scheme in ("mqtts", "https", "http"))
        hub.data = data
        hub.ca = data / "tls/ca.pem"
        return hub

    def device_string(self, device, data=None):
        return self.hub_command("connection-string", "--device", device, data=data)

    # -- the gateway

    def start_agent(self, config, name="edge-agent", **options):
        agent = self.start(name, [self.programs / "edge-agent", "run", "--config", config], **options)
        agent.line("edge-agent ready")
        return agent


def can_connect(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    return False


class Browser:
    """A person at the pages: keeps the session cookie, reads HTML, posts forms."""

    class _NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments):
            return None

    def __init__(self, base, context=None):
        """`context` is the TLS context of an https address."""
        self.base = base.rstrip("/")
        self.cookie = None
        self._opener = urllib.request.build_opener(
            self._NoRedirect, urllib.request.HTTPSHandler(context=context))

    def request(self, path, form=None, headers=None):
        """Status, headers, text. Redirects are not followed."""
        request = urllib.request.Request(self.base + path, headers=dict(headers or {}))
        if self.cookie:
            request.add_header("Cookie", self.cookie)
        if form is not None:
            request.data = urllib.parse.urlencode(form).encode()
        try:
            with self._opener.open(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def open_link(self, link):
        """Follows a one-time link; true when it opened a session."""
        status, headers, _ = self.request(urllib.parse.urlparse(link).path)
        if status == 303 and headers.get("Set-Cookie"):
            self.cookie = headers["Set-Cookie"].split(";")[0]
            return True
        return False

    def page(self, path):
        status, _, text = self.request(path)
        if status != 200:
            raise StageError(f"the page {path} answered {status}")
        return text

    def metric(self, device, name):
        """The value that the devices page shows, or None."""
        card = re.search(rf'data-device="{re.escape(device)}">(.*?)</li>', self.page("/fragments/devices"), re.S)
        value = card and re.search(rf'data-metric="{re.escape(name)}"[^>]*>([^<]*)', card.group(1))
        return value.group(1).strip() if value else None

    def missing(self):
        """What the devices page says of records that gateways made and that are not here."""
        return re.findall(r"data-missing>([^<]*)<", self.page("/fragments/devices"))

    def alerts(self, state="open"):
        """Ids and titles of the alerts in a state, newest first."""
        text = self.page("/fragments/alerts")
        return re.findall(
            rf'data-alert="([^"]+)" data-state="{state}">\s*<a href="[^"]+">([^<]*)</a>', text)

    def send_command(self, alert, command, **fields):
        page = self.page(f"/alerts/{alert}")
        token = re.search(r'name="form-token" value="([^"]+)"', page).group(1)
        status, _, text = self.request(
            f"/alerts/{alert}/commands", {"form-token": token, "command": command, **fields})
        if status != 303:
            raise StageError(f"the command form answered {status}: {text[:300]}")

    def commands(self, alert):
        """Name, status and reason of each command of an alert."""
        text = self.page(f"/fragments/alerts/{alert}")
        return re.findall(r'data-command="([^"]+)" data-status="([^"]+)">.*?<p class="note">(.*?)</p>', text, re.S)
