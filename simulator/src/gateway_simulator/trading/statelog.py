"""Keeping a brokerage's state by its changes: a snapshot, and a log of what has changed since.

The snapshot is the file of ``persistence``. The log beside it (``NAME.log``) has a line of JSON for each change of the
state; it is read back on top of the snapshot that its first line names. When the log has grown, a new snapshot is
written and the log starts again. A line is written before anyone learns of the change, and reaches the disk with the
next snapshot: it outlives the program at any moment, but not a failure of power.

A change holds, for each part of the state that differs, either all of it or what was added, put and dropped.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gateway_simulator.trading import persistence
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.codec import encode
from gateway_simulator.trading.working import WorkingOrder

FORMAT = "gateway-simulator-log"
LEAST_COMPACTED = 16 * 1024 * 1024
"""Bytes of log up to which no new snapshot is written: nothing else happens meanwhile, and reading so much takes less
than a second. Beyond it, a snapshot is written when the log is larger than the one before."""
MAPPINGS = ("positions", "realized", "day_values", "day_flows", "underlying_prices", "balances", "exchange_rates")
SCALARS = ("cash", "currency", "account_type", "day_equity")

Change = dict[str, Any]
_Key = tuple[int, int]


def log_of(path: Path) -> Path:
    """Return the log's path for a state file."""
    return path.with_name(f"{path.name}.log")


@dataclass
class _Known:
    """What of the state has been written: objects that cannot change by themselves, and copies of what can."""

    working: dict[_Key, tuple[Any, ...]] = field(default_factory=dict)
    completed: tuple[int, Any] = (0, None)
    executions: tuple[int, Any] = (0, None)
    bulletins: tuple[int, Any] = (0, None)
    added: tuple[int, Any] = (0, None)
    splits: tuple[int, Any] = (0, None)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    revision: int = -1


