#!/usr/bin/env python3
"""Start the project's own Docker engine in a session of its own and wait until it reports that it is ready.

Run as root where no systemd runs services. The engine announces its readiness with systemd's notification protocol
(sd_notify(3)), which needs no systemd: a datagram socket named in NOTIFY_SOCKET is enough.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

LOG_LINES = 15


def living(pid_file: Path, argument: Path) -> int | None:
    """Return the pid in the file if that process has the argument on its command line, which identifies it.

    A killed engine leaves its pid files, and their numbers may belong to another process by now: then, and if the
    process is gone, the file is removed, because the engine would take it for its own and refuse to start.
    """
    try:
        pid = int(pid_file.read_text())
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        command_line = []
    if os.fsencode(argument) in command_line:
        return pid
    pid_file.unlink(missing_ok=True)
    return None


def start(data: Path, run: Path, group: str, seconds: float) -> str | None:
    """Start the engine; return None once it is ready, else what went wrong."""
    pid_file, log_file = run / "docker.pid", run / "docker.log"
    if pid := living(pid_file, pid_file):
        return f"it runs already as process {pid} but does not answer; stop it with: kill {pid}"
    containerd = run / "exec/containerd"
    living(containerd / "containerd.pid", containerd / "containerd.toml")
    for directory in (data, run):
        directory.mkdir(parents=True, exist_ok=True)
    notify_path = run / "notify.sock"
    notify_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log_file.open("wb") as log:
        notify.bind(str(notify_path))
        command = ["dockerd", "--data-root", str(data), "--exec-root", str(run / "exec"), "--group", group]
        command += ["--host", f"unix://{run / 'docker.sock'}", "--pidfile", str(pid_file)]
        engine = subprocess.Popen(  # noqa: S603 - fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "NOTIFY_SOCKET": str(notify_path)},
            start_new_session=True,
        )
        ended = os.pidfd_open(engine.pid)
        ready, _, _ = select.select([notify.fileno(), ended], [], [], seconds)
        problem = None
        if ended in ready:
            problem = f"it ended with exit code {engine.wait()}"
        elif not ready or b"READY=1" not in notify.recv(4096):
            engine.terminate()
            problem = f"it was not ready after {seconds:.0f} s"
        os.close(ended)
    notify_path.unlink()
    if problem:
        tail = log_file.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([problem, *tail])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory for images and containers")
    parser.add_argument("--run", type=Path, required=True, help="directory for the socket, pid file and log")
    parser.add_argument("--group", default="root", help="group that may use the socket")
    parser.add_argument("--seconds", type=float, default=60, help="how long to wait for it")
    options = parser.parse_args()
    problem = start(options.data, options.run, options.group, options.seconds)
    if problem:
        sys.exit(f"ERROR: The Docker engine did not start: {problem}")


if __name__ == "__main__":
    main()
