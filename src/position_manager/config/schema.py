"""The configuration: readable YAML, checked as a whole, frozen.

`load` reads a file or raises ConfigError with everything that is wrong in it; `reload` keeps the old configuration
unless all of the new one is right. The meaning of the rules is documented in `position_manager.rules.rule_set`, which
of several rules holds in `position_manager.config.precedence`. A file with every key is example.yml, one
folder up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import time as ClockTime  # noqa: N812 - as in the rules
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ib_connection.accounts import AccountKind, kind_of, masked
from position_manager.account.assignment import AssignmentWarnings
from position_manager.account.settings import AccountRules, Cooldown
from position_manager.config.errors import ConfigError, Key, fault_of, found, key_text, read_document
from position_manager.config.rule_contradictions import within
from position_manager.config.sim import Sim
from position_manager.model import Kind, Position, Right
from position_manager.orders import caps as caps_module
from position_manager.orders.gates import Limits
from position_manager.orders.ladder import LadderPolicy
from position_manager.orders.wings_settings import WorthlessWings
from position_manager.rules.rule_set import (
    CalendarDay,
    DayTime,
    Number,
    Positive,
    RuleSet,
    Section,
    Stop,
    Target,
    Whole,
)
from position_manager.rules.spread import SpreadBound


class Mode(StrEnum):
    """What the manager trades with.

    ``sim``: a simulated broker, no gateway. ``shadow``: real positions and quotes, sends nothing. ``paper`` and
    ``live``: sends orders, in an account of that kind only.
    """

    SIM = "sim"
    SHADOW = "shadow"
    PAPER = "paper"
    LIVE = "live"

    @property
    def sends(self) -> bool:
        """Whether closing orders leave the process (in sim: to the simulated broker)."""
        return self is not Mode.SHADOW


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError("must be a time zone's name, such as America/New_York") from error
    return name


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be a path that begins with /")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Fraction = Annotated[Number, Field(gt=0, lt=100)]
Port = Annotated[Whole, Field(ge=1, le=65535)]
ZoneName = Annotated[str, AfterValidator(_zone)]


class Gateway(Section):
    """Where the gateway listens. ``client_id`` is never 0, and no other program may use it: orders belong to it.
    Without a ``port`` it is IB's own: 4001 in mode live, else 4002. ``login_file``: where the service that watches the
    gateway reports the state of its login, so that a required manual action is named as the reason. ``restart_time``:
    when the gateway restarts daily, in its ``restart_timezone``; nothing is sent shortly before, and nobody is paged.
    ``cold_restart_time``: likewise the restart with a full login on Sundays, None for none."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port | None = None
    client_id: Annotated[Whole, Field(ge=1, le=2**31 - 1)] = 100
    login_file: AbsolutePath | None = None
    restart_time: DayTime = ClockTime(2)
    restart_timezone: ZoneName = "America/New_York"
    cold_restart_time: DayTime | None = None


class Quotes(Section):
    """Which quotes may trigger: live, two-sided, at most ``max_age_seconds`` old, with a spread that an order would be
    sent at. A price rule must hold on so many quotes in a row (``confirmations``) that span ``confirm_seconds`` at
    least, each at most ``confirm_within_seconds`` after the one before. Price rules rest for ``opening_grace_seconds``
    after each opening. A decision is withdrawn before its first fill if the price stays ``recovery_percent`` of the
    level on the good side of it for ``recovery_seconds``. A quote that does not change is still valid while its data
    farm is connected and no report contradicts it, but no longer than ``quiet_seconds`` after its last tick; it is
    requested again after half of that.
    """

    max_age_seconds: Annotated[Number, Field(gt=0, le=300)] = Decimal(10)
    confirmations: Annotated[Whole, Field(ge=1, le=10)] = 2
    confirm_within_seconds: Annotated[Number, Field(gt=0, le=3600)] = Decimal(90)
    quiet_seconds: Annotated[Number, Field(gt=0, le=3600)] = Decimal(300)
    confirm_seconds: Annotated[Number, Field(ge=0, le=60)] = Decimal(1)
    opening_grace_seconds: Annotated[Number, Field(ge=0, le=3600)] = Decimal(30)
    recovery_percent: Annotated[Number, Field(gt=0, lt=100)] = Decimal(5)
    recovery_seconds: Annotated[Number, Field(gt=0, le=3600)] = Decimal(5)

    @model_validator(mode="after")
    def _ages_fit(self) -> Self:
        if self.quiet_seconds < self.max_age_seconds:
            raise ValueError(
                f"quiet_seconds ({self.quiet_seconds}) must be at least max_age_seconds ({self.max_age_seconds})"
            )
        if self.confirmations > 1 and self.confirm_within_seconds < 2 * self.confirm_seconds / (self.confirmations - 1):
            # The next quote that counts would come too early to count, or too late: no rule would ever fire.
            raise ValueError(
                f"confirm_within_seconds ({self.confirm_within_seconds}) must be at least twice the time from one "
                f"confirmation to the next: confirm_seconds ({self.confirm_seconds}) / {self.confirmations - 1}"
            )
        return self

    @property
    def recovery_span(self) -> timedelta:
        return timedelta(seconds=float(self.recovery_seconds))

    @property
    def quiet(self) -> timedelta:
        return timedelta(seconds=float(self.quiet_seconds))

    @property
    def max_age(self) -> timedelta:
        return timedelta(seconds=float(self.max_age_seconds))

    @property
    def confirm_within(self) -> timedelta:
        return timedelta(seconds=float(self.confirm_within_seconds))


