"""The state of the position manager, as one picture: what `position-manager status` shows and metrics count.

The engine creates it, the control socket carries it as JSON. Accounts in it are masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import TypeAdapter

from position_manager.rules.evaluation import Distance


@dataclass(frozen=True)
class LegStatus:
    """One contract of a unit; prices per unit, as last received. ``age``: seconds since the quote was received."""

    con_id: int
    label: str
    quantity: Decimal
    bid: Decimal | None
    ask: Decimal | None
    age: float | None


@dataclass(frozen=True)
class UnitStatus:
    """A guarded unit. ``price`` and ``entry`` as in `rule_set`; ``profit`` in money of ``currency`` at that price.

    ``verdict``: ``guarded``, ``unprotected``, ``closing`` or ``closed in shadow``; ``text`` states why, with numbers.
    ``rules``: each as `name: wording (key in the file)`. ``stop`` and ``target``: the nearest of each kind.
    ``marks``: how far each rule is from closing, None from a release that does not report them.
    ``unprotected_seconds``: in trading hours, since the position was first seen; ``unprotected_since``: None now.
    """

    account: str
    key: str
    name: str
    group: str | None
    quantity: Decimal
    entry: Decimal
    price: Decimal | None
    profit: Decimal | None
    currency: str
    verdict: str
    text: str
    rules: tuple[str, ...]
    stop: Distance | None
    target: Distance | None
    unprotected_seconds: float
    unprotected_since: datetime | None
    legs: tuple[LegStatus, ...]
    marks: tuple[Distance, ...] | None = None


@dataclass(frozen=True)
class IntentStatus:
    """An open intent. ``limit`` is 0 until it is sent."""

    id: str
    account: str
    con_id: int
    label: str
    side: str
    quantity: Decimal
    filled: Decimal
    limit: Decimal
    state: str
    rule: str
    reason: str
    created: datetime


@dataclass(frozen=True)
class LockStatus:
    """An instrument on which nothing is sent until a person releases it."""

    account: str
    con_id: int
    label: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class AccountRuleStatus:
    """A stop of an account. ``verdict``: ``guarded``, ``pending``, ``fired`` or ``unprotected``."""

    rule: str
    action: str
    verdict: str
    text: str


@dataclass(frozen=True)
class AccountStatus:
    """An account with stops of its own. ``age``: seconds since the values were asked for; None without values.
    ``to_close``: how many contracts a fired stop still has to close."""

    account: str
    currency: str
    net_liquidation: Decimal | None
    excess_liquidity: Decimal | None
    age: float | None
    day_start: Decimal | None
    best: Decimal | None
    to_close: int
    rules: tuple[AccountRuleStatus, ...]


@dataclass(frozen=True)
class CooldownStatus:
    """An underlying on which a stop was filled (``rule`` of ``label``), until when it cools down."""

    account: str
    symbol: str
    rule: str
    label: str
    action: str
    ends: datetime


@dataclass(frozen=True)
class ExposureStatus:
    """A short option that may be assigned early. ``warnings``: its risks now; ``dividend``: what is known of the next
    one, empty where there is none."""

    account: str
    label: str
    quantity: Decimal
    warnings: tuple[str, ...]
    dividend: str


@dataclass(frozen=True)
class Status:
    """All of it at ``time``. ``phase`` is a `connection_state.Phase`; ``why`` the last reason for not being READY.

    ``halts``: why nothing is sent, each with what ends it. ``degraded``: data farms that are down. ``last_sync``: when
    the last full sync ended well. ``orders_today``: recorded for sending in the last 24 hours. ``realized``: the profit
    that executions since midnight (of the rules' time zone) realised, by currency. ``new_accounts``: those of the
    session that are not accepted: nothing in them is guarded. ``account_stops``: empty if the configuration has none.
    ``open_markets``: the held contracts whose regular session is open; None from a release that does not report them.
    ``gateway``: the name of its gateway's service, empty if the configuration names no file of it.
    """

    time: datetime
    version: str
    mode: str
    accounts: tuple[str, ...]
    phase: str
    since: datetime
    why: str
    halts: tuple[str, ...]
    degraded: tuple[str, ...]
    last_sync: datetime | None
    units: tuple[UnitStatus, ...]
    intents: tuple[IntentStatus, ...]
    locks: tuple[LockStatus, ...]
    orders_today: int
    realized: dict[str, Decimal]
    config: str
    account_stops: tuple[AccountStatus, ...] = ()
    cooldowns: tuple[CooldownStatus, ...] = ()
    exposures: tuple[ExposureStatus, ...] = ()
    new_accounts: tuple[str, ...] = ()
    open_markets: tuple[str, ...] | None = None
    gateway: str = ""

    def to_json(self) -> bytes:
        return _STATUS.dump_json(self)

    @staticmethod
    def from_json(text: bytes) -> Status:
        """Raises pydantic.ValidationError for anything else."""
        return _STATUS.validate_json(text)


_STATUS = TypeAdapter(Status)
