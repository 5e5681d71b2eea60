"""Collects the document. Reads again only what has changed; what cannot be read is a note on the page, not an error.

Belongs to one thread: the databases of the services are open in it.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from dashboard import gateways, history, managers, outboxes, profit, readonly, statuses
from dashboard.document import Document, published
from dashboard.gateways import Facts, Unit
from dashboard.history import Strip
from dashboard.journals import JournalFile
from dashboard.outboxes import UnreadableError
from dashboard.places import GatewayPlace, ManagerPlace
from gateway_watch import session
from gateway_watch.breaker import Breaker, BreakerFile, BreakerFileError
from gateway_watch.instance import Instance, InstanceError, parse
from host_service import gateway_login

UNIT_SECONDS = 30.0
"""How often systemd is asked about a service whose files show that it runs; about one that is away more often."""
AWAY_SECONDS = 5.0
STORE_SECONDS = 300.0
"""How often the history is stored if nothing changed: what is not recorded for longer is shown as unknown."""
MINUTE = timedelta(minutes=1)

_PROPERTIES = "ActiveState,SubState,Result,StatusText,LoadState"


class Sources(Protocol):
    """What is on this machine."""

    def gateways(self) -> Sequence[GatewayPlace]: ...

    def managers(self) -> Sequence[ManagerPlace]: ...


@cache
def release() -> str:
    try:
        return version("ib-gateway-ansible")
    except PackageNotFoundError:
        return "(not installed: run from its source)"


def systemd_unit(name: str) -> Unit | None:
    """What systemd reports of a service; None if it could not be asked or knows no such service."""
    command = ("systemctl", "show", f"--property={_PROPERTIES}", "--", name)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError):
        return None
    values = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if done.returncode != 0 or values.get("LoadState") in (None, "not-found"):
        return None
    return Unit(
        values.get("ActiveState", ""),
        values.get("SubState", ""),
        values.get("Result", ""),
        values.get("StatusText", ""),
    )


@dataclass
class _Gateway:
    """What was read last of a gateway."""

    stamp: tuple[object, ...] = ()
    instance: Instance | None = None
    fault: str = ""
    login: gateway_login.GatewayLogin | None = None
    breaker: Breaker | None = None
    session: session.Session = field(default_factory=session.Session)
    breaker_fault: str = ""
    unit: Unit | None = None
    unit_at: float | None = None
    minute: datetime | None = None
    section: Document = field(default_factory=dict)


@dataclass
class _Manager:
    """What was read last of a position manager."""

    journal: JournalFile | None = None
    journal_stamp: tuple[object, ...] = ()
    journal_fault: str = ""
    orders: Document = field(default_factory=dict)
    newest: tuple[Any, ...] = ()
    bars: Document = field(default_factory=dict)
    mode: str = ""


@dataclass
class _Outbox:
    stamp: tuple[object, ...] = ()
    section: Document = field(default_factory=dict)
    fault: str = ""


class Collector:
    """Everything outside is a parameter. `collect` gives the present document, `record` only keeps the history."""

    def __init__(
        self,
        sources: Sources,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        history_file: Path | None = None,
        has_screen: Callable[[str], bool] = lambda _name: False,
        unit_of: Callable[[str], Unit | None] = systemd_unit,
    ) -> None:
        self._sources = sources
        self._now = now
        self._monotonic = monotonic
        self._history_file = history_file
        self._has_screen = has_screen
        self._unit_of = unit_of
        self._gateways: dict[str, _Gateway] = {}
        self._managers: dict[str, _Manager] = {}
        self._outboxes: dict[str, _Outbox] = {}
        self._notes: Document = {}
        self._history_fault = self._store_fault = ""
        self._strips: dict[str, Strip] = {}
        self._stored_at: float | None = None
        self._places: dict[str, ManagerPlace] = {}
        self._load_history()

    # ----- what is served

    def record(self) -> bool:
        """Record the state of each gateway; whether any of them has changed."""
        before = dict(self._strips)
        for place in self._sources.gateways():
            self._read_gateway(place)
        changed = before != self._strips
        self._store_history(changed=changed)
        return changed

    def collect(self) -> Document:
        """The document as of now, without its revision."""
        now = self._now()
        self._notes = {}
        document: Document = {
            "schema": 1,
            "at": now.isoformat(),
            "host": platform.node(),
            "release": release(),
            "exchange_zone": "America/New_York",
            "gateways": {},
            "managers": {},
            "notifications": {},
            "logs": {},
        }
        try:
            self._add_gateways(document, now)
            self._add_managers(document)
        except OSError as error:
            self._note("sources", f"The services of this host cannot be listed: {error}.")
        if fault := self._store_fault or self._history_fault:
            self._note("history", fault, "warning")
        document["notes"] = self._notes
        shown: Document = published(document)
        return shown

    def orders(self, name: str, before: str | None) -> tuple[list[Document], bool]:
        """Raises KeyError for an unknown manager, and UnreadableError."""
        self._find_managers()
        with closing(self._journal(self._places[name])) as journal:
            orders, more = journal.orders(before)
        return published(orders), more

    def explained(self, name: str, what: str) -> str:
        """Raises KeyError for an unknown manager, NotFoundError and UnreadableError."""
        self._find_managers()
        with closing(self._journal(self._places[name])) as journal:
            return str(published(journal.explained(what)))

    def curves(self, name: str) -> Document:
        """Raises KeyError for an unknown manager, and UnreadableError."""
        self._find_managers()
        directory = self._places[name].paths.days
        try:
            return {"manager": name, **profit.curves(directory)}
        except OSError as error:
            raise UnreadableError(
                f"The profit of {name} cannot be read: {outboxes.reason(directory, error)}"
            ) from error

    def close(self) -> None:
        """Store the history and close the databases."""
        self._store_history(changed=True)
        for manager in self._managers.values():
            if manager.journal is not None:
                manager.journal.close()

    # ----- gateways

    def _add_gateways(self, document: Document, now: datetime) -> None:
        found = self._sources.gateways()
        for place in found:
            known = self._read_gateway(place)
            if known.fault:
                self._note(f"gateway:{place.name}", known.fault)
            if known.instance is None:
                continue
            if known.breaker_fault:
                self._note(f"breaker:{place.name}", known.breaker_fault)
            document["gateways"][place.name] = self._gateway_section(place, known, known.instance, now)
            self._add_outbox(document, place.name, known.instance.outbox_file)
            document["logs"][known.instance.unit] = {"label": place.name}
        for name in self._gateways.keys() - {place.name for place in found}:
            del self._gateways[name]

    def _gateway_section(self, place: GatewayPlace, known: _Gateway, instance: Instance, now: datetime) -> Document:
        minute = now.replace(second=0, microsecond=0)
        if not known.section or known.minute != minute:
            facts = Facts(instance, known.login, known.unit, known.breaker, known.session, self._has_screen(place.name))
            strip = self._strips.get(place.name, Strip())
            known.section = gateways.section(facts, strip, now)
            # The strip starts at a whole hour, so that it does not change with each minute.
            known.section["history"] = strip.shown(now.replace(minute=0, second=0, microsecond=0))
            known.minute = minute
        return known.section

    def _read_gateway(self, place: GatewayPlace) -> _Gateway:
        """Read again what has changed, and record the state."""
        known = self._gateways.setdefault(place.name, _Gateway())
        if _stamps(place, known.instance) != known.stamp:
            self._read_instance(place, known)
            # Before the files are read: what changes meanwhile is read again.
            known.stamp = _stamps(place, known.instance)
            self._read_files(place, known)
            known.unit_at, known.section = None, {}
        if known.instance is not None:
            self._ask_systemd(known, known.instance.unit)
            word = gateways.word_of(known.login, known.unit)
            strip = self._strips.get(place.name, Strip())
            self._strips[place.name] = strip.with_state(word, self._now())
            if self._strips[place.name] is not strip:
                known.section = {}
        return known

    def _ask_systemd(self, known: _Gateway, unit: str) -> None:
        period = AWAY_SECONDS if known.login is None else UNIT_SECONDS
        if known.unit_at is not None and self._monotonic() - known.unit_at < period:
            return
        state = self._unit_of(unit)
        if state != known.unit:
            known.unit, known.section = state, {}
        known.unit_at = self._monotonic()

    def _read_instance(self, place: GatewayPlace, known: _Gateway) -> None:
        known.fault = ""
        try:
            known.instance = parse(json.loads(place.instance_file.read_bytes()), place.instance_file)
        except InstanceError as error:
            known.fault = str(error)
        except (OSError, ValueError) as error:
            known.fault = f"{place.instance_file} cannot be read: {error}. Run site.yml again."

    def _read_files(self, place: GatewayPlace, known: _Gateway) -> None:
        known.breaker_fault = ""
        known.login = gateway_login.read(place.login_file)
        if known.login is None and place.login_file.exists():
            known.fault = known.fault or f"{place.login_file} is damaged. Restart {place.name}."
        if known.instance is None:
            return
        try:
            known.session = session.read(known.instance.session_file)
        except OSError as error:
            known.session = session.Session()
            known.fault = known.fault or f"{known.instance.session_file} cannot be read: {error.strerror or error}."
        try:
            known.breaker = BreakerFile(known.instance.breaker_file, place.name).read()
        except (BreakerFileError, OSError) as error:
            known.breaker, known.breaker_fault = None, str(error)

    # ----- position managers

    def _find_managers(self) -> None:
        self._places = {place.name: place for place in self._sources.managers()}

    def _journal(self, place: ManagerPlace) -> JournalFile:
        known = self._managers.setdefault(place.name, _Manager())
        path = place.paths.newest_journal
        if known.journal is None or known.journal.path != path:
            if known.journal is not None:
                known.journal.close()
            known.journal = JournalFile(path)
            known.journal_stamp = ()
        return known.journal

    def _add_managers(self, document: Document) -> None:
        self._find_managers()
        for place in self._places.values():
            known = self._managers.setdefault(place.name, _Manager())
            section = self._manager_section(place, known)
            self._read_journal(place, known)
            if known.journal_fault:
                self._note(f"journal:{place.name}", known.journal_fault)
            section["orders"] = known.orders
            section["intents"] = managers.with_ladders(section["intents"], known.newest)
            section["unit"] = place.unit or None
            document["managers"][place.name] = section
            self._add_outbox(document, place.name, place.paths.outbox)
            if place.unit:
                document["logs"][place.unit] = {"label": place.name}

    def _manager_section(self, place: ManagerPlace, known: _Manager) -> Document:
        revision = profit.revision(place.paths.days)
        try:
            status = statuses.ask(place.paths.status_socket)
            section = managers.section(place.name, status)
            section["profit"] = {"revision": revision, **managers.profit_today(status)}
        except statuses.AbsentError as error:
            text = f"The position manager {place.name} does not report its positions: {error}"
            remedy = f" See: systemctl status {place.unit}" if place.unit else ""
            self._note(f"manager:{place.name}", f"{text}.{remedy}", "warning")
            section = managers.down(place.name, str(error))
            section["profit"] = {"revision": revision, "realized": {}, "open": {}}
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            text = f"The status of {place.name} is not understood ({error!r}): is it of another release? Restart it."
            self._note(f"manager:{place.name}", text)
            section = managers.down(place.name, text)
            section["profit"] = {"revision": revision, "realized": {}, "open": {}}
        self._retain_bars(section, known)
        return section

    def _retain_bars(self, section: Document, known: _Manager) -> None:
        """While a position is closed, no rule is evaluated; the levels that were shown last remain."""
        evaluated = {}
        for key, position in section["positions"].items():
            evaluated[key] = position["bars"]
            before = known.bars.get(key)
            if not position["bars"] and position["verdict"] == "closing" and before is not None:
                evaluated[key] = before
                position["bars"] = managers.retained_bars(before, position["price"])
        known.bars = evaluated

    def _read_journal(self, place: ManagerPlace, known: _Manager) -> None:
        journal = self._journal(place)
        stamp = readonly.stamp(journal.path)
        if stamp == known.journal_stamp and not known.journal_fault:
            return
        try:
            with closing(journal):
                known.newest = journal.newest()
                known.orders = {intent.id: journal.order(intent) for intent in known.newest}
            known.journal_fault = ""
        except UnreadableError as error:
            known.journal_fault = str(error)
        known.journal_stamp = stamp

    def _add_outbox(self, document: Document, source: str, path: Path) -> None:
        known = self._outboxes.setdefault(source, _Outbox())
        stamp = readonly.stamp(path)
        if stamp != known.stamp or known.fault or not known.section:
            try:
                known.section, known.fault = outboxes.read(path, source), ""
            except UnreadableError as error:
                known.fault = str(error)
            known.stamp = stamp
        if known.fault:
            self._note(f"notifications:{source}", known.fault, "warning")
        if known.section:
            document["notifications"][source] = known.section

    # ----- the history

    def _load_history(self) -> None:
        if self._history_file is None:
            return
        try:
            self._strips = history.read(self._history_file, self._now())
        except (OSError, ValueError) as error:
            self._history_fault = f"The history of the last days cannot be read, and starts again: {error}"

    def _store_history(self, *, changed: bool) -> None:
        due = self._stored_at is None or self._monotonic() - self._stored_at >= STORE_SECONDS
        if self._history_file is None or not (changed or due):
            return
        self._stored_at = self._monotonic()
        try:
            history.write(self._history_file, self._strips, self._now())
        except OSError as error:
            self._store_fault = f"The history of the last days cannot be stored: {error}"
        else:
            self._store_fault = ""

    def _note(self, key: str, text: str, severity: str = "error") -> None:
        self._notes[key] = {"severity": severity, "text": text}


def _stamps(place: GatewayPlace, instance: Instance | None) -> tuple[object, ...]:
    files = [place.instance_file, place.login_file]
    if instance is not None:
        files += [instance.breaker_file, instance.session_file]
    return tuple(map(_stamp, files))


def _stamp(path: Path) -> tuple[int, ...] | str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        return str(error)
    return status.st_ino, status.st_size, status.st_mtime_ns
