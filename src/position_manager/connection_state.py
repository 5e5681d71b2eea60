"""The connection as the position manager sees it: one state, and the transition for each event.

DOWN → SOCKET (accepted, session not verified) → SYNCING (a full sync runs) → READY. In addition: LINK_LOST (the gateway
lost IB), AUTH_NEEDED (a manual login is required), MAINTENANCE (the daily restart), HALTED (a configuration fault).
Orders are sent, changed or cancelled only in READY. Degraded data farms are tracked separately and do not change the
state.

Pure: `after` takes a connection and an event, and returns the connection and the required actions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gateway_watch.session_calendar import NEW_YORK, NIGHTLY_RESET, SUNDAY, Recurrence
from position_manager.brokers.broker import ends_quotes
from position_manager.halt import is_read_only_halt


class Phase(StrEnum):
    """The state of the connection."""

    DOWN = "DOWN"
    SOCKET = "SOCKET"
    SYNCING = "SYNCING"
    READY = "READY"
    LINK_LOST = "LINK_LOST"
    AUTH_NEEDED = "AUTH_NEEDED"
    MAINTENANCE = "MAINTENANCE"
    HALTED = "HALTED"


class Step(StrEnum):
    """The parts of a full sync, in the order in which they are asked for, one after the other."""

    POSITIONS = "positions"
    OPEN_ORDERS = "open orders"
    COMPLETED_ORDERS = "completed orders"
    EXECUTIONS = "executions"


STEPS = tuple(Step)


class Reaction(StrEnum):
    """What a code that names no order of ours asks for."""

    LINK_LOST = "the gateway lost IB"
    RESTORED_DATA_LOST = "IB is back, subscriptions are gone"
    RESTORED = "IB is back, subscriptions remain"
    FARM_DOWN = "a data farm is down"
    FARM_UP = "a data farm is up or waits to be asked"
    NOT_CONNECTED = "nothing was sent, connect with back-off"
    CLIENT_ID_IN_USE = "the same client id again, then page"
    NO_LIVE_QUOTE = "no live quote for one instrument"
    CONFIGURATION = "a configuration fault: halt"
    NONE = "nothing"


REACTIONS: Mapping[int, Reaction] = MappingProxyType(
    {
        1100: Reaction.LINK_LOST,
        2110: Reaction.LINK_LOST,
        1101: Reaction.RESTORED_DATA_LOST,
        1102: Reaction.RESTORED,
        2103: Reaction.FARM_DOWN,
        2105: Reaction.FARM_DOWN,
        2157: Reaction.FARM_DOWN,
        2104: Reaction.FARM_UP,  # no information about the link to IB
        2106: Reaction.FARM_UP,
        2107: Reaction.FARM_UP,
        2108: Reaction.FARM_UP,
        2158: Reaction.FARM_UP,
        2109: Reaction.NONE,
        502: Reaction.NOT_CONNECTED,
        504: Reaction.NOT_CONNECTED,
        326: Reaction.CLIENT_ID_IN_USE,
        354: Reaction.NO_LIVE_QUOTE,
        10089: Reaction.NO_LIVE_QUOTE,
        10167: Reaction.NO_LIVE_QUOTE,
        10168: Reaction.NO_LIVE_QUOTE,
        10197: Reaction.NO_LIVE_QUOTE,
        321: Reaction.CONFIGURATION,
    }
)
"""Codes by number. Any other one asks for nothing here; codes that name an order are `intents.MEANINGS`."""


_ACCOUNT_FAULT = re.compile(r"read[- ]?only|permission.*\baccount|\baccount.*(permission|authori[sz]ed)", re.IGNORECASE)


def is_account_fault(code: int, text: str) -> bool:
    """Whether a 321 is about the account: the API is read-only, or the account may not do this at all. Every other 321
    is about the one request that it answers."""
    return REACTIONS.get(code) is Reaction.CONFIGURATION and _ACCOUNT_FAULT.search(text) is not None


_MAY_BE_ABOUT_QUOTES = frozenset({Reaction.NONE, Reaction.CONFIGURATION})
"""Reactions to codes that concern one contract only if they name a market data subscription."""


@dataclass(frozen=True)
class Span:
    """One occurrence of a window, in UTC. ``frozen_until``: when the interruption is expected; nothing is sent from the
    start of the window. None if the window freezes nothing."""

    begin: datetime
    end: datetime
    frozen_until: datetime | None


@dataclass(frozen=True)
class Window:
    """A period around each moment of ``when`` in which an interruption is expected: from ``before`` it until ``after``
    it, the end excluded. ``frozen``: nothing may be sent from the start of the period until that moment."""

    name: str
    when: Recurrence
    after: timedelta
    before: timedelta = timedelta()
    frozen: bool = False

    def span(self, now: datetime) -> Span | None:
        """The occurrence that ``now`` is in."""
        # In UTC: clocks change at night, in the middle of these windows.
        now = now.astimezone(UTC)
        moment = self.when.next(now - self.after).astimezone(UTC)
        begin = moment - self.before
        return Span(begin, moment + self.after, moment if self.frozen else None) if begin <= now else None


def restart_window(at: time, zone: ZoneInfo) -> Window:
    """When the gateway restarts daily, ``at`` a time of day in its own zone."""
    before, after = timedelta(minutes=2), timedelta(minutes=8)
    return Window("daily restart of the gateway", Recurrence(at, zone), after, before, frozen=True)


def cold_restart_window(at: time, zone: ZoneInfo) -> Window:
    """When the gateway restarts on Sundays with a full login, ``at`` a time of day in its own zone. It ends later than
    that of a daily restart, since somebody has to approve the login."""
    before, after = timedelta(minutes=2), timedelta(minutes=15)
    name = "weekly restart of the gateway, with a full login"
    return Window(name, Recurrence(at, zone, SUNDAY), after, before, frozen=True)


RESTART = restart_window(time(2), NEW_YORK)
RESET = Window("nightly reset at IB", NIGHTLY_RESET, NIGHTLY_RESET.duration)


@dataclass(frozen=True)
class Patience:
    """When a person is paged: ``page_after`` without READY (inside a window: at its end), ``client_id_for`` with the
    client id in use. ``probe_after``: how long a lost link waits for the message that it is back; then an answer of
    IB's servers is enough."""

    page_after: timedelta = timedelta(minutes=10)
    probe_after: timedelta = timedelta(minutes=3)
    client_id_for: timedelta = timedelta(minutes=2)
    windows: tuple[Window, ...] = (RESTART, RESET)

    def span(self, now: datetime) -> Span | None:
        """The window that a moment is in, the first of them in the order given."""
        return next((span for window in self.windows if (span := window.span(now)) is not None), None)


