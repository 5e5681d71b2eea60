"""The words of a login robot, read from its signature file (`signatures/<controller>.toml`).

The file is data of this package; `load` reads and checks it once. What its fields mean is said at its head.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from typing import Any, TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)


class LoginState(StrEnum):
    """Where a login stands."""

    STARTING = "starting"
    LOGGING_IN = "logging_in"
    AWAITING_2FA = "awaiting_2fa"
    RELOGIN_WAIT = "relogin_wait"
    LOGGED_IN = "logged_in"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"


class NextStep(StrEnum):
    """What the gateway does by itself after a failure."""

    HANGS = "hangs"
    EXITS = "exits"
    LOGS_IN_AGAIN = "logs_in_again"
    RESTARTS = "restarts"
    GOES_ON = "goes_on"


@dataclass(frozen=True)
class Cause:
    """Why a login fails: a snake_case id, one line of text, what to do, and what happens if nobody does it."""

    id: str
    text: str
    remedy: str
    person: bool
    next_step: NextStep

    @property
    def final(self) -> bool:
        """Whether waiting longer is of no use: a person is needed, or the gateway does nothing more."""
        return self.next_step is not NextStep.GOES_ON and (
            self.person or self.next_step in (NextStep.HANGS, NextStep.EXITS)
        )


@dataclass(frozen=True)
class Quiet:
    """What it means if a line is followed by no other known one for `seconds`: a failure, or a state."""

    seconds: float
    cause: Cause | None
    state: LoginState


@dataclass(frozen=True)
class Signature:
    """One known line of the log and its meaning."""

    id: str
    pattern: re.Pattern[str]
    state: LoginState | None
    cause: Cause | None
    text: str | None
    quiet: Quiet | None
    mode: str | None
    expects: frozenset[LoginState]


@dataclass(frozen=True)
class SignatureSet:
    """All that is known of one login robot; `process` is the extended regular expression of its command line."""

    controller: str
    process: str
    causes: Mapping[str, Cause]
    signatures: tuple[Signature, ...]

    def match(self, line: str) -> tuple[Signature, re.Match[str]] | None:
        """The first signature found in `line`, or None if the line means nothing."""
        for signature in self.signatures:
            if found := signature.pattern.search(line):
                return signature, found
        return None


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
    _fields(data, f"{name}:", required={"controller", "process", "causes", "signatures"})
    causes = {cause_id: _cause(cause_id, entry, name) for cause_id, entry in data["causes"].items()}
    signatures = tuple(_signature(entry, causes, name) for entry in data["signatures"])
    ids = [signature.id for signature in signatures]
    if twice := sorted({entry for entry in ids if ids.count(entry) > 1}):
        raise SignatureFileError(f"{name}: signature ids are not unique: {', '.join(twice)}.")
    used = {signature.cause.id for signature in signatures if signature.cause}
    used |= {signature.quiet.cause.id for signature in signatures if signature.quiet and signature.quiet.cause}
    if unused := sorted(causes.keys() - used):
        raise SignatureFileError(f"{name}: no signature leads to the causes {', '.join(unused)}.")
    return SignatureSet(data["controller"], data["process"], causes, signatures)


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


def _cause(cause_id: str, entry: Mapping[str, Any], name: str) -> Cause:
    where = f"{name}: cause {cause_id}:"
    _fields(entry, where, required={"text", "remedy", "person", "next_step"})
    return Cause(
        cause_id, entry["text"], entry["remedy"], entry["person"], _choice(NextStep, entry["next_step"], where)
    )


def _known(causes: Mapping[str, Cause], cause_id: str, where: str) -> Cause:
    if cause_id not in causes:
        raise SignatureFileError(f"{where} cause {cause_id!r} is not defined.")
    return causes[cause_id]


def _quiet(entry: Mapping[str, Any], causes: Mapping[str, Cause], where: str) -> Quiet:
    where = f"{where} quiet:"
    _fields(entry, where, required={"seconds"}, optional=frozenset({"cause", "state"}))
    if ("cause" in entry) == ("state" in entry):
        raise SignatureFileError(f"{where} exactly one of cause and state is needed.")
    if "state" in entry:
        return Quiet(entry["seconds"], None, _choice(LoginState, entry["state"], where))
    # Silence is how a gateway that hangs shows: it will do nothing more by itself.
    cause = replace(_known(causes, entry["cause"], where), next_step=NextStep.HANGS)
    return Quiet(entry["seconds"], cause, LoginState.FAILED)


def _signature(entry: Mapping[str, Any], causes: Mapping[str, Cause], name: str) -> Signature:
    where = f"{name}: signature {entry.get('id', '(without id)')}:"
    optional = {"state", "cause", "text", "quiet", "mode", "expects", "next_step", "person"}
    _fields(entry, where, required={"id", "pattern"}, optional=frozenset(optional))
    try:
        pattern = re.compile(entry["pattern"])
    except re.error as error:
        raise SignatureFileError(f"{where} pattern: {error}.") from error
    text: str | None = entry.get("text")
    if text is not None:
        groups = set(re.findall(r"\{(\w+)\}", text))
        if unknown := sorted(groups - pattern.groupindex.keys()):
            raise SignatureFileError(f"{where} the pattern has no group {', '.join(unknown)}.")
    state = _choice(LoginState, entry["state"], where) if "state" in entry else None
    cause = _known(causes, entry["cause"], where) if "cause" in entry else None
    if state is LoginState.FAILED and cause is None:
        raise SignatureFileError(f"{where} state failed needs a cause.")
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
    )