class Selector(Section):
    """Which contracts are meant: by ``con_id``, by ``local_symbol`` (spaces count once), or by ``symbol`` and as many
    of ``kind`` (STK, OPT, FUT, FOP), ``expiry``, ``strike`` and ``right`` (C, P) as are given."""

    con_id: Annotated[Whole, Field(gt=0)] | None = None
    local_symbol: Annotated[str, Field(min_length=1)] | None = None
    symbol: Annotated[str, Field(min_length=1)] | None = None
    kind: Kind | None = None
    expiry: CalendarDay | None = None
    strike: Positive | None = None
    right: Right | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("con_id", "local_symbol", "symbol") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(
                f"must have exactly one of con_id, local_symbol, symbol; it has {', '.join(ways) or 'none'}"
            )
        if self.symbol is None and any((self.kind, self.expiry, self.strike, self.right)):
            raise ValueError(f"kind, expiry, strike and right go with symbol; {ways[0]} already names one contract")
        return self

    def matches(self, position: Position) -> bool:
        """Whether a position's contract is meant."""
        held = position.instrument
        if self.local_symbol is not None and _collapsed(self.local_symbol) != _collapsed(held.local_symbol):
            return False
        asked = (self.con_id, self.symbol, self.kind, self.expiry, self.strike, self.right)
        has = (held.con_id, held.symbol, held.kind, held.expiry, held.strike, held.right)
        return all(wanted is None or wanted == value for wanted, value in zip(asked, has, strict=True))

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """Orders selectors: con_id before local_symbol before fields, more fields before fewer."""
        return self.con_id is not None, self.local_symbol is not None, len(self.model_dump(exclude_none=True))

    def __str__(self) -> str:
        return " ".join(str(value) for value in self.model_dump(mode="json", exclude_none=True).values())


def _collapsed(text: str) -> str:
    return " ".join(text.split())


class Match(Selector):
    """The contracts of an entry of ``positions``; with ``side`` only those held ``long`` or ``short``."""

    side: Literal["long", "short"] | None = None

    def matches(self, position: Position) -> bool:
        side = "long" if position.quantity > 0 else "short"
        return self.side in (None, side) and super().matches(position)


class PositionRules(RuleSet):
    """The rules of single contracts. If several entries fit a position, the most precise one holds (con_id, then
    local_symbol, then the most fields); of equals, the first in the file."""

    match: Match


class LegSelector(Selector):
    """One leg of a group. ``ratio`` is how many of it one unit of the group has, negative if held short."""

    ratio: Annotated[Whole, Field(ge=-1000, le=1000)]

    @model_validator(mode="after")
    def _not_none(self) -> Self:
        if self.ratio == 0:
            raise ValueError("ratio must not be 0: positive for a long leg, negative for a short one")
        return self

    @property
    def contract(self) -> dict[str, Any]:
        return self.model_dump(exclude={"ratio"}, exclude_none=True)