def patience_with_restart(at: time, zone: ZoneInfo, cold: time | None = None) -> Patience:
    """For a gateway that restarts daily ``at`` a time of day in its own zone, and on Sundays at ``cold``, None for
    never."""
    weekly = () if cold is None else (cold_restart_window(cold, zone),)
    return Patience(windows=(*weekly, restart_window(at, zone), RESET))


@dataclass(frozen=True)
class SocketUp:
    """The API's socket is accepted and the handshake is done."""


@dataclass(frozen=True)
class SocketDown:
    """The socket is gone, or could not be had."""

    why: str


@dataclass(frozen=True)
class SessionVerified:
    """The accounts are the expected ones, and an order id is known."""


@dataclass(frozen=True)
class SyncDue:
    """The wait after a failed sync, or the time between two reconciliations, is over."""


@dataclass(frozen=True)
class SyncDone:
    """One step of a sync was answered. ``sync`` is the number that `FullSync` gave."""

    sync: int
    step: Step


@dataclass(frozen=True)
class SyncFailed:
    """One step was refused or not answered in time."""

    sync: int
    step: Step
    why: str


@dataclass(frozen=True)
class ApiCode:
    """A message of IB that names no order of ours. ``subject``: the instrument whose quotes it is about, if any: then
    every code that ends quotes (`ends_quotes`) suspends them. The farm that it is about is at the end of IB's text."""

    code: int
    text: str
    subject: str = ""


