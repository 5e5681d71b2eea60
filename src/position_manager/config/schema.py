"""The form of the configuration: readable YAML, checked as a whole, frozen.

The meaning of the rules is documented in `position_manager.rules.rule_set`, which of several rules holds in
`position_manager.config.precedence`. It is read in `position_manager.config.loading`. A file with every key is
example.yml in the folder above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import time as ClockTime  # noqa: N812 - as in the rules
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from position_manager.account.assignment import AssignmentWarnings
from position_manager.account.settings import AccountRules, Cooldown
from position_manager.config.errors import Key
from position_manager.config.sim import Sim
from position_manager.orders import caps as caps_module
from position_manager.orders.disaster_settings import DisasterStop
from position_manager.orders.gates import Limits
from position_manager.orders.ladder import LadderPolicy
from position_manager.orders.wings_settings import WorthlessWings
from position_manager.rules.rule_set import DayTime, Fraction, Number, Positive, RuleSet, Section, Whole
from position_manager.rules.selectors import Group, PositionRules
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
