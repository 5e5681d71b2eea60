"""Why systemd could not start a unit: pure, from the unit's file and what systemd knows of its last start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

NEEDS_A_PERSON = 78
"""The exit status after which a unit is not started again; its program has reported why."""

FIRST_SETUP_STATUS = 200
"""From here on exit statuses are systemd's own: the process could not be set up (systemd.exec(5))."""

_PREFIXES = "@-:+!"
_PROGRAM_STATUS = re.compile(r"code=exited ; status=(\d+)")

SETUP_STATUSES = {
    200: "CHDIR",
    203: "EXEC",
    216: "GROUP",
    217: "USER",
    218: "CAPABILITIES",
    226: "NAMESPACE",
    228: "SECCOMP",
    233: "RUNTIME_DIRECTORY",
    238: "STATE_DIRECTORY",
    239: "CACHE_DIRECTORY",
    243: "CREDENTIALS",
}


@dataclass(frozen=True)
class Kind:
    """One kind of cause; ``text`` has a place for what is affected, ``{what}``."""

    id: str
    text: str
    remedy: str


@dataclass(frozen=True)
class StartCause:
    """Why one unit could not be started: an id, one line, what to do."""

    id: str
    text: str
    remedy: str

    @property
    def missing(self) -> bool:
        """Whether it ends when something is there again."""
        return self.id in MISSING

    @property
    def line(self) -> str:
        return f"{self.id}: {self.text}. {self.remedy}"


MISSING = frozenset({"credential_missing", "program_missing", "directory_missing", "user_missing"})

_READ_LOG = "Read its last lines and systemd's: journalctl -u UNIT -n 30. Correct what they name."

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.id: kind
        for kind in (
            Kind(
                "credential_missing",
                "missing credential file: {what}",
                "Run ansible-playbook site.yml: it writes the file from the settings.",
            ),
            Kind(
                "program_missing",
                "missing program, or one that cannot be executed: {what}",
                "Run ansible-playbook site.yml: it installs a release again that lacks a program.",
            ),
            Kind(
                "directory_missing",
                "missing directory: {what}",
                "Run ansible-playbook site.yml: it creates the directory. Restore its content if it was deleted.",
            ),
            Kind(
                "user_missing",
                "unknown user or group: {what}",
                "Run ansible-playbook site.yml: it creates the user.",
            ),
            Kind("setup_failed", "systemd could not set its process up (exit status {what})", _READ_LOG),
            Kind("program_failed", "it ended six times within 150 s, last with exit status {what}", _READ_LOG),
            Kind("not_started", "systemd could not start it (result {what})", _READ_LOG),
        )
    }
)


@dataclass(frozen=True)
class Host:
    """What is on the host. ``executable``: the program, and the interpreter that its first line names, can be
    executed."""

    exists: Callable[[str], bool]
    executable: Callable[[str], bool]
    has_user: Callable[[str], bool]
    has_group: Callable[[str], bool]


@dataclass(frozen=True)
class LastStart:
    """What systemd knows of a unit: the words of `systemctl show`."""

    load: str
    active: str
    sub: str
    result: str
    exit_status: int
    before_exit_status: int = 0
    """Of a command that comes before the main process (ExecStartPre)."""
    restarts: bool = True
    """Whether the unit is one that is to run all the time (Restart= other than no)."""

    @property
    def failed(self) -> bool:
        return self.active == "failed"

    @property
    def waits(self) -> bool:
        """Whether systemd itself starts it again shortly."""
        return self.active == "activating" and self.sub == "auto-restart"

    @property
    def needs_a_person(self) -> bool:
        return self.failed and not self.before_exit_status and self.exit_status == NEEDS_A_PERSON


PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "ExecStartPre", "Restart")


def last_start(output: str) -> LastStart:
    """The answer of `systemctl show` for `PROPERTIES`."""
    values: dict[str, str] = {}
    before = 0
    for line in output.splitlines():
        key, _, value = line.partition("=")
        values[key] = value
        if key == "ExecStartPre" and (found := _PROGRAM_STATUS.search(value)):
            before = before or int(found[1])
    return LastStart(
        values.get("LoadState", ""),
        values.get("ActiveState", ""),
        values.get("SubState", ""),
        values.get("Result", ""),
        int(values.get("ExecMainStatus") or 0),
        before,
        values.get("Restart", "no") != "no",
    )


def settings(text: str) -> list[tuple[str, str]]:
    """The assignments of a unit's files in order, as `systemctl cat` prints them. An empty one resets its list."""
    found: list[tuple[str, str]] = []
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        key, equals, value = joined.partition("=")
        joined = ""
        if not equals:
            continue
        key, value = key.strip(), value.strip()
        if value:
            found.append((key, value))
        else:
            found = [pair for pair in found if pair[0] != key]
    return found


def credentials(text: str) -> dict[str, str]:
    """The credential files that a unit names, by their ids."""
    pairs = (value.partition(":") for key, value in settings(text) if key == "LoadCredential")
    return {name: path for name, _, path in pairs if path.startswith("/")}


def find(unit: str, text: str, start: LastStart, host: Host) -> StartCause | None:
    """Why the unit could not be started, from its files' ``text``; None if nothing is known to be wrong."""
    for kind, missing in (
        ("credential_missing", [path for path in credentials(text).values() if not host.exists(path)]),
        ("program_missing", [path for path in _programs(text) if not host.executable(path)]),
        ("directory_missing", [path for path in _directories(text) if not host.exists(path)]),
        ("user_missing", list(_unknown_users(text, host))),
    ):
        if missing:
            return _cause(kind, ", ".join(dict.fromkeys(missing)), unit)
    status = start.before_exit_status or start.exit_status
    if start.result in ("", "success"):
        return None
    if start.result != "exit-code":
        return _cause("not_started", start.result, unit)
    if status >= FIRST_SETUP_STATUS:
        name = SETUP_STATUSES.get(status)
        return _cause("setup_failed", f"{status}/{name}" if name else str(status), unit)
    return _cause("program_failed", str(status), unit)


def _cause(kind: str, what: str, unit: str) -> StartCause:
    known = KINDS[kind]
    return StartCause(kind, known.text.format(what=what), known.remedy.replace("UNIT", unit))


def _programs(text: str) -> Iterator[str]:
    for key, value in settings(text):
        if key not in ("ExecStart", "ExecStartPre"):
            continue
        command = value.split()[0]
        program = command.lstrip(_PREFIXES)
        if "-" not in command[: len(command) - len(program)] and program.startswith("/"):
            yield program


def _directories(text: str) -> Iterator[str]:
    for key, value in settings(text):
        if key in ("ReadWritePaths", "ReadOnlyPaths", "BindPaths", "WorkingDirectory"):
            yield from (path.lstrip("+") for path in value.split() if path.lstrip("+").startswith("/"))


def _unknown_users(text: str, host: Host) -> Iterator[str]:
    for key, value in settings(text):
        if (key == "User" and not host.has_user(value)) or (key == "Group" and not host.has_group(value)):
            yield value