@dataclass(frozen=True)
class LiveAgain:
    """A live quote came for an instrument whose prices were suspended."""

    subject: str


@dataclass(frozen=True)
class ServersAnswer:
    """A new subscription was answered with a quote: IB's servers are reached, whatever the gateway last reported."""


@dataclass(frozen=True)
class AuthNeeded:
    """The gateway waits for manual action, e.g. for the second factor."""

    why: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class Resumed:
    """A person has ended the halt."""


Event = (
    SocketUp | SocketDown | SessionVerified | SyncDue | SyncDone | SyncFailed | ApiCode | LiveAgain
    | ServersAnswer | AuthNeeded
    | Tick | Resumed
)  # fmt: skip


@dataclass(frozen=True)
class FullSync:
    """Ask for all steps, one after the other, each with a timeout; every answer carries ``sync``."""

    sync: int


@dataclass(frozen=True)
class Resubscribe:
    """All subscriptions are lost: subscribe again."""


@dataclass(frozen=True)
class OrdersOutOfSight:
    """What may be at the broker can no longer be followed: each such intent is UNKNOWN."""

    why: str


@dataclass(frozen=True)
class SyncLater:
    """Wait, then `SyncDue`."""

    why: str


@dataclass(frozen=True)
class ConnectLater:
    """Connect again with back-off (1 to 60 s, with jitter), or, if ``same_id_soon``, soon: our own last session may
    still hold the client id, and our orders belong to that id."""

    same_id_soon: bool = False


@dataclass(frozen=True)
class SuspendPrices:
    """Price rules of this instrument rest until a live quote comes. ``first``: it was not suspended before."""

    subject: str
    why: str
    first: bool = True


@dataclass(frozen=True)
class ResumePrices:
    """A live quote came for an instrument whose price rules rested."""

    subject: str


@dataclass(frozen=True)
class DoubtQuotes:
    """Ticks may have been missed, of what ``farm`` quotes or (empty) of everything: no quote counts as unchanged until
    its instrument is quoted again."""

    farm: str = ""


class About(StrEnum):
    """The condition that a message reports. A message about one condition must never replace one about another."""

    AWAY = "away"
    FARM = "farm"
    CLIENT_ID = "client id"
    LOGIN = "login"
    HALT = "halt"


@dataclass(frozen=True)
class Alert:
    """Report once. ``subject``: the farm, for FARM."""

    text: str
    about: About = About.AWAY
    subject: str = ""


@dataclass(frozen=True)
class Recovered:
    """Report that an alerted condition is over."""

    text: str
    about: About = About.AWAY
    subject: str = ""


@dataclass(frozen=True)
class Page:
    """Page a person."""

    text: str
    about: About = About.AWAY


@dataclass(frozen=True)
class FarmForgotten:
    """The session that reported a data farm as down has ended."""

    farm: str


@dataclass(frozen=True)
class HaltOver:
    """End the HALT for a read-only API: a session that was opened after it has answered a full sync, which a read-only
    API refuses. Only if the stored HALT is that one."""

    reason: str


@dataclass(frozen=True)
class HaltAll:
    """Store the sticky HALT."""

    reason: str


Action = (
    FullSync | Resubscribe | OrdersOutOfSight | SyncLater | ConnectLater | SuspendPrices | ResumePrices | DoubtQuotes
    | Alert | Recovered | Page | FarmForgotten | HaltAll | HaltOver
)  # fmt: skip