class Group(RuleSet):
    """Legs that are valued and closed as one, in each account that holds them. ``close``: leg by leg (``legs``), or by
    one combination order (``combo``) for ``combo_seconds`` at most, and what is left then leg by leg."""

    legs: Annotated[tuple[LegSelector, ...], Field(min_length=1)]
    close: Literal["legs", "combo"] = "legs"
    combo_seconds: Annotated[Number, Field(ge=10, le=3600)] = Decimal(60)


class Escalation(Section):
    """What a close may do that is still not filled ``after_seconds``: go as far as ``max_slippage_percent`` from the
    middle at the start."""

    after_seconds: Annotated[Number, Field(ge=10, le=86400)] = Decimal(600)
    max_slippage_percent: Fraction


class Orders(Section):
    """How closing orders are priced: from the middle to the far side in ``steps``, ``step_seconds`` each; none while
    the spread is above both ``max_spread_percent`` of the middle and ``max_spread_ticks`` increments, none further than
    ``max_slippage_percent`` and ``max_slippage_ticks`` from the middle at the start. The ladder starts at a quote whose
    spread is allowed, and again in a new session or when its slippage has been used up for ``reanchor_seconds``. A
    position that is still held ``still_held_seconds`` after the decision is alerted about, repeatedly; ``escalation``
    then allows more. ``foreign_exits``: whether exit orders of yours or of other programs that rest for a position are
    cancelled before it is closed. ``outside_rth``: whether they may trade outside the regular hours.
    """

    steps: Annotated[Whole, Field(ge=1, le=50)] = 4
    step_seconds: Annotated[Number, Field(gt=0, le=3600)] = Decimal(5)
    max_spread_percent: Fraction = Decimal(20)
    max_spread_ticks: Annotated[Whole, Field(ge=0, le=100)] = 3
    max_slippage_percent: Fraction = Decimal(10)
    max_slippage_ticks: Annotated[Whole, Field(ge=0, le=100)] = 2
    reanchor_seconds: Annotated[Number, Field(ge=10, le=86400)] = Decimal(300)
    still_held_seconds: Annotated[Number, Field(ge=10, le=86400)] = Decimal(120)
    escalation: Escalation | None = None
    foreign_exits: Literal["keep", "cancel"] = "keep"

    @model_validator(mode="after")
    def _escalation_allows_more(self) -> Self:
        if self.escalation is not None and self.escalation.max_slippage_percent <= self.max_slippage_percent:
            raise ValueError(
                f"escalation.max_slippage_percent ({self.escalation.max_slippage_percent}) must be more than "
                f"max_slippage_percent ({self.max_slippage_percent})"
            )
        return self

    tif: Literal["DAY", "GTC"] = "DAY"
    outside_rth: bool = False

    def ladder(self) -> LadderPolicy:
        """The price ladder of these bounds."""
        interval = timedelta(seconds=float(self.step_seconds))
        return LadderPolicy(
            self.steps, interval, self.spread(), self.max_slippage_percent / 100, self.max_slippage_ticks
        )

    def spread(self) -> SpreadBound:
        """The widest spread at which a quote is acted on."""
        return SpreadBound(self.max_spread_percent / 100, self.max_spread_ticks)


class Caps(Section):
    """What may be sent at most: orders in a minute and in a day by the whole process, and the ``quantity`` and
    ``notional`` (price times quantity times multiplier, in the contract's currency) of one order."""

    orders_per_minute: Annotated[Whole, Field(ge=1)] = 10
    orders_per_day: Annotated[Whole, Field(ge=1)] = 200
    quantity: Positive = Decimal(100)
    notional: Positive = Decimal(100_000)


class DisasterStop(Section):
    """A stop-limit that rests at the broker while the manager is away: it triggers when ``percent_of_premium`` is
    lost and trades down to ``limit_percent`` of the trigger price beyond it. It must lie beyond every other stop.
    ``short_legs_percent``: in groups one rests for each short leg, at this percent of that leg's own premium; without
    it the legs of groups have none."""

    percent_of_premium: Positive
    limit_percent: Fraction = Decimal(20)
    short_legs_percent: Positive | None = None


NEW_YORK = "America/New_York"
EXCHANGE = "exchange"


def _zone_of_rules(name: str) -> str:
    return name if name == EXCHANGE else _zone(name)


