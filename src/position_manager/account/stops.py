"""Whether an account's stops fire on an answer of the broker: pure decisions with the numbers they saw.

- The day's start is the first value of the day that two answers in a row confirm (the lower of both); the best value
  likewise. One odd answer is neither a start, nor a best, nor a reason to fire.
- A rule that has fired does not fire again in the same episode: `daily_loss` until the next day, `drawdown` until a new
  best, `margin_cushion` until the cushion is a fifth above its bound again; each until a person rearms it.
- A change of the value that the cash explains, with the positions unchanged and no future held, counts as a probable
  transfer. When only the transfer decides whether a loss rule holds, the rule decides nothing and reports that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from position_manager.account.settings import AccountRules, Action, DailyLoss, Drawdown, MarginCushion
from position_manager.account.values import AccountValues

ZERO = Decimal(0)
TRANSFER_PART = Decimal("0.005")
"""Smaller changes of the value are never taken for a transfer."""
TRANSFER_ERROR = Decimal("0.1")
"""So far cash and value may differ in a transfer."""
TRANSFER_ERROR_AWAY = Decimal("0.5")
"""The same after a time without answers, in which the market has moved the positions as well."""
LONG_AWAY = timedelta(days=4)
"""After so long without an answer nobody can tell a loss from a transfer."""
RECOVERED = Decimal("1.2")
"""A margin cushion has recovered at this multiple of the bound."""
CLOCK_SKEW = timedelta(seconds=2)


class Verdict(StrEnum):
    """The state of an account's rule."""

    GUARDED = "guarded"
    PENDING = "pending"
    FIRED = "fired"
    BLIND = "unprotected"


@dataclass(frozen=True)
class RuleState:
    """The state of one rule, with the numbers."""

    rule: str
    verdict: Verdict
    text: str
    action: Action


@dataclass(frozen=True)
class Fired:
    """A rule that has fired, and what it does."""

    rule: str
    action: Action
    at: datetime
    text: str


@dataclass(frozen=True)
class Sighting:
    """Answers in a row in which a rule held."""

    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class AccountMemory:
    """What must outlast a restart, for one account. ``held``: the positions at the last answer, as a text.

    ``day_transfer``, ``best_transfer``: probable transfers since the day's start and the best value.
    ``targets``: the contracts that a fired rule still has to close, each with the episode that it was in.
    ``unarmed``: rules that a person rearmed while they held; they fire again once they have not held.
    ``other_currency``: in which the last answer was, if it is another one than before.
    """

    currency: str = ""
    day: date | None = None
    day_start: Decimal | None = None
    day_start_at: datetime | None = None
    best: Decimal | None = None
    best_at: datetime | None = None
    day_transfer: Decimal = ZERO
    best_transfer: Decimal = ZERO
    last: Decimal | None = None
    last_cash: Decimal | None = None
    last_at: datetime | None = None
    held: str = ""
    fired: Mapping[str, Fired] = field(default_factory=dict)
    targets: Mapping[int, str] = field(default_factory=dict)
    unarmed: frozenset[str] = frozenset()
    other_currency: str = ""
    sightings: Mapping[str, Sighting] = field(default_factory=dict)

    def to_json(self) -> str:
        """For the journal; sightings start again after a restart."""
        return _MEMORY.dump_json(replace(self, sightings={})).decode()

    @staticmethod
    def from_json(text: str) -> AccountMemory:
        """Raises ValueError if the text is no memory."""
        try:
            return _MEMORY.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"this is no memory of an account: {error}") from error

    def without(self, rule: str) -> AccountMemory:
        """A rule's episode is over."""
        return replace(
            self,
            fired={name: each for name, each in self.fired.items() if name != rule},
            sightings={name: each for name, each in self.sightings.items() if name != rule},
        )

    def rearmed(self) -> AccountMemory:
        """A person accepts the account as it is: the day and the best value start again at its next two answers, as the
        last one may be an odd one."""
        return AccountMemory(currency=self.currency, day=self.day, unarmed=frozenset({"margin_cushion"}))


_MEMORY = TypeAdapter(AccountMemory)