@dataclass(frozen=True)
class Connection:
    """The connection's state.

    ``link``: its phase apart from maintenance and halt. ``verified``: whether the session's accounts are checked.
    ``pending``: the steps of sync number ``sync`` that are not answered yet. ``degraded``: farms that are down.
    ``suspended``: instruments without a live quote. ``halted``: why nothing is sent until a person resumes,
    ``new_since_halt`` whether the session is newer than that.
    ``maintenance``: the freezing window whose interruption is not over, ``interrupted`` whether the link was away when
    it was due; ``window_over``: the end of the last completed window of that kind.
    ``away_since``: since when it is not READY, ``reported`` whether that was alerted, ``page_at`` when to page a person
    about it (None after the page). ``client_id_since``: since when the client id is in use.
    """

    link: Phase = Phase.DOWN
    verified: bool = False
    sync: int = 0
    pending: tuple[Step, ...] = ()
    degraded: frozenset[str] = frozenset()
    suspended: frozenset[str] = frozenset()
    halted: str | None = None
    new_since_halt: bool = False
    maintenance: Span | None = None
    interrupted: bool = False
    window_over: datetime | None = None
    away_since: datetime | None = None
    reported: bool = False
    page_at: datetime | None = None
    client_id_since: datetime | None = None
    client_id_paged: bool = False

    @property
    def phase(self) -> Phase:
        """The state in one word."""
        if self.halted is not None:
            return Phase.HALTED
        if self.maintenance is not None and self.link is not Phase.AUTH_NEEDED:
            return Phase.MAINTENANCE
        return self.link

    @property
    def may_send(self) -> bool:
        """Whether orders may be sent and cancelled."""
        return self.phase is Phase.READY


Outcome = tuple[Connection, tuple[Action, ...]]


def initial(now: datetime, patience: Patience, halted: str | None = None) -> Connection:
    """The connection of a program that starts at ``now``; ``halted`` is the reason of a halt that is still in
    effect."""
    return replace(_away(Connection(), "", now, patience)[0], reported=False, halted=halted)


def after(connection: Connection, event: Event, now: datetime, patience: Patience) -> Outcome:
    """The connection after an event at ``now`` (aware), and the actions that must follow, in order."""
    before = _frozen(connection, now, patience)
    applied, actions = _applied(before, event, now, patience)
    ready = _maintained(_back(applied), now)
    aged, pages = _aged(ready, now, patience)
    return aged, (*actions, *_recovery(before, aged, now), *pages)


def _frozen(old: Connection, now: datetime, patience: Patience) -> Connection:
    """Freeze from the start of a window, before its interruption occurs."""
    span = patience.span(now)
    if span is None or span.frozen_until is None or old.maintenance is not None or old.window_over == span.end:
        return old
    return replace(old, maintenance=span, interrupted=False)


def _back(old: Connection) -> Connection:
    """READY ends an outage."""
    return replace(old, away_since=None, reported=False, page_at=None) if old.link is Phase.READY else old


def _maintained(old: Connection, now: datetime) -> Connection:
    """READY ends maintenance if the restart has come, or if its window has passed without one."""
    span = old.maintenance
    if span is None or span.frozen_until is None:
        return old
    if old.link is not Phase.READY:
        return replace(old, interrupted=old.interrupted or now >= span.frozen_until)
    if not old.interrupted and now < span.end:
        return old
    return replace(old, maintenance=None, interrupted=False, window_over=span.end)


def _recovery(old: Connection, new: Connection, now: datetime) -> tuple[Action, ...]:
    if not old.reported or new.reported or old.away_since is None:
        return ()
    return (Recovered(f"READY again after {(now - old.away_since).total_seconds():.0f} s"),)


