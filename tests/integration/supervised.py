"""A small real container that logs what a gateway logs, and `gateway-watch run` as a process under a fake systemd."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.engine import ROOT, docker, environment
from tests.unit.notifications.webhook import SECRET, Webhook

STAMP = "2026-11-23 01:02:03:456 IBC: "

START = ".> Starting IBC in paper mode, with params:"
LOGIN = (
    STAMP + "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
    STAMP + "Setting user name",
    STAMP + "Setting password",
)
ATTEMPT = (STAMP + "Login attempt: 1", STAMP + "Click button: Paper Log In")
DONE = (STAMP + "Login has completed", STAMP + "Configuration tasks completed")
TWOFA = (
    STAMP + "detected dialog entitled: Second Factor Authentication; event=Opened",
    STAMP + "Second Factor Authentication initiated",
)
WRONG_PASSWORD = (STAMP + "detected dialog entitled: Unrecognized Username or Password; event=Opened",)
LOGIN_FAILED = (STAMP + "Login failed", STAMP + "Cold restart in progress", "IBC will cold-restart shortly")
LISTEN = "touch /tmp/listening"
# Its command line is that of IBC, and the script that starts it does not hold the name.
CONTROLLER = (
    'ibc=ibcalpha.ibc; sh -c \'trap "echo the controller logs out; sleep 1; echo it is logged out; exit 143" TERM; '
    "sleep 1000 & wait $!' $ibc.IbcGateway & controller=$!"
)
STAY = "while :; do sleep 1 & wait $!; done"
TRAP = "trap 'echo .\\> Received SIGINT or SIGTERM; exit 0' TERM"


WEDNESDAY = datetime(2026, 11, 25, 17, tzinfo=UTC)
"""Noon in New York: far from every planned restart, reminder and maintenance."""

# The command line, with a clock that starts at a given moment: what the supervisor does depends on the hour.
_DRIVER = """
import functools, sys
from datetime import UTC, datetime, timedelta
from gateway_watch import cli
from gateway_watch.supervisor import Supervisor
shift = datetime.fromisoformat("{moment}") - datetime.now(UTC)
cli.Supervisor = functools.partial(Supervisor, now=lambda: datetime.now(UTC) + shift, probe_seconds={probe_seconds},
    orders_seconds=1)
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def prints(*lines: str) -> str:
    """A shell command that prints the lines."""
    return "\n".join(f"echo '{line}'" for line in lines)


def script(*commands: str) -> str:
    """The container's program: ends at SIGTERM like the real one."""
    return "\n".join([TRAP, *commands])


TEMPLATE = b"IbLoginId=${TWS_USERID}\nCommandServerPort=0\nControlFrom=\nBindAddress=\n"


class Image:
    """An image that holds busybox, a template of a controller's configuration, and nothing else."""

    def __init__(self) -> None:
        program = shutil.which("busybox")
        if program is None:
            raise RuntimeError("busybox is missing: apt-get install busybox-static")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("bin", "tmp"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(entry)
            tar.add(program, "bin/busybox", recursive=False)
            template = tarfile.TarInfo("config.ini.tmpl")
            template.size, template.mode = len(TEMPLATE), 0o644
            tar.addfile(template, io.BytesIO(TEMPLATE))
            for name in ("sh", "echo", "sleep", "test", "touch", "rm", "seq", "mkdir", "grep", "tr"):
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        made = subprocess.run(
            ["docker", "import", "-"],
            input=archive.getvalue(),
            capture_output=True,
            check=False,
            env=environment(),
            timeout=120,
        )
        if made.returncode != 0:
            raise RuntimeError(f"docker import: {made.stderr.decode()}")
        self.id = made.stdout.decode().strip()

    def remove(self) -> None:
        docker("image", "rm", "--force", self.id)


class Systemd:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._news = threading.Condition()
        self._messages: list[str] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while message := self._socket.recv(65536):
            with self._news:
                self._messages.append(message.decode())
                self._news.notify_all()

    @property
    def messages(self) -> list[str]:
        with self._news:
            return list(self._messages)

    def statuses(self) -> list[str]:
        return [message.removeprefix("STATUS=") for message in self.messages if message.startswith("STATUS=")]

    def extended(self) -> int:
        return sum(message.startswith("EXTEND_TIMEOUT_USEC=") for message in self.messages)

    def wait(self, wanted: Callable[[list[str]], bool], seconds: float = 30) -> None:
        with self._news:
            if not self._news.wait_for(lambda: wanted(self._messages), seconds):
                raise AssertionError(f"not told within {seconds} s; told: {self._messages}")

    def wait_ready(self) -> None:
        self.wait(lambda messages: "READY=1" in messages)

    def wait_status(self, text: str) -> None:
        self.wait(lambda messages: any(text in message for message in messages if message.startswith("STATUS=")))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"", self.address)
        self._thread.join(10)
        self._socket.close()


