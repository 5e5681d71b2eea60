"""The checks just before an order is sent, each with its numbers.

All gates are always evaluated, so that `explain` shows the whole picture; an order is sent only if every one of them
passes, and with the quantity that they allow. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from position_manager.halt import Halt
from position_manager.model import ZERO, Hours, Instrument, Quote, QuoteProblem
from position_manager.orders.caps import Caps, Sent
from position_manager.orders.intents import Side, State, closing_side
from position_manager.rules.spread import SpreadBound, spread_of


@dataclass(frozen=True)
class Limits:
    """The bounds that the gates hold to. ``spread`` is the widest one at which an order is sent, ``position_age`` how
    old the position that was read again may be."""

    caps: Caps = field(default_factory=Caps)
    quote_age: timedelta = timedelta(seconds=5)
    position_age: timedelta = timedelta(seconds=5)
    spread: SpreadBound = field(default_factory=SpreadBound)


@dataclass(frozen=True)
class Facts:
    """The input of the gates, as it is at ``now``.

    ``ready``: whether the connection may send (`Connection.may_send`); ``link`` is its state. ``halts``: the kill
    switch's and the sticky one's. ``sending_mode``: whether the mode sends orders at all (shadow does not).
    ``lock``: why the instrument is locked. ``open_intent``: the state of another open intent of the instrument.
    ``decided``: the signed position that the decision saw; ``position`` the one just read, at ``read_at``; ``expected``
    what the journal counts (None: not counted yet). ``resting``: what live orders of any client may still trade on the
    closing side. ``wanted``: the quantity that the decision asks for, above zero. ``sent``: what was sent already.
    ``hours``: the sessions in which the order may trade, empty if they are not known. ``approved``: whether a person
    has approved the limit price: then the quote is not checked. ``waits``: a stop that rests at the broker, which needs
    neither quote nor open market to be sent.
    """

    now: datetime
    ready: bool
    link: str
    halts: tuple[Halt, ...]
    mode: str
    sending_mode: bool
    lock: str | None
    open_intent: State | None
    instrument: Instrument
    decided: Decimal
    wanted: Decimal
    position: Decimal
    read_at: datetime
    expected: Decimal | None
    resting: Decimal
    limit: Decimal
    sent: Sent
    quote: Quote | None
    hours: tuple[Hours, ...]
    approved: bool = False
    waits: bool = False

    @property
    def side(self) -> Side:
        return closing_side(self.decided)

    @property
    def needs_no_quote(self) -> str:
        """Why the quote is not checked; empty if it is."""
        if self.approved:
            return f"a person has approved the price {self.limit}"
        return "it rests until it triggers" if self.waits else ""


@dataclass(frozen=True)
class Check:
    """One gate: its name, whether it lets the order pass, and the numbers in words."""

    gate: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Clearance:
    """The result of the gates. ``quantity`` is what may be sent: 0 unless all of them passed."""

    checks: tuple[Check, ...]
    quantity: Decimal

    @property
    def passed(self) -> bool:
        return self.quantity > 0

    @property
    def refusals(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def evidence(self) -> Mapping[str, object]:
        """For the journal."""
        return {
            "quantity": str(self.quantity),
            "gates": [{"gate": c.gate, "passed": c.passed, "detail": c.detail} for c in self.checks],
        }


def closable(position: Decimal, resting: Decimal) -> Decimal:
    """How much may still be sent to close without ever going through zero: IB knows no order that only reduces."""
    return max(ZERO, abs(position) - resting)


def check(facts: Facts, limits: Limits) -> Clearance:
    """Evaluate every gate."""
    caps = limits.caps.of_resting if facts.waits else limits.caps
    whole = min(facts.wanted, closable(facts.position, facts.resting))
    # A close that is larger than a cap goes out in slices, one after the other.
    quantity = caps.slice_of(whole, facts.limit, facts.instrument.multiplier) or min(whole, Decimal(1))
    checks = (
        Check("connection", facts.ready, f"the connection is {facts.link}"),
        _not_halted(facts),
        Check("mode", facts.sending_mode, f"mode {facts.mode} {'sends' if facts.sending_mode else 'sends nothing'}"),
        Check("lock", facts.lock is None, f"locked: {facts.lock}" if facts.lock else "not locked"),
        Check("open intent", facts.open_intent is None, f"one is {facts.open_intent}" if facts.open_intent else "none"),
        _same_position(facts, limits),
        _settled(facts),
        _quantity(facts, quantity),
        *_caps(facts, quantity, caps),
        _hours(facts),
        _quote(facts, limits),
        _spread(facts, limits),
    )
    return Clearance(checks, quantity if all(c.passed for c in checks) else ZERO)


def _not_halted(facts: Facts) -> Check:
    detail = "; ".join(f"{halt.reason} (to end it: {halt.remedy})" for halt in facts.halts)
    return Check("halt", not facts.halts, detail or "not halted")


def _same_position(facts: Facts, limits: Limits) -> Check:
    same = facts.position * facts.decided > 0
    age = facts.now - facts.read_at
    fresh = abs(age) <= limits.position_age  # after a clock was set back, nothing is fresh
    detail = (
        f"decided at {facts.decided}, now {facts.position}, read {age.total_seconds():.1f} s ago"
        f" (at most {limits.position_age.total_seconds():g} s)"
    )
    return Check("position", same and fresh, detail)


def _settled(facts: Facts) -> Check:
    expected = "not counted yet" if facts.expected is None else f"expected {facts.expected}"
    return Check("settled", facts.expected == facts.position, f"position {facts.position}, {expected}")


def _quantity(facts: Facts, quantity: Decimal) -> Check:
    detail = (
        f"{facts.wanted} wanted, |{facts.position}| held, {facts.resting} resting on side {facts.side}:"
        f" {quantity} may be sent"
    )
    return Check("quantity", quantity > 0, detail)


def _caps(facts: Facts, quantity: Decimal, caps: Caps) -> tuple[Check, ...]:
    notional = quantity * abs(facts.limit) * facts.instrument.multiplier
    counts = (
        ("orders per minute", Decimal(facts.sent.minute + 1), Decimal(caps.orders_per_minute)),
        ("orders per day", Decimal(facts.sent.day + 1), Decimal(caps.orders_per_day)),
        ("order quantity", quantity, caps.quantity),
        ("order notional", notional, caps.notional),
    )
    return tuple(Check(name, value <= cap, f"{value} with this order, at most {cap}") for name, value, cap in counts)


def _hours(facts: Facts) -> Check:
    if facts.waits:
        return Check("hours", True, "it rests until it triggers")
    if not facts.hours:
        return Check("hours", False, "the trading hours are not known")
    session = next((hours for hours in facts.hours if hours.begin <= facts.now < hours.end), None)
    if session is not None:
        return Check("hours", True, f"session until {session.end.isoformat()}")
    coming = min((hours.begin for hours in facts.hours if hours.begin > facts.now), default=None)
    return Check("hours", False, f"closed, opens {coming.isoformat() if coming else 'at a time that is not known'}")


def _quote(facts: Facts, limits: Limits) -> Check:
    if facts.needs_no_quote:
        return Check("quote", True, facts.needs_no_quote)
    if facts.quote is None:
        return Check("quote", False, "no quote")
    age = facts.now - facts.quote.time
    problem = facts.quote.problem(facts.now, limits.quote_age)
    if problem is None and age < -limits.quote_age:
        problem = QuoteProblem.STALE
    detail = (
        f"bid {facts.quote.bid}, ask {facts.quote.ask}, {age.total_seconds():.1f} s old"
        f" (at most {limits.quote_age.total_seconds():g} s)"
    )
    return Check("quote", problem is None, detail if problem is None else f"{problem.value}: {detail}")


def _spread(facts: Facts, limits: Limits) -> Check:
    if facts.needs_no_quote:
        return Check("spread", True, facts.needs_no_quote)
    spread = None if facts.quote is None else spread_of(facts.quote)
    if spread is None or facts.quote is None:
        return Check("spread", False, "no two-sided quote")
    excess = limits.spread.excess(facts.instrument, facts.quote)
    within = f"{spread:.2%} of the middle, at most {limits.spread.fraction:.2%} or {limits.spread.ticks} ticks"
    return Check("spread", not excess, excess or within)