def _aged(old: Connection, now: datetime, patience: Patience) -> Outcome:
    """Pages that are due. One about an outage waits for the end of a window."""
    new = old
    pages: list[Action] = []
    due = old.page_at is not None and now >= old.page_at and patience.span(now) is None
    if due and old.away_since is not None:
        minutes = (now - old.away_since).total_seconds() / 60
        pages.append(Page(f"not READY for {minutes:.0f} minutes: {old.phase}"))
        new = replace(new, page_at=None, reported=True)
    since = new.client_id_since
    if since is not None and not new.client_id_paged and now - since >= patience.client_id_for:
        new = replace(new, client_id_paged=True)
        pages.append(Page("the client id is still in use: does another program connect with it?", About.CLIENT_ID))
    return new, tuple(pages)


def _applied(old: Connection, event: Event, now: datetime, patience: Patience) -> Outcome:
    match event:
        case SocketUp():
            new_since_halt = old.halted is not None
            new = replace(old, verified=False, new_since_halt=new_since_halt)
            return _lost(new, Phase.SOCKET, "a new session", now, patience)
        case SocketDown():
            return _down(old, event.why, now, patience)
        case SessionVerified():
            if old.link not in (Phase.SOCKET, Phase.LINK_LOST):
                return old, ()
            new = replace(old, verified=True, client_id_since=None, client_id_paged=False)
            return _sync(new) if old.link is Phase.SOCKET else (new, ())
        case SyncDue():
            return _sync(old) if old.link in (Phase.READY, Phase.SYNCING) and not old.pending else (old, ())
        case SyncDone():
            if event.sync != old.sync or old.pending[:1] != (event.step,):
                return old, ()
            left = old.pending[1:]
            new = replace(old, pending=left, link=old.link if left else Phase.READY)
            if left or not old.new_since_halt or old.halted is None or not is_read_only_halt(old.halted):
                return new, ()
            return new, (HaltOver(old.halted),)
        case SyncFailed():
            if event.sync != old.sync or not old.pending:
                return old, ()
            why = f"{event.step} could not be read: {event.why}"
            new, actions = _away(replace(old, link=Phase.SYNCING, pending=()), why, now, patience)
            return new, (SyncLater(why), *actions)
        case ApiCode():
            return _code(old, event, now, patience)
        case LiveAgain():
            if event.subject not in old.suspended:
                return old, ()
            new = replace(old, suspended=old.suspended - {event.subject})
            return new, (ResumePrices(event.subject),)
        case ServersAnswer():
            lost = old.link is Phase.LINK_LOST and old.verified and old.away_since is not None
            if not lost or old.away_since is None or now - old.away_since < patience.probe_after:
                return old, ()
            # A full sync proves the rest: READY only if each of its questions is answered.
            return _sync(replace(old, link=Phase.SYNCING))
        case AuthNeeded():
            if old.link is Phase.AUTH_NEEDED:
                return old, ()
            new, actions = _lost(old, Phase.AUTH_NEEDED, event.why, now, patience)
            return replace(new, reported=True), (
                *actions,
                Page(f"the gateway needs a person: {event.why}", About.LOGIN),
            )
        case Tick():
            return old, ()
        case Resumed():
            new = replace(old, halted=None)
            if old.halted is None or old.link is not Phase.READY:
                return new, ()
            return _sync(replace(new, link=Phase.SYNCING))


def _sync(old: Connection) -> Outcome:
    """Start a full sync. A periodic one leaves the state at READY; READY is lost if a step fails."""
    link = Phase.READY if old.link is Phase.READY else Phase.SYNCING
    new = replace(old, link=link, sync=old.sync + 1, pending=STEPS)
    return new, (FullSync(new.sync),)


def _away(old: Connection, why: str, now: datetime, patience: Patience) -> Outcome:
    """Not READY: report it once, unless it is expected now, and set the time of the page."""
    if old.away_since is not None:
        return old, ()
    span = patience.span(now)
    if span is not None:
        return replace(old, away_since=now, page_at=span.end), ()
    return replace(old, away_since=now, reported=True, page_at=now + patience.page_after), (Alert(why),)


