"""Broker events, handled immediately and in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from position_manager import connection_state as link
from position_manager.brokers.broker import (
    BrokerEvent,
    CodeReceived,
    CommissionReceived,
    DetailsReceived,
    Disconnected,
    ExecutionReceived,
    LeftOutReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
    QuotesReceived,
)
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.closer import Closer
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Guard
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.left_out import LeftOuts
from position_manager.engine.moved_stops import MovedStops
from position_manager.engine.notices import Notices
from position_manager.engine.quote_requests import QuoteRequests
from position_manager.engine.syncing import Syncing
from position_manager.engine.tasks import Tasks
from position_manager.engine.unit_evaluator import UnitEvaluator
from position_manager.journal.errors import JournalError
from position_manager.model import Quote


class EventHandler:
    """``on_link_event`` receives what concerns the connection."""

    def __init__(
        self,
        evaluator: UnitEvaluator,
        closer: Closer,
        orders: FollowedOrders,
        syncing: Syncing,
        quote_requests: QuoteRequests,
        left_out: LeftOuts,
        moved_stops: MovedStops,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        guarded: GuardedAccounts,
        notices: Notices,
        tasks: Tasks,
        on_link_event: Callable[[link.Event], None],
    ) -> None:
        self._evaluator = evaluator
        self._closer = closer
        self._orders = orders
        self._syncing = syncing
        self._quote_requests = quote_requests
        self._left_out = left_out
        self._moved_stops = moved_stops
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._guarded = guarded
        self._notices = notices
        self._tasks = tasks
        self._on_link_event = on_link_event
        self.realized: dict[str, tuple[datetime, str, Decimal]] = {}
        """By execution: when its result was received, the currency, the amount."""

    def handle(self, event: BrokerEvent) -> None:
        """An event of the broker. What a failing journal could not take is asked for again later."""
        try:
            self._dispatch(event)
        except JournalError as error:
            self._access.on_failure(error)
        except Exception as error:  # of any kind: an engine that misses broker events must not go on
            self._tasks.fail(error)

    def _dispatch(self, event: BrokerEvent) -> None:
        now = self._clock.now()
        match event:
            case QuoteReceived(con_id, quote):
                self._on_quote(con_id, quote)
                self._closer.on_quote(con_id)
            case QuotesReceived(quotes):
                self._on_quotes(quotes)
            case PositionReceived(account, con_id, quantity):
                self._syncing.on_position(account, con_id, quantity)
            case OrderReceived():
                self._orders.on_order(event)
            case ExecutionReceived():
                self._orders.on_execution(event)
            case CommissionReceived(exec_id, _, realized, currency):
                # Each sync reports it again.
                if realized is not None:
                    self.realized.setdefault(exec_id, (now, currency, realized))
            case CodeReceived():
                if not self._orders.on_code(event):
                    self._on_code(event)
            case LeftOutReceived(left_out):
                for each in self._left_out.update(left_out, self._guarded.names, now):
                    held = each.held
                    author = self._notices.author
                    self._notices.notify(author.left_out(held.label, held.account, held.quantity, each.text))
            case DetailsReceived():
                self._agenda.sync_soon()
            case Disconnected(why):
                self._on_link_event(link.SocketDown(why))

    def _on_quotes(self, quotes: Sequence[QuoteReceived]) -> None:
        """Quotes that have arrived together: rules first, as what is decided on them is sent together."""
        for received in quotes:
            try:
                self._on_quote(received.con_id, received.quote)
            except JournalError as error:
                # The others are evaluated regardless.
                self._access.on_failure(error)
        for received in quotes:
            self._closer.on_quote(received.con_id)

    def _on_quote(self, con_id: int, quote: Quote) -> None:
        now = self._clock.now()
        self._guard.on_quote(con_id, quote)
        self._quote_requests.on_quote(con_id)
        if quote.live and str(con_id) in self._connection.state.suspended:
            self._on_link_event(link.LiveAgain(str(con_id)))
        for unit in self._guard.units_of(con_id):
            self._evaluator.evaluate(unit, now)
        if self._moved_stops.unplanned:
            self._agenda.wake()

    def _on_code(self, event: CodeReceived) -> None:
        about_quotes = link.REACTIONS.get(event.code) is link.Reaction.NO_LIVE_QUOTE
        if event.con_id:
            self._quote_requests.on_refused(event.con_id)
        if event.con_id or not about_quotes:
            self._on_link_event(link.ApiCode(event.code, event.text, str(event.con_id) if event.con_id else ""))