class TradingHours(Section):
    """Regular hours come from the broker with each contract; ``fallback_calendar`` (a name of exchange_calendars, such
    as XNYS) is used where it reports none. ``timezone`` is that of the rules: of ``at`` and of what day it is;
    ``exchange``: that of each contract's own exchange. Days to expiry are always those of the exchange."""

    timezone: Annotated[str, AfterValidator(_zone_of_rules)] = NEW_YORK
    fallback_calendar: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/]+$")] | None = None

    @property
    def zone(self) -> ZoneInfo:
        """Of the manager's own days too: they are New York's if each exchange has its own."""
        return ZoneInfo(NEW_YORK if self.timezone == EXCHANGE else self.timezone)


class Notifications(Section):
    """Where messages go. ``discord_url_file`` holds the webhook's URL, so that it is in no configuration."""

    discord_url_file: AbsolutePath | None = None


class Heartbeat(Section):
    """The dead man's switch: the URL in ``url_file`` is asked every ``every_seconds`` while the manager is READY and
    its quotes are fresh."""

    url_file: AbsolutePath
    every_seconds: Annotated[Number, Field(ge=10, le=3600)] = Decimal(60)


class Metrics(Section):
    """Prometheus metrics on 127.0.0.1; without a port none are served."""

    port: Port | None = None


Account = Annotated[str, Field(pattern=r"^[A-Z]{1,3}[0-9]{3,10}$")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9 ._-]*$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", max_length=60)]


class Config(Section):
    """All of it. ``accounts`` are those to guard (none given: every one of the session); ``expected_accounts`` are
    those that the session must hold, no more and no fewer. Mode live needs ``live_confirmed: true`` and them. ``sim``
    goes with mode sim, which does well without it."""

    mode: Mode
    live_confirmed: bool = False
    accounts: tuple[Account, ...] = ()
    expected_accounts: tuple[Account, ...] = ()
    poll_seconds: Annotated[Number, Field(ge=1, le=3600)] = Decimal(30)
    gateway: Gateway = Gateway()
    sim: Sim | None = None
    quotes: Quotes = Quotes()
    defaults: RuleSet = RuleSet()
    underlyings: Mapping[Symbol, RuleSet] = Field(default_factory=dict)
    groups: Mapping[Name, Group] = Field(default_factory=dict)
    positions: tuple[PositionRules, ...] = ()
    orders: Orders = Orders()
    caps: Caps = Caps()
    disaster_stop: DisasterStop | None = None
    account_stops: AccountRules | None = None
    cooldown: Cooldown | None = None
    worthless_wings: WorthlessWings | None = None
    assignment_warnings: AssignmentWarnings | None = None
    hours: TradingHours = TradingHours()
    notifications: Notifications = Notifications()
    heartbeat: Heartbeat | None = None
    metrics: Metrics = Metrics()

    @property
    def port(self) -> int:
        """The gateway's port."""
        return self.gateway.port or (4001 if self.mode is Mode.LIVE else 4002)

    def limits(self) -> Limits:
        """What the gates hold to."""
        caps = caps_module.Caps(**self.caps.model_dump())
        return Limits(caps, quote_age=self.quotes.max_age, spread=self.orders.spread())

    def rule_sets(self) -> Iterator[tuple[Key, RuleSet]]:
        """Every rule set with its key in the file."""
        yield ("defaults",), self.defaults
        yield from ((("underlyings", symbol), rules) for symbol, rules in self.underlyings.items())
        yield from ((("groups", name), group) for name, group in self.groups.items())
        yield from ((("positions", index), entry) for index, entry in enumerate(self.positions))


def load(path: Path) -> Config:
    """Read and check a file.

    Raises ConfigError with every fault, each with file, line, key and what is allowed.
    """
    document = read_document(path)
    faults = list(document.faults)
    values: Any = document.values
    removed: list[Key] = []
    config: Config | None = None
    while config is None:
        try:
            config = Config.model_validate(values)
        except ValidationError as error:
            wrong = [(detail, found(values, detail["loc"])) for detail in error.errors(include_url=False)]
            # What follows only from a removal is no fault of the file.
            real = [
                detail
                for detail, key in wrong
                if not any(_related(key, gone) for gone in removed)
                # pydantic counts only the entries that are right
                and not (detail["type"] == "too_short" and detail["input"])
            ]
            faults += [fault_of(detail, document, Config) for detail in real]
            # The rest is checked again without the faulty keys: one fault must not hide another.
            keys = [_to_remove(key, detail["type"]) for detail, key in wrong]
            pruned = _without(values, keys)
            if pruned == values:
                break
            values, removed = pruned, removed + keys
    if config is not None:
        told = (item for item in contradictions(config) if not any(_related(item[0], key) for key in removed))
        faults += [document.fault(key, text) for key, text in told]
    if faults or config is None:
        raise ConfigError(path, faults)
    return config


