"""A brokerage's state as a document, and as a file that survives a restart.

The document has everything that outlives a session: accounts, orders with what holds them, executions, counters, and
what was set in the market. Orders that were never transmitted are left out: the brokerage never knew them.
A document is of one mode, seed and kind of trading hours, and nothing is restored of one that does not fit.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.codec import DecodeError, decode, encode
from gateway_simulator.trading.combination import CombinationError, resolve
from gateway_simulator.trading.conditions import OF_CONTRACTS
from gateway_simulator.trading.invented import is_plausible
from gateway_simulator.trading.market import MarketError
from gateway_simulator.trading.matching import ShownSize, ShownSizes
from gateway_simulator.trading.model import Bulletin, Execution, Order, OrderStatus
from gateway_simulator.trading.numbers import Counters
from gateway_simulator.trading.splits import Split
from gateway_simulator.trading.trading_time import NEVER, NEW_YORK
from gateway_simulator.trading.working import WorkingOrder

FORMAT = "gateway-simulator-state"
VERSION = 1
REMEDY = "Move the file away to start with a new brokerage, or put back the file that this simulator wrote."


class StateFileError(Exception):
    """A state that cannot be restored: which file, which field, what to do."""

    def __init__(self, source: str, field: str, reason: str) -> None:
        super().__init__(f"{source}: {field}: {reason}. {REMEDY}")
        self.source = source
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class WorkingState:
    """A working order as the document has it; its instrument is found by ``con_id``."""

    order: Order
    con_id: int
    sequence: int
    arrives: datetime
    begins: datetime | None
    ends: datetime | None
    arrived: bool
    triggered: bool
    reached: int
    slips: int
    conditions_met: bool = False


@dataclass(frozen=True)
class BrokerageState:
    """All of the document but its format and what was set in the market."""

    mode: str
    seed: int
    trading_hours: str
    now: datetime | None
    day: date
    counters: Counters
    last_order_ids: dict[int, int]
    accounts: list[Account]
    working: list[WorkingState]
    completed_orders: list[Order]
    executions: list[Execution]
    bulletins: list[Bulletin]
    shown: list[ShownSize]
    market_changed: bool
    cancels_held: bool = False


@dataclass(frozen=True)
class _Splits:
    splits: list[Split]


def to_document(brokerage: Brokerage) -> dict[str, Any]:
    """Return a brokerage's state as JSON values."""
    state = BrokerageState(
        mode=brokerage.mode,
        seed=brokerage.seed,
        trading_hours=brokerage.hours.kind,
        now=brokerage.now,
        day=brokerage.day,
        counters=brokerage.numbers.counters,
        last_order_ids=brokerage.last_order_ids,
        accounts=list(brokerage.accounts.values()),
        working=[working_state(each) for each in brokerage.working.values() if each.transmitted],
        completed_orders=brokerage.completed_orders,
        executions=brokerage.executions,
        bulletins=brokerage.bulletins,
        shown=list(brokerage.shown.all()),
        market_changed=brokerage.market.revision != brokerage.seen_revision,
        cancels_held=brokerage.cancels_held,
    )
    added = {"added": list(brokerage.catalog.added), "splits": encode(brokerage.catalog.splits)}
    return {"format": FORMAT, "version": VERSION, "market": brokerage.market.scripted(), **added, **encode(state)}


def restore(brokerage: Brokerage, document: Any, source: str = "the document") -> None:
    """Restore a brokerage from the state of a document; its own accounts, orders and fills are replaced.

    The brokerage must be of the same mode, seed and trading hours. Raises StateFileError, and then changes nothing but
    the contracts that the catalog knows.
    """
    try:
        brokerage.catalog.restore_added(_added(document))
        splits = _splits(document)
        state, scripted = _read(brokerage, document)
        for at, each in enumerate(splits[len(brokerage.catalog.splits) :]):
            _apply_split(brokerage, each, at)
        working = [
            _working_order(brokerage, each, at, cancels_held=state.cancels_held)
            for at, each in enumerate(state.working)
        ]
        _check_references(brokerage, state)
        try:
            brokerage.market.restore_scripted(scripted)
        except MarketError as error:
            raise DecodeError("market", str(error)) from error
    except DecodeError as error:
        raise StateFileError(source, error.field, error.reason) from error
    brokerage.cancels_held = state.cancels_held
    brokerage.now = state.now
    brokerage.day = state.day
    brokerage.numbers.counters = state.counters
    brokerage.last_order_ids = state.last_order_ids
    brokerage.accounts = {each.account_id: each for each in state.accounts}
    brokerage.working = {each.key: each for each in working}
    brokerage.completed_orders = state.completed_orders
    brokerage.executions = state.executions
    brokerage.bulletins = state.bulletins
    brokerage.shown = ShownSizes(tuple(state.shown))
    if state.now is not None:
        brokerage.catalog.roll(state.day)
    brokerage.forget_derived(market_changed=state.market_changed)


