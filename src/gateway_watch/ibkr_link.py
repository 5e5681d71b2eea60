"""Whether the gateway is connected to IBKR, from its own API's messages: pure, the clock is given.

`ApiLink` is what one API session reports; `Outage` is the time without a connection, over sessions; `decide` is what
must be done about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from gateway_watch.api_session import Answered, ApiEvent, Closed, Opened, OrdersListed, SystemMessage
from gateway_watch.session_calendar import maintenance_end
from ib_connection.codes import is_read_only_refusal

SEVERED = frozenset({1100, 2110})
RESTORED = frozenset({1101, 1102})
FARM_DOWN = frozenset({2103, 2105, 2157})
FARM_UP = frozenset({2104, 2106, 2107, 2108, 2158})
"""2107 and 2108 report a farm that is inactive until it is queried: this is no fault."""

FLICKER = timedelta(seconds=60)
"""A shorter outage outside of the known windows is in the log only."""


class LinkState(StrEnum):
    """`unknown`: no session reports it (the gateway is not ready, or the session cannot be opened)."""

    CONNECTED = "connected"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ApiLink:
    """What the session with one API reports. `greeted` once the gateway has sent what it reports at the connect;
    `severed` after 1100 or 2110; `farms`: name to whether it is connected; `why`: the last sign, for people;
    `orders_refused`: whether the API is read-only, None while that is not known."""

    open: bool = False
    greeted: bool = False
    severed: bool = False
    farms: Mapping[str, bool] = field(default_factory=dict)
    why: str = "no session with the API yet"
    client_id_in_use: bool = False
    orders_refused: bool | None = None

    def after(self, event: ApiEvent) -> ApiLink:
        match event:
            case Opened():
                # What the gateway reported before it accepted the session belongs to it.
                return replace(self, open=True, client_id_in_use=False)
            case Closed():
                return ApiLink(why=event.detail, client_id_in_use=event.client_id_in_use)
            case OrdersListed():
                return replace(self, orders_refused=False)
            case Answered():
                return self if self.greeted else replace(self, greeted=True)
            case SystemMessage():
                return self._after_message(event)

    def _after_message(self, message: SystemMessage) -> ApiLink:
        why = f"{message.code} {message.text}"
        if is_read_only_refusal(message.code, message.text):
            return replace(self, orders_refused=True)
        if message.code in SEVERED:
            return replace(self, severed=True, why=why)
        if message.code in RESTORED:
            # The former states of the farms are void; those that are down are reported again.
            return replace(self, severed=False, farms={}, why=why)
        if message.code in FARM_DOWN | FARM_UP:
            farm = message.text.rpartition(":")[2].strip()
            return replace(self, farms={**self.farms, farm: message.code in FARM_UP})
        return self

    @property
    def state(self) -> LinkState:
        if self.severed:
            return LinkState.LOST
        if not self.greeted:
            return LinkState.UNKNOWN
        # One farm can be down for itself; all of them are down only without a connection.
        return LinkState.LOST if self.farms and not any(self.farms.values()) else LinkState.CONNECTED

    @property
    def text(self) -> str:
        down = ", ".join(sorted(name for name, up in self.farms.items() if not up))
        match self.state:
            case LinkState.CONNECTED:
                return f"connected to IBKR; data farms down: {down}" if down else "connected to IBKR"
            case LinkState.LOST:
                return f"not connected to IBKR ({self.why if self.severed else 'every data farm is down: ' + down})"
            case LinkState.UNKNOWN:
                return f"unknown: {self.why}"


def together(links: Iterable[ApiLink]) -> ApiLink:
    """The link that speaks for all APIs of a gateway: the least connected."""
    order = (LinkState.LOST, LinkState.UNKNOWN, LinkState.CONNECTED)
    return min(links, key=lambda link: order.index(link.state), default=ApiLink())


@dataclass(frozen=True)
class Outage:
    """A time without a connection to IBKR. A session that ends does not end it, only a connection does."""

    since: datetime
    notified: bool = False


def outage_after(before: Outage | None, state: LinkState, now: datetime) -> Outage | None:
    if state is LinkState.CONNECTED:
        return None
    if state is LinkState.LOST:
        return before or Outage(now)
    return before


class Action(Enum):
    """What an outage requires."""

    NONE = "none"
    NOTIFY = "notify"
    RESTART = "restart"


@dataclass(frozen=True)
class Policy:
    """`patience` until people are notified of an outage inside a known window, `restart_after` until a gateway that
    does not reconnect is restarted; zero for never."""

    patience: timedelta
    restart_after: timedelta


@dataclass(frozen=True)
class Evidence:
    """What else is known. `tries`: the gateway's own windows show that it reconnects. `elsewhere`: another gateway on
    this host is connected to IBKR. `severed`: it is the connection, not only the data farms. `restarted`: a restart
    for a lost connection has been tried, and no connection came since. `planned`: in a planned restart's window."""

    tries: bool
    elsewhere: bool
    severed: bool
    restarted: bool
    planned: bool = False


def decide(outage: Outage | None, policy: Policy, evidence: Evidence, now: datetime) -> Action:
    """What to do now. A restart: once, outside of every window, never while the gateway tries by itself, and only
    when IBKR's side is known to be up (another gateway on the host is connected) or after the long limit."""
    if outage is None:
        return Action.NONE
    lasted = now - outage.since
    expected = evidence.planned or maintenance_end(now) is not None or maintenance_end(outage.since) is not None
    if not outage.notified and lasted >= (policy.patience if expected else min(FLICKER, policy.patience)):
        return Action.NOTIFY
    # After a window IBKR's servers get as long as people to come back.
    over = not evidence.planned and maintenance_end(now) is None and maintenance_end(now - policy.patience) is None
    if not over or evidence.tries or evidence.restarted or not evidence.severed or not policy.restart_after:
        return Action.NONE
    limit = policy.patience if evidence.elsewhere else policy.restart_after
    return Action.RESTART if lasted >= limit else Action.NONE