@dataclass
class Gateway:
    """One instance: its files, its container, and the supervisor's processes."""

    root: Path
    image: Image
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"suptest-{uuid.uuid4().hex[:12]}"
        self.config = self.root / "etc" / self.name
        self.secrets = self.config / "secrets"
        self.state = self.root / "state"
        self.secrets.mkdir(parents=True)
        self.state.mkdir()
        self.password = self.secrets / "tws_password"
        self.password.write_text("secret")
        (self.config / "container.env").write_text("TRADING_MODE=paper\n")
        self.containers: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []
        self.systemd = Systemd(self.root / "notify")
        document = {
            "name": self.name,
            "container": self.name,
            "unit": f"{self.name}.service",
            "trading_mode": "paper",
            "apis": [{"mode": "paper", "host": "127.0.0.1", "port": 4002, "native_port": 4002}],
            "vnc": None,
            "secrets_dir": str(self.secrets),
            "state_dir": str(self.state),
            "start_timeout": 300,
            "timezone": "America/New_York",
            "auto_restart_time": "02:00 AM",
            "cold_restart_time": "13:00",
            "twofa_timeout": 180,
            "expected_accounts": [],
            "client_id": 9000,
            "max_bad_logins": 2,
            "unanswering_minutes": 5,
            "watch_client_id": 9100,
            "read_only_api": False,
            "link_lost_minutes": 15,
            "link_restart_minutes": 120,
            "twofa_pushes_per_hour": 4,
            "twofa_quiet_hours": "",
            "reminder_quiet_hours": "",
            "yield_minutes": 30,
            "image": "busybox",
            "desupported_image_allowed": False,
            "login_controller": "ibc",
            "totp": False,
            "soft_restart": False,
        }
        (self.config / "instance.json").write_text(json.dumps(document | self.settings))
        # Older than any moment that a test lets the supervisor start at.
        long_ago = (WEDNESDAY - timedelta(days=30)).timestamp()
        for file in (self.password, *self.config.glob("*.*")):
            os.utime(file, (long_ago, long_ago))

    def create(self, program: str, *options: str) -> str:
        """Create the container, as an earlier run left it; return its id."""
        for old in self.containers:
            docker("rm", "--force", old)
        health = ["--health-cmd", "test -e /tmp/listening", "--health-interval", "1s"]
        made = docker(
            "create",
            "--name",
            self.name,
            *health,
            *options,
            "--network",
            "none",
            self.image.id,
            "/bin/sh",
            "-c",
            program,
        )
        if made.returncode != 0:
            raise RuntimeError(f"docker create: {made.stderr}")
        self.containers.append(made.stdout.strip())
        return self.containers[-1]

    def start(
        self,
        code: Sequence[str] = (),
        last: Sequence[str] = (),
        *,
        moment: datetime = WEDNESDAY,
        probe_seconds: float = 60.0,
    ) -> subprocess.Popen[str]:
        """Start the supervisor with a clock that shows `moment`; `code` is what to run instead, `last` its last
        arguments."""
        driver = _DRIVER.format(moment=moment.isoformat(), probe_seconds=probe_seconds)
        command = list(code) or ["-c", driver]
        process = subprocess.Popen(
            [sys.executable, *command, "--instance", self.name, "--config-root", str(self.root / "etc"), *last],
            env={
                **environment(),
                "PYTHONPATH": str(ROOT / "src"),
                "NOTIFY_SOCKET": self.systemd.address,
                **self.variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
        """Exit status and output of a supervisor that ends by itself."""
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output

    def run(self, program: str, *options: str, moment: datetime = WEDNESDAY) -> tuple[int, str]:
        self.create(program, *options)
        return self.finish(self.start(moment=moment))

    def terminate(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        process.send_signal(signal.SIGTERM)
        return self.finish(process)

    def running(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.containers[-1]).stdout.strip() == "true"

    def breaker(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.state / "breaker.json").read_text())
        return document

    def session(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.state / "session.json").read_text())
        return document

    def change_password(self) -> None:
        """Write a new password, as a deploy does; its file is newer than all others."""
        self.password.write_text("corrected")
        now = time.time()
        os.utime(self.password, (now, now))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            if process.stdout:
                process.stdout.close()
        for container in self.containers:
            docker("rm", "--force", container)
        self.systemd.close()


MakeGateway = Callable[..., Gateway]
NORMAL = script(prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, STAY)


def notify(gateway: Gateway, server: Webhook, more: str = "") -> None:
    """Configure the gateway's notifications for a real server, as a deploy does."""
    file = gateway.secrets / "notify_urls"
    file.write_text(f"json://watch:{SECRET}@127.0.0.1:{server.port}/\n{more}")
    file.chmod(0o600)
