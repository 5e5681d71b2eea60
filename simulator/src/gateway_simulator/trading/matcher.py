"""Orders that have arrived, against the market as it is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gateway_simulator.trading import events, matching
from gateway_simulator.trading.book import Book
from gateway_simulator.trading.catalog import increment_at
from gateway_simulator.trading.fills import Fills
from gateway_simulator.trading.market import STEP, Market
from gateway_simulator.trading.matching import Fill, PricesOnly, ShownSizes
from gateway_simulator.trading.model import Halted, OrderStatus, Quote
from gateway_simulator.trading.numbers import Numbers
from gateway_simulator.trading.order_book import OrderBook
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.schedule import Schedule
from gateway_simulator.trading.trading_time import EPOCH, TradingTime
from gateway_simulator.trading.walk import step_at
from gateway_simulator.trading.working import TRAILING, WorkingOrder

NOT_AT_ONCE = "Nothing more could be filled at once"


class Matcher:
    """``slippage`` is in price increments; ``random_partials`` fills a seeded share of the size shown instead of all of
    it. ``shown`` is what fills have left of the sizes shown."""

    def __init__(
        self,
        market: Market,
        numbers: Numbers,
        *,
        slippage: int,
        random_partials: bool,
        time: TradingTime,
        orders: OrderBook,
        schedule: Schedule,
        fills: Fills,
        reports: Reports,
    ) -> None:
        self._market = market
        self._numbers = numbers
        self._slippage = slippage
        self._random_partials = random_partials
        self._time = time
        self._orders = orders
        self._schedule = schedule
        self._fills = fills
        self._reports = reports
        self.shown = ShownSizes()

    def match(self, only: set[WorkingOrder] | None = None) -> None:
        """Match orders that have arrived against the market as it is now; by default all of them."""
        for con_id in list(self._schedule.agenda.books):
            book = self._book(con_id)
            if not self._stirs(book):
                continue
            quote = self._market.quote(con_id, self._time.moment)
            if quote.halted is Halted.NO:
                for each in book.waiting:
                    if only is None or each in only:
                        self._watch(each, quote)
                book = self._book(con_id)
                for each in book.at_opening:
                    self._trade_at_opening(each, quote)
                for side in (book.buys, book.sells):
                    self._match_side(side, quote, only)
                for each in book.pegged:
                    if (only is None or each in only) and self._orders.is_at_work(each):
                        self._trade(each, quote)
            for each in book.at_once:
                if (only is None or each in only) and self._orders.is_at_work(each):
                    self._end_at_once(each)

    def _trade_at_opening(self, working: WorkingOrder, quote: Quote) -> None:
        if self._orders.is_at_work(working) and (fill := matching.auction_fill(working, quote)) is not None:
            self._fills.fill(working, fill)

    def _end_at_once(self, working: WorkingOrder) -> None:
        """End an order that could not be filled at once: IOC as cancelled, FOK as inactive."""
        if working.order.time_in_force == "FOK":
            self._reports.report(events.OrderOpened(working.change(status=OrderStatus.INACTIVE, why_held="")))
            self._orders.end(working, OrderStatus.INACTIVE, NOT_AT_ONCE)
            self._orders.cancel_children(working, "The parent order was not filled")
            return
        self._reports.report(events.OrderStatusChanged(working.change(status=OrderStatus.PENDING_CANCEL, why_held="")))
        self._orders.cancel(working, NOT_AT_ONCE)

    def _stirs(self, book: Book) -> bool:
        """Whether the market may affect the orders of a book now: a check of its prices only."""
        if book.at_once or book.pegged or book.at_opening:
            return True
        point = self._market.point(book.con_id, step_at(self._time.moment))
        prices = PricesOnly(point.bid, point.ask, point.value)
        return any(
            each.reached or each.order.order_type in TRAILING or matching.is_reached(each, prices)
            for each in book.waiting
        ) or any(matching.is_marketable(side[0], prices) for side in (book.buys, book.sells) if side)

    def _match_side(self, side: list[WorkingOrder], quote: Quote, only: set[WorkingOrder] | None) -> None:
        """Fill the orders of one side, the best first, until one asks for more than the market gives."""
        for each in side:
            if not matching.is_marketable(each, quote):
                return
            if (only is None or each in only) and self._orders.is_at_work(each):
                self._trade(each, quote)

    def _book(self, con_id: int) -> Book:
        return self._schedule.agenda.books.get(con_id) or Book(con_id)

    def _watch(self, working: WorkingOrder, quote: Quote) -> None:
        """Move a trailing stop, and trigger the order if its price is reached."""
        if not working.waits_for_trigger or not self._orders.may_trade(working):
            return
        order = working.order
        if order.order_type in TRAILING:
            reference = order.trail_stop_price or quote.last or working.instrument.min_tick
            stop = matching.trailed_stop(working, quote, increment_at(working.instrument, reference))
            if stop != order.trail_stop_price:
                order = working.change(trail_stop_price=stop, limit_price=matching.trailed_limit(order, stop))
        working.reached = working.reached + 1 if matching.is_reached(working, quote) else 0
        if working.reached >= matching.steps_needed(working):
            working.triggered = True
            self._orders.report_change(working)

    def _trade(self, working: WorkingOrder, quote: Quote) -> None:
        """Fill an order as far as the market reaches."""
        if not self._orders.may_trade(working):
            return
        step = (self._time.moment - EPOCH) // STEP
        left = self._left(working, quote, step)
        price = quote.ask if working.buys else quote.bid
        increment = increment_at(working.instrument, price) if price is not None else working.instrument.min_tick
        if working.is_pegged:
            fill = matching.pegged_fill(working, quote, left)
        else:
            fill = matching.fill_of(working, quote, left, increment, self._slippage)
        if fill is None:
            return
        if self._random_partials and working.order.time_in_force != "FOK" and not working.order.all_or_none:
            fill = self._share_of(fill, working.instrument.size_increment)
        for con_id, own, buys, ratio in self._taken_from(working, quote):
            self.shown.take(con_id, own, fill.quantity * ratio, buys=buys, step=step)
        working.slips += 1
        self._fills.fill(working, fill)

    def _taken_from(self, working: WorkingOrder, quote: Quote) -> list[tuple[int, Quote, bool, int]]:
        """The quotes whose size a fill takes: their contract and side, and how many of each for one of the order."""
        if not working.instrument.legs:
            return [(working.con_id, quote, working.buys, 1)]
        return [
            (con_id, self._market.quote(con_id, self._time.moment), (leg.ratio > 0) == working.buys, abs(leg.ratio))
            for leg in working.instrument.legs
            for con_id in (leg.instrument.contract.con_id,)
        ]

    def _left(self, working: WorkingOrder, quote: Quote, step: int) -> Decimal:
        """What an order can take of the sizes shown."""
        if not working.instrument.legs:
            return self.shown.left(working.con_id, quote, buys=working.buys, step=step)
        return min(
            self.shown.left(con_id, own, buys=buys, step=step) // ratio
            for con_id, own, buys, ratio in self._taken_from(working, quote)
        )

    def _share_of(self, fill: Fill, unit: Decimal) -> Fill:
        """A seeded share of a fill, at least one unit."""
        share = Decimal(1 + self._numbers.drawn(f"partial {self._numbers.counters.executions}") % 10) / 10
        return replace(fill, quantity=max(fill.quantity * share // unit * unit, min(unit, fill.quantity)))