class StateLog:
    """One brokerage's state in a file, stored as a log of its changes."""

    def __init__(self, path: Path, brokerage: Brokerage) -> None:
        self._path = path
        self._brokerage = brokerage
        self._known = _Known()
        self._log: BinaryIO | None = None
        self._written = 0
        self._limit = 0

    def store(self) -> None:
        """Write what has changed. Raises OSError."""
        if self._log is None or self._written > self._limit:
            self.compact()
            return
        change = self._change()
        if change:
            self._append(change)

    def compact(self) -> None:
        """Write everything as a snapshot and restart the log. Raises OSError."""
        token = secrets.token_hex(8)
        persistence.save(self._path, self._brokerage, token)
        self.close()
        descriptor = os.open(log_of(self._path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
        self._log = os.fdopen(descriptor, "wb", buffering=0)
        self._known = _Known()
        self._change()  # everything is known now
        self._written = 0
        self._limit = max(LEAST_COMPACTED, self._path.stat().st_size)
        self._append({"format": FORMAT, "follows": token})

    def close(self) -> None:
        """Close the log; what was stored remains."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _append(self, change: Change) -> None:
        if self._log is None:
            raise ValueError("the log is not open")
        line = json.dumps(change, separators=(",", ":")).encode() + b"\n"
        rest = memoryview(line)
        while rest:  # an unbuffered file may take a part only
            rest = rest[self._log.write(rest) :]
        self._written += len(line)

    def _change(self) -> Change:
        """What differs from what is known, which is known from now on."""
        brokerage, known = self._brokerage, self._known
        change: Change = {}
        small = {
            "now": encode(brokerage.now),
            "day": encode(brokerage.day),
            "counters": encode(brokerage.numbers.counters),
            "shown": encode(brokerage.shown.all()),
            "market_changed": brokerage.market.revision != brokerage.seen_revision,
            "cancels_held": brokerage.cancels_held,
        }
        changed = {name: value for name, value in small.items() if known.small.get(name) != value}
        if changed:
            change["state"] = changed
            known.small = small
        if known.revision != brokerage.market.revision:
            known.revision = brokerage.market.revision
            change["market"] = brokerage.market.scripted()
        ids = {key: number for key, number in brokerage.last_order_ids.items() if known.ids.get(key) != number}
        if ids:
            change["last_order_ids"] = encode(ids)
            known.ids = dict(brokerage.last_order_ids)
        known.added = self._list(change, "added", brokerage.catalog.added, known.added)
        known.splits = self._list(change, "splits", brokerage.catalog.splits, known.splits)
        known.completed = self._list(change, "completed_orders", brokerage.completed_orders, known.completed)
        known.executions = self._list(change, "executions", brokerage.executions, known.executions)
        known.bulletins = self._list(change, "bulletins", brokerage.bulletins, known.bulletins)
        self._working(change)
        accounts = {
            name: of_account
            for name, account in brokerage.accounts.items()
            if (of_account := _account_change(account, known.accounts.setdefault(name, {})))
        }
        if accounts:
            change["accounts"] = accounts
        return change

    @staticmethod
    def _list(change: Change, name: str, values: Sequence[Any], known: tuple[int, Any]) -> tuple[int, Any]:
        """Add what a list has gained, or all of it if it is another one; return its length and its last entry."""
        length, last = known
        if len(values) < length or (length and values[length - 1] is not last):
            change[name] = {"all": encode(values)}
        elif len(values) > length:
            change[name] = {"add": encode(values[length:])}
        return len(values), values[-1] if values else None

    def _working(self, change: Change) -> None:
        known = self._known.working
        present = {each.key: each for each in self._brokerage.working.values() if each.transmitted}
        expected = [key for key in known if key in present]
        expected += [key for key in present if key not in known]
        dropped = [list(key) for key in known if key not in present]
        facts = {key: _facts(each) for key, each in present.items()}
        put = [key for key, each in facts.items() if not _same(known.get(key), each)]
        if expected != list(present):
            change["working"] = {"all": [encode(persistence.working_state(each)) for each in present.values()]}
        elif put or dropped:
            change["working"] = {
                "put": [encode(persistence.working_state(present[key])) for key in put],
                "drop": dropped,
            }
        self._known.working = facts


def _facts(working: WorkingOrder) -> tuple[Any, ...]:
    return (
        working.order,
        working.sequence,
        working.arrives,
        working.begins,
        working.ends,
        working.arrived,
        working.triggered,
        working.reached,
        working.slips,
        working.conditions_met,
    )


def _same(known: tuple[Any, ...] | None, present: tuple[Any, ...]) -> bool:
    """Whether an order is as it is known; the order itself is another object after each change."""
    return known is not None and known[0] is present[0] and known[1:] == present[1:]


def _account_change(account: Account, known: dict[str, Any]) -> Change:
    change: Change = {}
    for name in SCALARS:
        value = getattr(account, name)
        if name not in known or known[name] != value:
            known[name] = value
            change[name] = encode(value)
    for name in MAPPINGS:
        present: Mapping[int, Any] = getattr(account, name)
        before: dict[int, Any] = known.get(name, {})
        put = {str(key): encode(value) for key, value in present.items() if before.get(key) is not value}
        drop = [str(key) for key in before if key not in present]
        if put or drop:
            change[name] = {"put": put, "drop": drop}
            known[name] = dict(present)
    return change


def load(path: Path, brokerage: Brokerage) -> bool:
    """Restore the state in a file and its log; False if there is no file.

    Raises StateFileError, and changes nothing then.
    """
    document = persistence.read_document(path)
    if document is None:
        return False
    token = document.pop("snapshot", "") if isinstance(document, dict) else ""
    if token:
        read_log(path, document, token)
    persistence.restore(brokerage, document, str(path))
    return True


def read_log(path: Path, document: Any, token: str) -> None:
    """Update a snapshot's document from its log. Raises StateFileError for a log that is damaged.

    A log of another snapshot is older than this one, which contains it. A last line that is cut off was never
    reported to anyone.
    """
    log = log_of(path)
    try:
        lines = log.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise persistence.StateFileError(str(log), "the file", f"cannot be read: {error}") from error
    for number, line in enumerate(lines[:-1], start=1):
        try:
            change = json.loads(line)
            if number == 1:
                if change.get("format") != FORMAT:
                    raise ValueError(f"format is {change.get('format')!r}, not {FORMAT!r}")
                if change.get("follows") != token:
                    return
            else:
                _apply(document, change)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise persistence.StateFileError(str(log), f"line {number}", f"cannot be applied: {error!r}") from error


def _apply(document: dict[str, Any], change: Change) -> None:
    document.update(change.get("state", {}))
    if "market" in change:
        document["market"] = change["market"]
    document["last_order_ids"].update(change.get("last_order_ids", {}))
    for name in ("completed_orders", "executions", "bulletins", "added", "splits"):
        if name in change:
            before = document.get(name, [])
            document[name] = change[name]["all"] if "all" in change[name] else before + change[name]["add"]
    if "working" in change:
        document["working"] = _applied(document["working"], change["working"])
    accounts = {each["account_id"]: each for each in document["accounts"]}
    for name, of_account in change.get("accounts", {}).items():
        account = accounts[name]
        for part, value in of_account.items():
            if part in MAPPINGS:
                for key in value["drop"]:
                    del account[part][key]
                account[part].update(value["put"])
            else:
                account[part] = value


def _applied(working: list[Any], change: Change) -> list[Any]:
    if "all" in change:
        return list(change["all"])
    orders = {(each["order"]["client_id"], each["order"]["order_id"]): each for each in working}
    for client_id, order_id in change["drop"]:
        del orders[client_id, order_id]
    for each in change["put"]:
        orders[each["order"]["client_id"], each["order"]["order_id"]] = each
    return list(orders.values())
