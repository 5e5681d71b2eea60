"""Fills: the executions of an order, what they change in its account, and what depends on the order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gateway_simulator.trading import combination, contingency, events, matching
from gateway_simulator.trading.account_book import AVERAGE_UNIT, AccountBook, Part, part_of
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.matching import Fill
from gateway_simulator.trading.model import ZERO, Execution, Order, OrderStatus, Position
from gateway_simulator.trading.numbers import Numbers
from gateway_simulator.trading.order_book import OrderBook
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.trading_time import TradingTime
from gateway_simulator.trading.working import WorkingOrder


class Fills:
    """``executions`` are the day's."""

    def __init__(
        self,
        market: Market,
        numbers: Numbers,
        time: TradingTime,
        orders: OrderBook,
        accounts: AccountBook,
        reports: Reports,
    ) -> None:
        self._market = market
        self._numbers = numbers
        self._time = time
        self._orders = orders
        self._accounts = accounts
        self._reports = reports
        self.executions: list[Execution] = []

    def fill(self, working: WorkingOrder, fill: Fill) -> None:
        """Book a fill: the order, the executions, the account, and what depends on the order, in that order."""
        before = working.order
        parts = self._parts(working, fill)
        filled = before.filled + fill.quantity
        average = (before.filled * before.average_fill_price + fill.quantity * fill.price) / filled
        order = working.change(
            filled=filled,
            average_fill_price=average.quantize(AVERAGE_UNIT),
            last_fill_price=fill.price,
            leg_averages=tuple(each.average for each in parts) if working.instrument.legs else (),
        )
        exec_id = self._numbers.next_exec_id()
        own: list[Execution] = []
        if working.instrument.legs:
            whole = Part(working.instrument, fill.quantity, fill.price, filled, order.average_fill_price, working.buys)
            own = [self._execution(order, whole, exec_id, ZERO, None)]
        positions: list[Position] = []
        charged: list[Execution] = []
        for number, part in enumerate(parts):
            position, realized, commission = self._accounts.trade(order, part)
            leg_id = f"{exec_id[:-5]}{number + 2:02d}.01" if own else exec_id
            charged.append(self._execution(order, part, leg_id, commission, realized))
            positions.append(position)
        done = not order.remaining
        status = OrderStatus.FILLED if done else order.status
        if status is OrderStatus.PRE_SUBMITTED:
            status = OrderStatus.SUBMITTED
        order = working.change(status=status, why_held="")
        for execution in (*own, *charged):
            self.executions.append(execution)
            self._reports.report(events.OrderFilled(order, execution))
        self._reports.report(events.OrderOpened(order))
        if done:
            self._orders.end(working, OrderStatus.FILLED, f"Filled Size: {filled}")
        else:
            self._reports.report(events.OrderStatusChanged(order))
        self._reports.report(*(events.CommissionCharged(each) for each in charged))
        self._reports.report(*(events.PositionChanged(order.account, each) for each in positions))
        self._reports.report(events.AccountChanged(order.account))
        self._settle_group(working, fill.quantity, before.remaining)
        if done:
            self._orders.release_children(working)

    def _parts(self, working: WorkingOrder, fill: Fill) -> list[Part]:
        """What a fill trades: the order's contract, or each leg of its combination."""
        before, legs = working.order, working.instrument.legs
        if not legs:
            return [
                part_of(
                    working.instrument,
                    fill.quantity,
                    fill.price,
                    before.filled,
                    before.average_fill_price,
                    working.buys,
                )
            ]
        quotes = [self._market.quote(each.instrument.contract.con_id, self._time.moment) for each in legs]
        prices = combination.leg_prices(legs, quotes, buys=working.buys)
        averages = before.leg_averages or (ZERO,) * len(legs)
        return [
            part_of(
                leg.instrument,
                fill.quantity * abs(leg.ratio),
                price,
                before.filled * abs(leg.ratio),
                average,
                (leg.ratio > 0) == working.buys,
            )
            for leg, price, average in zip(legs, prices, averages, strict=True)
            if price is not None
        ]

    def _execution(
        self, order: Order, part: Part, exec_id: str, commission: Decimal, realized: Decimal | None
    ) -> Execution:
        """Describe what was traded of one contract."""
        own = part.instrument.contract
        venue = matching.exchange_of(order, part.instrument)
        return Execution(
            exec_id=exec_id,
            order_id=order.order_id,
            client_id=order.client_id,
            perm_id=order.perm_id,
            account=order.account,
            contract=replace(own, exchange=venue),
            time=self._time.moment,
            exchange=venue,
            side="BOT" if part.buys else "SLD",
            shares=part.quantity,
            price=part.price,
            cumulative_quantity=part.filled,
            average_price=part.average,
            commission=commission,
            realized_pnl=realized,
            order_ref=order.order_ref,
            commission_currency=self._accounts.by_id[order.account].currency,
        )

    def _settle_group(self, filled: WorkingOrder, quantity: Decimal, remaining_before: Decimal) -> None:
        """Cancel or reduce the other orders of a filled order's OCA group."""
        if not filled.order.oca_group:
            return
        group = [each for each in self._orders.working.values() if contingency.share_a_group(each, filled)]
        for other in group:
            if not self._orders.is_working(other):
                continue
            left = contingency.quantity_left(other, quantity, remaining_before)
            if filled.order.oca_type == contingency.CANCEL_WITH_BLOCK or not left:
                self._orders.cancel(other, "Another order of the OCA group was filled")
            elif left < other.order.remaining:
                order = other.change(quantity=other.order.filled + left)
                self._reports.report(events.OrderOpened(order), events.OrderStatusChanged(order))
