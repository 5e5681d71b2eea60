"""The state of this host and of its systemd: the only input of `causes`."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

from unit_recovery.causes import PROPERTIES, Host, LastStart, StartCause, find, last_start

SYSTEMCTL = "/usr/bin/systemctl"
ANSWER_SECONDS = 30


class SystemdError(Exception):
    """systemd does not answer; the message states why."""


def show(unit: str) -> LastStart:
    """How the unit is. Raises SystemdError."""
    return last_start(_systemctl("show", f"--property={','.join(PROPERTIES)}", "--", unit))


def unit_text(unit: str) -> str:
    """The unit's files, drop-ins included. Raises SystemdError."""
    return _systemctl("cat", "--", unit)


def start(unit: str) -> bool:
    """Start it and wait until it is ready, or until the start fails; whether it is ready."""
    # A start that failed too often in a short time is rejected until its count is reset.
    subprocess.run([SYSTEMCTL, "reset-failed", "--", unit], check=False)  # noqa: S603 - a fixed program
    return subprocess.run([SYSTEMCTL, "start", "--", unit], check=False).returncode == 0  # noqa: S603 - likewise


def inspect(unit: str) -> StartCause | None:
    """Why the unit could not be started; None if nothing is known. Raises SystemdError."""
    return find(unit, unit_text(unit), show(unit), HOST)


def exists(path: str) -> bool:
    """Whether something is there. What must not be seen counts as there."""
    try:
        return Path(path).exists()
    except PermissionError:
        return True


def executable(path: str) -> bool:
    """Whether a program can be executed, and the interpreter of its first line as well."""
    try:
        if not Path(path).is_file() or not os.access(path, os.X_OK):
            return False
        with Path(path).open("rb") as program:
            head = program.read(256).split(b"\n")[0]
    except PermissionError:
        return True
    except OSError:
        return False
    words = head[2:].split() if head.startswith(b"#!") else []
    return not words or os.access(os.fsdecode(words[0]), os.X_OK)


def has_user(name: str) -> bool:
    try:
        pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        # systemd accepts a number that nobody has.
        return name.isdigit()
    return True


def has_group(name: str) -> bool:
    try:
        grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)
    except KeyError:
        return name.isdigit()
    return True


HOST = Host(exists, executable, has_user, has_group)


def _systemctl(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            [SYSTEMCTL, *arguments], capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdError(f"{SYSTEMCTL} {' '.join(arguments)}: {error}") from error
    if done.returncode != 0:
        raise SystemdError(f"{SYSTEMCTL} {' '.join(arguments)}: {' '.join(done.stderr.split())}")
    return done.stdout