def _to_remove(key: Key, error: str) -> Key:
    """What must go with an error: where a key is missing, what it is missing in; for an entry of a list the list, so
    that the indexes of the others stay those of the file."""
    key = key[:-1] if error == "missing" else key
    return key[:-1] if key and isinstance(key[-1], int) else key


def _related(one: Key, other: Key) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def reload(old: Config, path: Path) -> Config | ConfigError:
    """The new configuration, or why the old one must stay: all or nothing. Whatever only a new start can change (mode,
    accounts, the gateway, the simulated broker, the calendar, the recipients of notifications) is refused as a
    fault."""
    try:
        new = load(path)
    except ConfigError as error:
        return error
    account = ("mode", "accounts", "expected_accounts", "gateway", "sim")
    fixed = (*account, "hours", "notifications", "heartbeat", "metrics")
    changed = [name for name in fixed if getattr(old, name) != getattr(new, name)]
    if not changed:
        return new
    document = read_document(path)
    return ConfigError(
        path, [document.fault((name,), "cannot change while running: restart for it") for name in changed]
    )


def _without(values: Any, keys: list[Key]) -> Any:
    """A copy without some keys."""
    here = {key[0] for key in keys if len(key) == 1}
    inner = {part: [key[1:] for key in keys if len(key) > 1 and key[0] == part] for part in {k[0] for k in keys if k}}
    if isinstance(values, dict):
        return {name: _without(value, inner.get(name, [])) for name, value in values.items() if name not in here}
    if isinstance(values, list):
        return [_without(value, inner.get(index, [])) for index, value in enumerate(values) if index not in here]
    return values


def contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    """What cannot be true at once, as key and text."""
    yield from _accounts(config)
    yield from _simulated(config)
    for key, rules in config.rule_sets():
        side = rules.match.side if isinstance(rules, PositionRules) else None
        yield from _stop_and_target(key, rules, side)
        yield from within(key, rules, side, _short_options_possible(rules))
        yield from _disaster(key, rules, config.disaster_stop)
    for name, group in config.groups.items():
        if group.close == "combo" and not 2 <= len(group.legs) <= 4:
            yield ("groups", name, "close"), f"combo needs 2 to 4 legs; there are {len(group.legs)}"
        elif group.close == "combo" and any(leg.kind in (Kind.STOCK, Kind.FUTURE) for leg in group.legs):
            yield ("groups", name, "close"), "combo is for groups of options only"
        if group.close == "legs" and "combo_seconds" in group.model_fields_set:
            yield ("groups", name, "combo_seconds"), "goes with close: combo"
    short_leg = any(leg.ratio < 0 for group in config.groups.values() for leg in group.legs)
    if config.disaster_stop is not None and config.disaster_stop.short_legs_percent is not None and not short_leg:
        yield ("disaster_stop", "short_legs_percent"), "is for groups with short legs, and there is none"
    yield from _duplicates(config)


def _short_options_possible(rules: RuleSet) -> bool:
    """Whether a unit of this level can hold a short option, as far as the level itself states what it applies to."""
    if isinstance(rules, Group):
        return any(leg.ratio < 0 and leg.kind not in (Kind.STOCK, Kind.FUTURE) for leg in rules.legs)
    if isinstance(rules, PositionRules):
        return rules.match.side != "long" and rules.match.kind not in (Kind.STOCK, Kind.FUTURE)
    return True