def save(path: Path, brokerage: Brokerage, token: str = "") -> None:
    """Write a brokerage's state: for its owner only (0600), and atomically.

    ``token`` names this snapshot to the log that follows it; without one a log beside the file is not read.
    """
    text = json.dumps({**to_document(brokerage), "snapshot": token}, separators=(",", ":"))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_document(path: Path) -> Any:
    """Return the JSON value of a state file; None if there is no file. Raises StateFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StateFileError(str(path), "the file", f"cannot be read: {error}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateFileError(str(path), "the file", f"is not JSON: {error}") from error
    if document is None:
        raise StateFileError(str(path), "the document", "is not an object")
    return document


def _added(document: Any) -> list[str]:
    """The symbols that were invented; none in a state of an older simulator."""
    added = document.get("added", []) if isinstance(document, dict) else []
    if not isinstance(added, list) or not all(isinstance(each, str) and is_plausible(each) for each in added):
        raise DecodeError("added", f"is {added!r}, which is not a list of symbols")
    return added


def _splits(document: Any) -> list[Split]:
    """The splits there were; none in a state of an older simulator."""
    splits = document.get("splits", []) if isinstance(document, dict) else []
    return decode(_Splits, {"splits": splits}, "the document").splits


def _apply_split(brokerage: Brokerage, split: Split, at: int) -> None:
    if brokerage.catalog.get(split.con_id) is None or not (split.new > 0 < split.old):
        raise DecodeError(f"splits[{at}]", "is not one of a contract of the catalog")
    try:
        brokerage.catalog.apply_split(split)
    except ValueError as error:
        raise DecodeError(f"splits[{at}].adjusted", str(error)) from error


def _read(brokerage: Brokerage, document: Any) -> tuple[BrokerageState, dict[str, Any]]:
    if not isinstance(document, dict):
        raise DecodeError("the document", "is not an object")
    rest = dict(document)
    rest.pop("added", None)
    rest.pop("splits", None)
    if (written := rest.pop("format", None)) != FORMAT:
        raise DecodeError("format", f"is {written!r}, not {FORMAT!r}: another program wrote this")
    if (version := rest.pop("version", None)) != VERSION:
        raise DecodeError("version", f"is {version!r}; this simulator reads version {VERSION}")
    scripted = rest.pop("market", None)
    if not isinstance(scripted, dict):
        raise DecodeError("market", "is missing or not an object")
    state = decode(BrokerageState, rest, "state")
    for name, own, theirs in (
        ("mode", brokerage.mode, state.mode),
        ("seed", brokerage.seed, state.seed),
        ("trading_hours", brokerage.hours.kind, state.trading_hours),
    ):
        if own != theirs:
            raise DecodeError(f"state.{name}", f"is {theirs!r}, but this simulator runs with {own!r}")
    return state, scripted


def _check_references(brokerage: Brokerage, state: BrokerageState) -> None:
    """Reject impossible states: an account twice, a holding under a wrong id or of an unknown contract, an order of no
    account."""
    accounts = set()
    for at, account in enumerate(state.accounts):
        if account.account_id in accounts:
            raise DecodeError(f"state.accounts[{at}].account_id", f"is {account.account_id!r} a second time")
        accounts.add(account.account_id)
        for con_id, held in account.positions.items():
            if held.contract.con_id != con_id or brokerage.catalog.get(con_id) is None:
                raise DecodeError(f"state.accounts[{at}].positions.{con_id}", "is not a contract of the catalog")
    keys = set()
    for at, each in enumerate(state.working):
        key = each.order.client_id, each.order.order_id
        if key in keys:
            raise DecodeError(f"state.working[{at}].order.order_id", f"is {key[1]} a second time")
        keys.add(key)
        if each.order.account not in accounts:
            raise DecodeError(f"state.working[{at}].order.account", f"is {each.order.account!r}, which is no account")
        if each.order.remaining <= 0:
            raise DecodeError(f"state.working[{at}].order.filled", "leaves nothing to work on")
        for number, condition in enumerate(each.order.conditions):
            if condition.kind in OF_CONTRACTS and brokerage.catalog.get(condition.con_id) is None:
                where = f"state.working[{at}].order.conditions[{number}].con_id"
                raise DecodeError(where, f"is {condition.con_id}, which is not in the catalog")
    if state.now is None and state.working:
        raise DecodeError("state.now", "is missing although orders are at work")
    if state.now is not None and state.day != state.now.astimezone(NEW_YORK).date():
        raise DecodeError("state.day", f"is {state.day}, which is not New York's day at {state.now.isoformat()}")


def working_state(working: WorkingOrder) -> WorkingState:
    """Return a working order as the document has it."""
    return WorkingState(
        order=working.order,
        con_id=working.con_id,
        sequence=working.sequence,
        arrives=working.arrives,
        begins=working.begins,
        ends=working.ends,
        arrived=working.arrived,
        triggered=working.triggered,
        reached=working.reached,
        slips=working.slips,
        conditions_met=working.conditions_met,
    )


def _working_order(brokerage: Brokerage, state: WorkingState, at: int, *, cancels_held: bool) -> WorkingOrder:
    if state.order.contract.combo_legs:
        try:
            resolve(brokerage.catalog, state.order.contract)
        except CombinationError as error:
            raise DecodeError(f"state.working[{at}].order.contract", error.text) from error
    instrument = brokerage.catalog.get(state.con_id)
    if instrument is None:
        raise DecodeError(f"state.working[{at}].con_id", f"is {state.con_id}, which is not in the catalog")
    # A cancel that was on its way has arrived by now, unless it never does.
    arrived = NEVER if cancels_held else state.arrives
    return WorkingOrder(
        order=state.order,
        instrument=instrument,
        sequence=state.sequence,
        arrives=state.arrives,
        begins=state.begins,
        ends=state.ends,
        arrived=state.arrived,
        triggered=state.triggered,
        reached=state.reached,
        slips=state.slips,
        conditions_met=state.conditions_met,
        cancelled_at=arrived if state.order.status is OrderStatus.PENDING_CANCEL else None,
    )
