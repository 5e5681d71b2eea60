"""The log lines of a login controller, read from its signature file (`signatures/<controller>.toml`).

The file is data of this package; `load` reads and checks it once. Its head documents the fields.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from typing import Any, TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)


class LoginState(StrEnum):
    """The state of a login. `link_lost`: logged in, the gateway reconnects to IBKR by itself; `blocked`: a dialog
    that no rule knows is open."""

    STARTING = "starting"
    LOGGING_IN = "logging_in"
    AWAITING_2FA = "awaiting_2fa"
    RELOGIN_WAIT = "relogin_wait"
    LOGGED_IN = "logged_in"
    READY = "ready"
    LINK_LOST = "link_lost"
    BLOCKED = "blocked"
    RESTARTING = "restarting"
    FAILED = "failed"


class NextStep(StrEnum):
    """What the gateway does by itself after a failure. `waits`: it continues as soon as a person acts, and a restart
    would not help; `hangs`: it does nothing more."""

    HANGS = "hangs"
    WAITS = "waits"
    EXITS = "exits"
    LOGS_IN_AGAIN = "logs_in_again"
    RESTARTS = "restarts"
    GOES_ON = "goes_on"


class SessionKind(StrEnum):
    """How a login starts: with user name and password, or with the session kept over a restart."""

    FULL = "full"
    KEPT = "kept"


@dataclass(frozen=True)
class Cause:
    """Why a login fails: a snake_case id, one line of text, what to do, and what happens if nobody does it.

    `tries` is how many times in a row it may occur before no further login is tried (None: no limit of its own).
    `interrupt`: the controller's own next try must be prevented, because it comes too soon or is of no use.
    `maintenance`: IBKR's maintenance can have the same symptoms although the credentials are right.
    """

    id: str
    text: str
    remedy: str
    person: bool
    next_step: NextStep
    tries: int | None = None
    interrupt: bool = False
    maintenance: bool = False

    @property
    def final(self) -> bool:
        """Whether waiting longer does not help: a person is needed, or the gateway does nothing more."""
        return self.next_step is not NextStep.GOES_ON and (
            self.person or self.next_step in (NextStep.HANGS, NextStep.EXITS)
        )


@dataclass(frozen=True)
class Quiet:
    """What it means if a line is followed by no other known one for `seconds`: a failure, or a state with a text."""

    seconds: float
    cause: Cause | None
    state: LoginState
    text: str = ""


@dataclass(frozen=True)
class Signature:
    """One known line of the log and its meaning; the head of the signature file documents the fields."""

    id: str
    pattern: re.Pattern[str]
    state: LoginState | None
    cause: Cause | None
    text: str | None
    quiet: Quiet | None
    mode: str | None
    expects: frozenset[LoginState]
    states: frozenset[LoginState]
    session: SessionKind | None
    in_session: SessionKind | None
    splash: int
    refusal: bool
    exit_code: bool
    misconfigured: bool


@dataclass(frozen=True)
class Refusal:
    """What a text of IBKR's means: `cause` if `pattern` is found in it."""

    pattern: re.Pattern[str]
    cause: Cause


@dataclass(frozen=True)
class Dialogs:
    """How windows appear in the log: `pattern` has the groups title and event; `opened` and `closed` are the events,
    `closed` is empty if the controller does not log it; `known` are the titles that the controller or a signature
    handles; `seconds` is how long another one may be open before it blocks the gateway, reported as `cause`;
    `text_follows`: the line after an unknown one holds its text; `second_factor` is the title of the second factor's
    dialog, `focused` and `unfocused` are the events that it gets and loses the focus, empty if they are not logged."""

    pattern: re.Pattern[str]
    opened: str
    closed: str
    known: re.Pattern[str]
    seconds: float
    cause: Cause
    text_follows: bool
    second_factor: re.Pattern[str] | None = None
    focused: str = ""
    unfocused: str = ""


@dataclass(frozen=True)
class CommandServer:
    """How the controller is asked to restart the gateway without a new login.

    `settings` enable its server on `port` in the template of its configuration, which the container's variable
    `template` names; with the variable `own_configuration` set to yes the image does not use that template. `restart`
    restarts the gateway, `pause` ends the container with the session stored. `accepted` and `refused` (group text) are
    found in lines of the answer.
    """

    port: int
    template: str
    own_configuration: str
    settings: Mapping[str, str]
    restart: str
    pause: str
    accepted: re.Pattern[str]
    refused: re.Pattern[str]