@dataclass(frozen=True)
class Circumstances:
    """What an answer meets: the time, the zone of days, whether a market of something held is open (``open``), the
    positions as a text, whether a future is held, and why nothing could be closed (``bar``, empty if it could)."""

    now: datetime
    zone: ZoneInfo
    open: bool
    held: str
    futures: bool
    bar: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an answer leads to. ``over``: the rules whose episode has ended."""

    memory: AccountMemory
    states: tuple[RuleState, ...]
    fired: tuple[Fired, ...] = ()
    over: tuple[str, ...] = ()


def unusable(values: AccountValues | None, now: datetime, max_age: timedelta) -> str | None:
    """Why an answer decides nothing; None if it may."""
    if values is None:
        return "the broker has not reported the account's values"
    age = now - values.time
    if age > max_age:
        return f"the account's values are {age.total_seconds():.0f} s old (at most {max_age.total_seconds():g} s)"
    if age < -CLOCK_SKEW:
        return "the account's values are from the future: the clock was set back"
    if not values.currency:
        return "the broker reports no currency of the account's values"
    if values.net_liquidation == 0:
        return "the broker reports a net liquidation value of 0"
    return None


def blind(rules: AccountRules, memory: AccountMemory, why: str) -> tuple[RuleState, ...]:
    """The states of rules that cannot be evaluated. What has fired remains fired."""
    return tuple(
        RuleState(name, Verdict.FIRED, memory.fired[name].text, rule.action)
        if name in memory.fired
        else RuleState(name, Verdict.BLIND, why, rule.action)
        for name, rule in rules.own_rules.items()
    )


def evaluate(rules: AccountRules, values: AccountValues, memory: AccountMemory, at: Circumstances) -> Outcome:
    """What one new answer means. Each answer is evaluated once; the caller has checked that it is usable."""
    if values.currency != memory.currency and memory.currency and values.currency != memory.other_currency:
        why = f"the broker reports {values.currency} in place of {memory.currency}; not confirmed by two answers yet"
        return Outcome(replace(memory, other_currency=values.currency, sightings={}), blind(rules, memory, why))
    memory, over = _counted(replace(memory, other_currency=""), values, rules, at)
    states: list[RuleState] = []
    fired: list[Fired] = []
    for name, rule in rules.own_rules.items():
        memory, state, recovered = _judged(name, rule, rules, values, memory, at)
        if recovered:
            over = (*over, name)
        if state.verdict is Verdict.FIRED and name not in memory.fired:
            fired.append(Fired(name, rule.action, at.now, state.text))
            memory = replace(memory, fired={**memory.fired, name: fired[-1]})
        states.append(state)
    return Outcome(memory, tuple(states), tuple(fired), over)


def _counted(
    memory: AccountMemory, values: AccountValues, rules: AccountRules, at: Circumstances
) -> tuple[AccountMemory, tuple[str, ...]]:
    """With the answer in the day's start, the best value and the transfers; and the rules whose episode that ends."""
    over: list[str] = []
    if memory.currency not in ("", values.currency):
        # Amounts of another base currency mean nothing here.
        over += memory.fired
        memory = AccountMemory(targets=memory.targets)
    day, net = at.now.astimezone(at.zone).date(), values.net_liquidation
    if memory.day != day:
        if "daily_loss" in memory.fired:
            over.append("daily_loss")
        memory = replace(memory.without("daily_loss"), day=day, day_start=None, day_start_at=None, day_transfer=ZERO)
    recent = memory.last_at is not None and timedelta() <= values.time - memory.last_at <= rules.max_age
    last = memory.last
    if last is not None:
        moved = _transfer(memory, values, rules, at)
        memory = replace(memory, day_transfer=memory.day_transfer + moved, best_transfer=memory.best_transfer + moved)
        lower = min(net, last)
        same_day = memory.last_at is not None and memory.last_at.astimezone(at.zone).date() == day
        if memory.day_start is None and recent and same_day:
            memory = replace(memory, day_start=lower, day_start_at=at.now, day_transfer=ZERO)
        if recent and (memory.best is None or lower > memory.best):
            if "drawdown" in memory.fired:
                over.append("drawdown")
            memory = replace(memory.without("drawdown"), best=lower, best_at=at.now, best_transfer=ZERO)
    return (
        replace(
            memory,
            currency=values.currency,
            last=net,
            last_cash=values.cash,
            last_at=values.time,
            held=at.held,
        ),
        tuple(over),
    )


def _transfer(memory: AccountMemory, values: AccountValues, rules: AccountRules, at: Circumstances) -> Decimal:
    """The amount probably paid in (or out, negative) since the last answer; 0 if there is none."""
    if memory.last is None or memory.last_at is None:
        return ZERO
    change, away = values.net_liquidation - memory.last, values.time - memory.last_at
    small = abs(change) < TRANSFER_PART * abs(memory.last)
    if away > LONG_AWAY:
        return ZERO if small else change
    if memory.last_cash is None or values.cash is None:
        return ZERO
    if at.futures or memory.held != at.held:
        # The gains of futures are cash, and a trade moves cash before the position is valued.
        return ZERO
    cash, error = values.cash - memory.last_cash, TRANSFER_ERROR if away <= rules.max_age else TRANSFER_ERROR_AWAY
    return ZERO if small or abs(change - cash) > error * abs(change) else cash


@dataclass(frozen=True)
class _Seen:
    """Whether a rule holds, with the numbers; ``blind``: why this is unknown."""

    holds: bool
    text: str
    blind: str = ""