def _lost(old: Connection, link: Phase, why: str, now: datetime, patience: Patience) -> Outcome:
    """The orders can no longer be followed."""
    followed = old.link in (Phase.READY, Phase.SYNCING)
    new, actions = _away(replace(old, link=link, pending=()), why, now, patience)
    return new, (*((OrdersOutOfSight(why),) if followed else ()), *actions)


def _down(old: Connection, why: str, now: datetime, patience: Patience) -> Outcome:
    link = Phase.AUTH_NEEDED if old.link is Phase.AUTH_NEEDED else Phase.DOWN
    # An ended session no longer reports on farms: the next one reports those that are down.
    forgotten = tuple(FarmForgotten(farm) for farm in sorted(old.degraded))
    new, actions = _lost(replace(old, verified=False, degraded=frozenset()), link, why, now, patience)
    return new, (*forgotten, *actions, ConnectLater(same_id_soon=old.client_id_since is not None))


_FARM = re.compile(r":\s*([\w.]+?)\s*$|[:.]\s*(\w+)\s*$")


def farm_of(text: str) -> str:
    """The farm that a message is about: the word at its end (`… connection is broken:usfarm`)."""
    match = _FARM.search(text)
    return (match[1] or match[2]) if match else text


def _code(old: Connection, event: ApiCode, now: datetime, patience: Patience) -> Outcome:
    text = f"{event.code} {event.text}"
    reaction = REACTIONS.get(event.code, Reaction.NONE)
    if reaction is Reaction.CONFIGURATION and not is_account_fault(event.code, event.text):
        reaction = Reaction.NONE
    if event.subject and reaction in _MAY_BE_ABOUT_QUOTES and ends_quotes(event.code):
        reaction = Reaction.NO_LIVE_QUOTE
    match reaction:
        case Reaction.LINK_LOST:
            # It comes by the dozen at night: the first one counts.
            if old.link not in (Phase.SOCKET, Phase.SYNCING, Phase.READY):
                return old, ()
            new, actions = _lost(old, Phase.LINK_LOST, text, now, patience)
            return new, (DoubtQuotes(), *actions)
        case Reaction.RESTORED_DATA_LOST:
            return _restored(old, text, (Resubscribe(),))
        case Reaction.RESTORED:
            return _restored(old, text, ())
        case Reaction.FARM_DOWN:
            farm = farm_of(event.text)
            new = replace(old, degraded=old.degraded | {farm})
            return new, () if farm in old.degraded else (DoubtQuotes(farm), Alert(text, About.FARM, farm))
        case Reaction.FARM_UP:
            farm = farm_of(event.text)
            new = replace(old, degraded=old.degraded - {farm})
            return new, (Recovered(text, About.FARM, farm),) if farm in old.degraded else ()
        case Reaction.NOT_CONNECTED:
            return _down(old, text, now, patience)
        case Reaction.CLIENT_ID_IN_USE:
            return replace(old, client_id_since=old.client_id_since or now), ()
        case Reaction.NO_LIVE_QUOTE:
            suspend = SuspendPrices(event.subject, text, first=event.subject not in old.suspended)
            return replace(old, suspended=old.suspended | {event.subject}), (suspend,)
        case Reaction.CONFIGURATION:
            if old.halted is not None:
                return old, ()
            return replace(old, halted=text, new_since_halt=False), (HaltAll(text), Page(f"halted: {text}", About.HALT))
        case Reaction.NONE:
            return old, ()


def _restored(old: Connection, text: str, first: tuple[Action, ...]) -> Outcome:
    """IB is back: whatever was missed meanwhile, a full sync finds it."""
    if old.link not in (Phase.LINK_LOST, Phase.SYNCING, Phase.READY):
        return old, ()
    if not old.verified:
        return replace(old, link=Phase.SOCKET), first
    unseen: tuple[Action, ...] = () if old.link is Phase.LINK_LOST else (OrdersOutOfSight(text),)
    new, actions = _sync(replace(old, link=Phase.SYNCING))
    return new, (*unseen, *first, *actions)
