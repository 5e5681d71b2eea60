"""Orders with conditions: set to work, or cancelled, once they are met."""

from __future__ import annotations

from decimal import Decimal

from gateway_simulator.trading import conditions, validation
from gateway_simulator.trading.account_book import AccountBook
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.fills import Fills
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.order_book import OrderBook
from gateway_simulator.trading.schedule import Schedule
from gateway_simulator.trading.trading_time import TradingTime
from gateway_simulator.trading.working import WorkingOrder


class ConditionWatch:
    """Checks the conditions that are not met yet."""

    def __init__(
        self,
        catalog: Catalog,
        market: Market,
        time: TradingTime,
        orders: OrderBook,
        accounts: AccountBook,
        schedule: Schedule,
        fills: Fills,
    ) -> None:
        self._catalog = catalog
        self._market = market
        self._time = time
        self._orders = orders
        self._accounts = accounts
        self._schedule = schedule
        self._fills = fills

    def check(self) -> None:
        """Set orders to work, or cancel them, whose conditions are met now."""
        for each in self._schedule.agenda.conditional:
            if not self._orders.is_working(each) or self._orders.waits_for_parent(each):
                continue
            if not conditions.are_met(each.order, self._present(each)):
                continue
            each.conditions_met = True
            if each.order.conditions_cancel:
                self._orders.cancel(each, "The conditions of the order were met")
            else:
                self._schedule.forget()
                self._orders.report_change(each)

    def _present(self, working: WorkingOrder) -> conditions.Present:
        account, now = self._accounts.valued[working.order.account], self._time.moment

        def cushion() -> Decimal | None:
            net = account.net_liquidation
            return (net - account.margin().maintenance) / net * 100 if net > 0 else None

        return conditions.Present(
            now,
            lambda con_id: (self._catalog.known(con_id).contract.sec_type, self._market.quote(con_id, now)),
            lambda text: validation.parse_moment(text, now, working.instrument.time_zone),
            cushion,
            self._fills.executions,
        )