@dataclass(frozen=True)
class SignatureSet:
    """All that is known of one login controller.

    `line` is found in each line that the controller itself writes; others can continue a text that spans lines.
    `exits` maps exit codes of the container to causes. `process` is found in the command line of the process that
    ends the session when it is terminated. `command_server` is None if the controller has none.
    """

    controller: str
    causes: Mapping[str, Cause]
    signatures: tuple[Signature, ...]
    line: re.Pattern[str]
    refusals: tuple[Refusal, ...]
    dialogs: Dialogs
    exits: Mapping[int, Cause]
    process: re.Pattern[str]
    command_server: CommandServer | None = None

    def matches(self, line: str) -> Iterator[tuple[Signature, re.Match[str]]]:
        """All signatures found in `line`, in the order of the file."""
        for signature in self.signatures:
            if found := signature.pattern.search(line):
                yield signature, found

    def match(self, line: str) -> tuple[Signature, re.Match[str]] | None:
        """The first signature found in `line`, or None if the line means nothing."""
        return next(self.matches(line), None)

    def refused(self, text: str, otherwise: Cause) -> Cause:
        """The cause behind a text of IBKR's; `otherwise` if no rule knows the text."""
        return next((rule.cause for rule in self.refusals if rule.pattern.search(text)), otherwise)


class SignatureFileError(ValueError):
    """A signature file is missing or wrong; the message names the file, the entry and the fault."""


@functools.cache
def load(controller: str = "ibc") -> SignatureSet:
    """The signatures of a login robot that this package knows. Raises `SignatureFileError`."""
    folder = resources.files("gateway_watch") / "signatures"
    file = folder / f"{controller}.toml"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", controller) or not file.is_file():
        known = sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))
        raise SignatureFileError(f"No signatures for login controller {controller!r}; known: {', '.join(known)}.")
    return parse(file.read_text(encoding="utf-8"), f"{controller}.toml")


def parse(document: str, name: str) -> SignatureSet:
    """The signatures in `document` (TOML); `name` is what errors call it. Raises `SignatureFileError`."""
    try:
        data = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        raise SignatureFileError(f"{name}: {error}") from error
    required = {"controller", "line", "process", "dialogs", "causes", "signatures"}
    _fields(data, f"{name}:", required, optional=frozenset({"refusals", "exits", "command_server"}))
    causes = {cause_id: _cause(cause_id, entry, name) for cause_id, entry in data["causes"].items()}
    signatures = tuple(_signature(entry, causes, name) for entry in data["signatures"])
    ids = [signature.id for signature in signatures]
    if twice := sorted({entry for entry in ids if ids.count(entry) > 1}):
        raise SignatureFileError(f"{name}: signature ids are not unique: {', '.join(twice)}.")
    refusals = tuple(_refusal(entry, causes, name) for entry in data.get("refusals", ()))
    dialogs = _dialogs(data["dialogs"], causes, name)
    exits = {
        _exit_code(code, name): _known(causes, value, f"{name}: exit {code}:")
        for code, value in data.get("exits", {}).items()
    }
    used = {signature.cause.id for signature in signatures if signature.cause}
    used |= {rule.cause.id for rule in refusals} | {cause.id for cause in exits.values()} | {dialogs.cause.id}
    used |= {signature.quiet.cause.id for signature in signatures if signature.quiet and signature.quiet.cause}
    if unused := sorted(causes.keys() - used):
        raise SignatureFileError(f"{name}: no signature leads to the causes {', '.join(unused)}.")
    return SignatureSet(
        controller=data["controller"],
        causes=causes,
        signatures=signatures,
        line=_pattern(data["line"], f"{name}: line:"),
        refusals=refusals,
        dialogs=dialogs,
        exits=exits,
        process=_pattern(data["process"], f"{name}: process:"),
        command_server=_command_server(data["command_server"], name) if "command_server" in data else None,
    )


def _fields(entry: Mapping[str, Any], where: str, required: set[str], optional: frozenset[str] = frozenset()) -> None:
    if missing := sorted(required - entry.keys()):
        raise SignatureFileError(f"{where} missing {', '.join(missing)}.")
    if unknown := sorted(entry.keys() - required - optional):
        raise SignatureFileError(f"{where} unknown {', '.join(unknown)}.")


def _choice(kind: type[_Choice], value: str, where: str) -> _Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise SignatureFileError(f"{where} {value!r} is none of {', '.join(kind)}.") from error


def _pattern(text: str, where: str, groups: frozenset[str] = frozenset()) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SignatureFileError(f"{where} pattern: {error}.") from error
    if missing := sorted(groups - pattern.groupindex.keys()):
        raise SignatureFileError(f"{where} the pattern has no group {', '.join(missing)}.")
    return pattern


def _cause(cause_id: str, entry: Mapping[str, Any], name: str) -> Cause:
    where = f"{name}: cause {cause_id}:"
    optional = frozenset({"tries", "interrupt", "maintenance"})
    _fields(entry, where, required={"text", "remedy", "person", "next_step"}, optional=optional)
    tries = entry.get("tries")
    if tries is not None and (not isinstance(tries, int) or tries < 1):
        raise SignatureFileError(f"{where} tries must be a whole number of at least 1.")
    return Cause(
        cause_id,
        entry["text"],
        entry["remedy"],
        entry["person"],
        _choice(NextStep, entry["next_step"], where),
        tries,
        entry.get("interrupt", False),
        entry.get("maintenance", False),
    )


def _refusal(entry: Mapping[str, Any], causes: Mapping[str, Cause], name: str) -> Refusal:
    where = f"{name}: refusal {entry.get('pattern', '(without pattern)')}:"
    _fields(entry, where, required={"pattern", "cause"})
    return Refusal(_pattern(entry["pattern"], where), _known(causes, entry["cause"], where))