def _judged(
    name: str,
    rule: DailyLoss | Drawdown | MarginCushion,
    rules: AccountRules,
    values: AccountValues,
    memory: AccountMemory,
    at: Circumstances,
) -> tuple[AccountMemory, RuleState, bool]:
    """The memory, the state of one rule, and whether its episode has ended."""
    seen, recovered = _seen(name, rule, values, memory), False
    if not seen.holds and not seen.blind and name in memory.unarmed:
        memory = replace(memory, unarmed=memory.unarmed - {name})
    if name in memory.fired and isinstance(rule, MarginCushion) and not seen.blind:
        cushion = values.cushion_percent
        if cushion is not None and cushion >= rule.below_percent * RECOVERED:
            memory, recovered = memory.without(name), True
    if name in memory.fired:
        return memory, RuleState(name, Verdict.FIRED, memory.fired[name].text, rule.action), False
    if seen.blind:
        return _forgotten(memory, name), RuleState(name, Verdict.BLIND, seen.blind, rule.action), recovered
    if not seen.holds:
        return _forgotten(memory, name), RuleState(name, Verdict.GUARDED, seen.text, rule.action), recovered
    if name in memory.unarmed:
        text = f"{seen.text}; rearmed by a person, it fires once it has recovered and holds again"
        return memory, RuleState(name, Verdict.PENDING, text, rule.action), recovered
    closes = rule.action is Action.CLOSE
    if closes and (at.bar or not at.open):
        why = at.bar or "no market of what is held is open"
        verdict = Verdict.BLIND if at.bar else Verdict.PENDING
        return _forgotten(memory, name), RuleState(name, verdict, f"{seen.text}; {why}", rule.action), recovered
    before = memory.sightings.get(name)
    goes_on = before is not None and timedelta() <= values.time - before.last <= rules.max_age
    sighting = (
        Sighting(before.count + 1, before.first, values.time)
        if before is not None and goes_on
        else Sighting(1, values.time, values.time)
    )
    memory = replace(memory, sightings={**memory.sightings, name: sighting})
    span = sighting.last - sighting.first
    if sighting.count >= rules.confirmations and span >= rules.confirm_span:
        text = f"{seen.text}, in {sighting.count} answers over {span.total_seconds():.0f} s"
        return memory, RuleState(name, Verdict.FIRED, text, rule.action), recovered
    return memory, RuleState(name, Verdict.PENDING, f"{seen.text}; not confirmed yet", rule.action), recovered


def _forgotten(memory: AccountMemory, name: str) -> AccountMemory:
    if name not in memory.sightings:
        return memory
    return replace(memory, sightings={key: each for key, each in memory.sightings.items() if key != name})


def _seen(name: str, rule: DailyLoss | Drawdown | MarginCushion, values: AccountValues, memory: AccountMemory) -> _Seen:
    if isinstance(rule, MarginCushion):
        cushion = values.cushion_percent
        if cushion is None:
            return _Seen(False, "", "the broker does not report ExcessLiquidity")
        if values.excess_liquidity == 0 and values.net_liquidation > 0:
            return _Seen(False, "", "the broker reports an ExcessLiquidity of 0")
        text = f"the margin cushion is {cushion:.2f} % of {_money(values.net_liquidation, values)}"
        return _Seen(cushion <= rule.below_percent, f"{text}, bound {rule.below_percent} %")
    if isinstance(rule, DailyLoss):
        start, start_at, moved, what = memory.day_start, memory.day_start_at, memory.day_transfer, "the day's start"
    else:
        start, start_at, moved, what = memory.best, memory.best_at, memory.best_transfer, "the best value"
    if start is None or start_at is None:
        return _Seen(False, "", f"{what} is not confirmed by two answers yet")
    holds = start - values.net_liquidation >= rule.limit(start)
    text = _loss_text(rule, values, start, f"{what} (taken at {start_at:%Y-%m-%d %H:%M} UTC)")
    if moved and holds != (start + moved - values.net_liquidation >= rule.limit(start + moved)):
        verb = "paid out" if moved < 0 else "paid in"
        return _Seen(
            False,
            text,
            f"{text}; about {_money(abs(moved), values)} look as if they were {verb}, and only that decides. "
            "Accept the present value with: position-manager rearm account",
        )
    return _Seen(holds, text)


def _loss_text(rule: DailyLoss | Drawdown, values: AccountValues, start: Decimal, what: str) -> str:
    net, loss = values.net_liquidation, start - values.net_liquidation
    part = f" ({loss / start * 100:.2f} %)" if start > 0 else ""
    bound = f"{rule.percent} %" if rule.percent is not None else _money(rule.amount or ZERO, values)
    word = "lost" if loss >= 0 else "gained"
    return (
        f"the account is worth {_money(net, values)}, {_money(abs(loss), values)}{part if loss >= 0 else ''} {word} "
        f"against {_money(start, values)}, {what}; bound {bound}"
    )


def _money(amount: Decimal, values: AccountValues) -> str:
    return f"{amount:,.2f} {values.currency}"