def _accounts(config: Config) -> Iterator[tuple[Key, str]]:
    if config.mode is Mode.LIVE:
        if not config.live_confirmed:
            yield ("live_confirmed",), "must be true for mode live: it sends orders with real money"
        if not config.expected_accounts:
            yield ("expected_accounts",), "must name the accounts for mode live"
    elif config.live_confirmed:
        yield ("live_confirmed",), f"goes with mode live only; the mode is {config.mode.value}"
    kind = {Mode.LIVE: AccountKind.LIVE, Mode.PAPER: AccountKind.PAPER}.get(config.mode)
    for section in ("accounts", "expected_accounts"):
        listed: tuple[str, ...] = getattr(config, section)
        for index, account in enumerate(listed):
            if kind is not None and kind_of(account) is not kind:
                yield (section, index), f"{masked(account)} is no {kind.value} account, but the mode is {kind.value}"
            if account in listed[:index]:
                yield (section, index), f"{masked(account)} is listed twice"
    for index, account in enumerate(config.accounts):
        if config.expected_accounts and account not in config.expected_accounts:
            yield ("accounts", index), f"{masked(account)} is not among expected_accounts"


def _simulated(config: Config) -> Iterator[tuple[Key, str]]:
    if config.mode is not Mode.SIM:
        if config.sim is not None:
            yield ("sim",), f"goes with mode sim only; the mode is {config.mode.value}"
        return
    sim = config.sim or Sim()
    yield from ((("sim", *key), text) for key, text in sim.faults())
    for section in ("accounts", "expected_accounts"):
        listed: tuple[str, ...] = getattr(config, section)
        if listed and sim.account not in listed:
            yield (section,), f"has no {masked(sim.account)}, the account of mode sim (sim.account)"


def _stop_and_target(key: Key, rules: RuleSet, side: str | None) -> Iterator[tuple[Key, str]]:
    """Within one level, as far as this is known without the position; the rest is reported when rules are evaluated."""
    stop, target = rules.stop, rules.target
    if not isinstance(stop, Stop):
        return
    if side == "long" and stop.percent_of_premium is not None and stop.percent_of_premium > 100:
        yield (*key, "stop"), "percent_of_premium must be at most 100 for a long position: it cannot lose more"
    if not isinstance(target, Target):
        return
    if stop.price is not None and target.price is not None:
        wrong = {"long": stop.price >= target.price, "short": stop.price <= target.price}
        if stop.price == target.price:
            yield (*key, "stop", "price"), f"is the target's price too ({target.price})"
        elif side is not None and wrong[side]:
            relation = "below" if side == "long" else "above"
            yield (
                (*key, "stop", "price"),
                f"must be {relation} the target's price ({target.price}) for a {side} position; it is {stop.price}",
            )
    if stop.underlying_price is not None and target.underlying_price is not None:
        lose, win = stop.underlying_price, target.underlying_price
        both = [
            name for name in ("below", "above") if getattr(lose, name) is not None and getattr(win, name) is not None
        ]
        if both:
            yield (*key, "target", "underlying_price"), f"has {both[0]}, as the stop has: only one of them can have it"
        elif (lose.below is not None and win.above is not None and lose.below >= win.above) or (
            lose.above is not None and win.below is not None and lose.above <= win.below
        ):
            yield (*key, "stop", "underlying_price"), "overlaps the target's: some price would be a stop and a target"


def _disaster(key: Key, rules: RuleSet, disaster: DisasterStop | None) -> Iterator[tuple[Key, str]]:
    stop = rules.stop.percent_of_premium if isinstance(rules.stop, Stop) else None
    if disaster is not None and stop is not None and stop >= disaster.percent_of_premium:
        yield (
            (*key, "stop", "percent_of_premium"),
            f"must be less than that of disaster_stop ({disaster.percent_of_premium}); it is {stop}",
        )


def _duplicates(config: Config) -> Iterator[tuple[Key, str]]:
    matches: dict[str, int] = {}
    for index, entry in enumerate(config.positions):
        first = matches.setdefault(repr(entry.match), index)
        if first != index:
            yield ("positions", index, "match"), f"is the same as in {key_text(('positions', first))}"
    legs: dict[str, str] = {}
    for name, group in config.groups.items():
        for index, leg in enumerate(group.legs):
            place = key_text(("groups", name, "legs", index))
            first_place = legs.setdefault(repr(leg.contract), place)
            if first_place != place:
                yield ("groups", name, "legs", index), f"is the same contract as {first_place}"