def _command_server(entry: Mapping[str, Any], name: str) -> CommandServer:
    where = f"{name}: command_server:"
    words = {"template", "own_configuration", "restart", "pause"}
    _fields(entry, where, required={"port", "settings", "accepted", "refused", *words})
    return CommandServer(
        port=entry["port"],
        settings=dict(entry["settings"]),
        accepted=_pattern(entry["accepted"], where),
        refused=_pattern(entry["refused"], where, frozenset({"text"})),
        **{word: entry[word] for word in words},
    )


_FOCUS = frozenset({"second_factor", "focused", "unfocused"})


def _dialogs(entry: Mapping[str, Any], causes: Mapping[str, Cause], name: str) -> Dialogs:
    where = f"{name}: dialogs:"
    required = {"pattern", "opened", "closed", "known", "seconds", "cause"}
    _fields(entry, where, required=required, optional=frozenset({"text_follows", *_FOCUS}))
    if given := _FOCUS & entry.keys():
        _fields(entry, where, required=set(_FOCUS), optional=frozenset(entry))
    return Dialogs(
        _pattern(entry["pattern"], where, frozenset({"title", "event"})),
        entry["opened"],
        entry["closed"],
        _pattern(entry["known"], where),
        entry["seconds"],
        _known(causes, entry["cause"], where),
        entry.get("text_follows", True),
        _pattern(entry["second_factor"], where) if given else None,
        entry.get("focused", ""),
        entry.get("unfocused", ""),
    )


def _exit_code(text: str, name: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 255:
        raise SignatureFileError(f"{name}: exit {text!r} is not a container's exit code: 1 to 255.")
    return int(text)


def _known(causes: Mapping[str, Cause], cause_id: str, where: str) -> Cause:
    if cause_id not in causes:
        raise SignatureFileError(f"{where} cause {cause_id!r} is not defined.")
    return causes[cause_id]


def _quiet(entry: Mapping[str, Any], causes: Mapping[str, Cause], where: str) -> Quiet:
    where = f"{where} quiet:"
    _fields(entry, where, required={"seconds"}, optional=frozenset({"cause", "state", "text"}))
    if ("cause" in entry) == ("state" in entry):
        raise SignatureFileError(f"{where} exactly one of cause and state is needed.")
    if "state" in entry:
        return Quiet(entry["seconds"], None, _choice(LoginState, entry["state"], where), entry.get("text", ""))
    # Silence is how a gateway that hangs shows: it will do nothing more by itself.
    cause = replace(_known(causes, entry["cause"], where), next_step=NextStep.HANGS)
    return Quiet(entry["seconds"], cause, LoginState.FAILED)


def _signature(entry: Mapping[str, Any], causes: Mapping[str, Cause], name: str) -> Signature:
    where = f"{name}: signature {entry.get('id', '(without id)')}:"
    optional = {"state", "cause", "text", "quiet", "mode", "expects", "next_step", "person", "states", "session"}
    optional |= {"in_session", "splash", "refusal", "exit_code", "misconfigured"}
    _fields(entry, where, required={"id", "pattern"}, optional=frozenset(optional))
    refusal, exit_code = entry.get("refusal", False), entry.get("exit_code", False)
    needed = {"said"} if refusal else {"code"} if exit_code else set()
    pattern = _pattern(entry["pattern"], where, frozenset(needed))
    text: str | None = entry.get("text")
    if text is not None:
        groups = set(re.findall(r"\{(\w+)\}", text))
        if unknown := sorted(groups - pattern.groupindex.keys()):
            raise SignatureFileError(f"{where} the pattern has no group {', '.join(unknown)}.")
    state = _choice(LoginState, entry["state"], where) if "state" in entry else None
    cause = _known(causes, entry["cause"], where) if "cause" in entry else None
    if (state is LoginState.FAILED or refusal) and cause is None and not exit_code:
        raise SignatureFileError(f"{where} state failed and refusal need a cause.")
    if cause is not None and "next_step" in entry:
        cause = replace(cause, next_step=_choice(NextStep, entry["next_step"], where))
    if cause is not None and "person" in entry:
        cause = replace(cause, person=entry["person"])
    return Signature(
        id=entry["id"],
        pattern=pattern,
        state=state,
        cause=cause,
        text=text,
        quiet=_quiet(entry["quiet"], causes, where) if "quiet" in entry else None,
        mode=entry.get("mode"),
        expects=frozenset(_choice(LoginState, value, where) for value in entry.get("expects", ())),
        states=frozenset(_choice(LoginState, value, where) for value in entry.get("states", ())),
        session=_choice(SessionKind, entry["session"], where) if "session" in entry else None,
        in_session=_choice(SessionKind, entry["in_session"], where) if "in_session" in entry else None,
        splash=entry.get("splash", 0),
        refusal=refusal,
        exit_code=exit_code,
        misconfigured=entry.get("misconfigured", False),
    )
