#!/usr/bin/env -S python3 -IS
"""In place of ssh: records what a host answers, or answers as one did; for ``ansible_ssh_executable``.

Ansible does its whole own work over it: its ssh plugin starts this program for each call, waits for the escalation,
sends the module and reads the answer. With FLEET_RECORD, a directory, it runs ssh and stores what that answers; with
FLEET_ANSWERS, that directory, and FLEET_TURNS, where each host's calls are counted, it runs nothing. An answer is named
by its module, or ``command`` without one, and by how many calls of it the host has had; one that was not recorded
fails. HOST.own in FLEET_TURNS has, in turn, what depends on the recorded host's name and what the host has in its
place. Little is imported: a replayed call is to cost no more than one of ssh.
"""

from __future__ import annotations

import os
import sys

FULL_NAME = b"module_fqn='"
ESCALATED = "BECOME-SUCCESS-"
NO_ANSWER = 254


def module(sent: bytes) -> str:
    """Which module is sent."""
    _, found, rest = sent.rpartition(FULL_NAME)
    return rest.partition(b"'")[0].decode() if found else "command"


def turn(directory: str, host: str, name: str) -> int:
    """The number of this call among those of the module on the host, from 1 on. A host has one call at a time."""
    counter = os.open(f"{directory}/{host}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(counter, b".")
    return os.fstat(counter).st_size


def escalation(command: str) -> bytes:
    """The line with which sudo's shell confirms that it runs; it ends in random characters of each call."""
    _, found, rest = command.partition(ESCALATED)
    return f"{ESCALATED}{rest[:32]}\n".encode() if found else b""


def write(file: int, content: bytes) -> None:
    """Write everything."""
    with os.fdopen(file, "wb", closefd=file > 2) as opened:
        opened.write(content)


def read(path: str) -> bytes:
    """All of a file."""
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as file:
        return file.read()


def what_is_sent() -> bytes:
    """The module; none where Ansible gives the call a terminal, which has no end."""
    return b"" if os.isatty(0) else sys.stdin.buffer.read()


def record(directory: str, arguments: list[str]) -> int:
    """Run ssh, and store what it answers beside passing it on."""
    import subprocess

    host, command = arguments[-2:]
    ran = subprocess.Popen(  # noqa: S603 - what Ansible asks of ssh
        ["ssh", *arguments],  # noqa: S607 - the one that Ansible would run
        stdin=None if os.isatty(0) else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    confirmed, first = escalation(command), b""
    if confirmed and ran.stdout:
        # Ansible sends the module only then.
        first = ran.stdout.readline()
        write(1, first)
    sent = what_is_sent()
    answer, error = ran.communicate(sent or None)
    write(2, error)
    write(1, answer)
    name = module(sent)
    path = f"{directory}/{name}.{turn(directory, host, name)}"
    # A first line other than the expected one is an error, and part of the answer.
    answer = answer if first == confirmed else first + answer
    for kind, content in (("out", answer), ("err", error), ("rc", str(ran.returncode).encode())):
        write(os.open(f"{path}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), content)
    return ran.returncode


def replay(answers: str, turns: str, arguments: list[str]) -> int:
    """Answer as the host did at this turn."""
    host, command = arguments[-2:]
    write(1, escalation(command))
    name = module(what_is_sent())
    path = f"{answers}/{name}.{turn(turns, host, name)}"
    try:
        answer, error, status = (read(f"{path}.{kind}") for kind in ("out", "err", "rc"))
    except FileNotFoundError:
        write(2, f"no answer was recorded for {path.removeprefix(answers + '/')}: {command}\n".encode())
        return NO_ANSWER
    recorded, own = read(f"{turns}/{host}.own").split()
    write(2, error)
    write(1, answer.replace(recorded, own))
    return int(status)


def main(arguments: list[str]) -> int:
    """Run it. What is no call of a host is for ssh itself."""
    if len(arguments) < 3 or "-O" in arguments:
        os.execvp("ssh", ["ssh", *arguments])  # noqa: S606, S607 - as above
    if directory := os.environ.get("FLEET_RECORD"):
        return record(directory, arguments)
    return replay(os.environ["FLEET_ANSWERS"], os.environ["FLEET_TURNS"], arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
