"""New orders and changes: what is checked, what is rejected, and when an order reaches the market."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from gateway_simulator.trading import contingency, events, validation
from gateway_simulator.trading.account_book import AccountBook
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.market import STEP, Market
from gateway_simulator.trading.model import ZERO, Instrument, Order, OrderStatus
from gateway_simulator.trading.numbers import Numbers
from gateway_simulator.trading.order_book import OrderBook
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.trading_time import TradingTime
from gateway_simulator.trading.tradinghours import TradingHours, zone_of
from gateway_simulator.trading.validation import OrderRefusedError, OrderRejectedError
from gateway_simulator.trading.working import AT_OPENING, FINAL, ON_CLOSE, WorkingOrder


def _only_closes(order: Order, instrument: Instrument, account: Account) -> bool:
    """Return whether an order, filled in whole, only reduces holdings."""
    for leg in instrument.parts:
        held = account.positions.get(leg.instrument.contract.con_id)
        quantity = held.quantity if held is not None else ZERO
        signed = leg.ratio * (order.remaining if order.action == "BUY" else -order.remaining)
        if quantity * signed >= 0 or abs(signed) > abs(quantity):
            return False
    return True


class Placing:
    """``latency`` is the time until a new order, or a change of one, reaches the market."""

    def __init__(
        self,
        catalog: Catalog,
        market: Market,
        hours: TradingHours,
        numbers: Numbers,
        *,
        latency: timedelta,
        time: TradingTime,
        orders: OrderBook,
        accounts: AccountBook,
        reports: Reports,
    ) -> None:
        self._catalog = catalog
        self._market = market
        self._hours = hours
        self._numbers = numbers
        self._latency = latency
        self._time = time
        self._orders = orders
        self._accounts = accounts
        self._reports = reports

    def place(self, order: Order) -> None:
        """Place an order, or change the one that has its id. Raises OrderRefusedError."""
        instrument = validation.resolve_instrument(self._catalog, order.contract)
        exchange = order.contract.exchange
        order = replace(
            order,
            account=validation.choose_account(order.account, self._accounts.by_id),
            contract=replace(instrument.contract, exchange=exchange),
        )
        if order.cash_quantity and instrument.contract.sec_type == "CASH":
            validation.check_cash_quantity(order)
            order = replace(order, quantity=self._quantity_for(order))
        validation.check_terms(order, instrument)
        validation.check_conditions(order, instrument, self._catalog, self._time.moment)
        known = self._orders.working.get((order.client_id, order.order_id))
        if order.what_if:
            self._preview(order, instrument)
        elif known is not None:
            self._change(known, order)
        else:
            self._add(order, instrument)

    def _quantity_for(self, order: Order) -> Decimal:
        """How much of a pair's first currency an amount of the second pays for, in whole units."""
        quote = self._market.quote(order.contract.con_id, self._time.moment)
        price = order.limit_price or (quote.ask if order.action == "BUY" else quote.bid) or quote.mark
        if price is None or price <= 0:
            return order.quantity
        return order.cash_quantity // price

    def _add(self, order: Order, instrument: Instrument) -> None:
        if order.order_id <= self._orders.last_ids.get(order.client_id, 0):
            done = self._orders.find_completed(order.client_id, order.order_id)
            if done is not None and done.status is OrderStatus.FILLED:
                raise OrderRefusedError(104, "Cannot modify a filled order.")
            raise OrderRefusedError(103, "Duplicate order id")
        parent = self._check_parent(order)
        begins, ends = self._times_of(order, instrument)
        self._orders.use_id(order.client_id, order.order_id)
        added = WorkingOrder(
            replace(
                order,
                perm_id=self._numbers.next_perm_id(),
                parent_perm_id=parent.perm_id if parent is not None else 0,
                status=OrderStatus.PENDING_SUBMIT,
                submitted_at=self._time.moment,
                filled=ZERO,
                average_fill_price=ZERO,
            ),
            instrument,
            self._numbers.next_sequence(),
            arrives=self._time.moment,
            begins=begins,
            ends=ends,
            transmitted=False,
        )
        self._orders.working[added.key] = added
        if order.transmit:
            self._transmit(added)

    def _check_parent(self, order: Order) -> Order | None:
        if not order.parent_id:
            return None
        parent = self._orders.find(order.client_id, order.parent_id)
        if parent is None or (parent.status in FINAL and parent.status is not OrderStatus.FILLED):
            raise OrderRefusedError(135, f"Can't find order with id = {order.parent_id}")
        return parent

    def _times_of(self, order: Order, instrument: Instrument) -> tuple[datetime | None, datetime | None]:
        """When an order may start to trade, and when it ends by itself."""
        begins = validation.good_after(order, self._time.moment, instrument)
        ends = validation.good_till(order, self._time.moment, instrument)
        start = max(self._time.moment, begins) if begins is not None else self._time.moment
        expiry = self._hours.expiry_moment(instrument)
        if expiry is not None and expiry <= start:
            return begins, expiry
        if order.time_in_force == AT_OPENING:
            begins = self._hours.next_opening(instrument, start + self._latency)
            return begins, begins + STEP
        if order.time_in_force == "DAY":
            outside = order.outside_rth and order.order_type not in ON_CLOSE
            ends = self._hours.day_end(instrument, start, outside_rth=outside)
        return begins, min((each for each in (ends, expiry) if each is not None), default=None)

    def _transmit(self, last: WorkingOrder) -> None:
        """Transmit an order and those of its family that were held back: parents first."""
        family = [last]
        while (parent := self._orders.working.get((last.order.client_id, family[0].order.parent_id))) is not None:
            family.insert(0, parent)
        for each in self._orders.working.values():
            if not each.transmitted and each not in family and any(contingency.is_child(each, one) for one in family):
                family.append(each)
        self._group_children(family)
        for each in sorted(family, key=lambda member: member.sequence):
            if each.key in self._orders.working and not each.transmitted:
                self._accept(each)

    def _group_children(self, family: list[WorkingOrder]) -> None:
        """Create an OCA group of one parent's children; those that are at work already are reported again."""
        for child in [each for each in family if each.order.parent_id]:
            siblings = [each for each in self._orders.working.values() if contingency.are_siblings(each, child)]
            for each in [child, *siblings] if siblings else []:
                if not each.order.oca_group and (each.transmitted or each in family):
                    order = each.change(oca_group=str(child.order.parent_perm_id), oca_type=3)
                    if each.transmitted:
                        self._reports.report(events.OrderOpened(order))

    def _accept(self, accepted: WorkingOrder) -> None:
        accepted.transmitted = True
        accepted.arrives = self._time.moment + self._latency
        try:
            self._check_acceptable(accepted.order, accepted.instrument, accepted)
        except OrderRejectedError as rejection:
            self._orders.reject(accepted, rejection)
            return
        accepted.change(transmit=True)
        self._orders.announce(accepted)
        warning = validation.odd_lot_warning(accepted.order)
        if warning:
            self._reports.report(events.OrderError(accepted.order.client_id, accepted.order.order_id, 399, warning))
        self._warn_if_closed(accepted)

    def _check_acceptable(self, order: Order, instrument: Instrument, known: WorkingOrder | None) -> None:
        """Reject what the brokerage does not trade for this account."""
        account = self._accounts.valued[order.account]
        expiry = self._hours.expiry_moment(instrument)
        if expiry is not None and expiry <= self._time.moment:
            raise OrderRejectedError("The contract has expired.")
        currency = instrument.contract.currency
        if currency != account.currency and instrument.contract.sec_type != "CASH":
            raise OrderRejectedError(
                f"The account is kept in {account.currency}, the contract is traded in {currency}."
            )
        others = (
            [*self._orders.completed, *(each.order for each in self._orders.working.values())]
            if order.oca_group
            else []
        )
        if any(contingency.is_spent(each, order) for each in others):
            raise OrderRejectedError(f"The OCA group {order.oca_group} has been filled.")
        if known is not None and self._orders.waits_for_parent(known):
            return
        self._accounts.rate_currencies(account, instrument)
        if _only_closes(order, instrument, account):
            return
        impact = self._accounts.impact(order, instrument)
        if impact.equity_with_loan_after < impact.initial_margin_after:
            raise OrderRejectedError(
                "Your account's equity with loan value does not cover the initial margin. "
                f"Equity with loan value [{impact.equity_with_loan_after:.2f} {account.currency}], "
                f"initial margin [{impact.initial_margin_after:.2f} {account.currency}]."
            )

    def _warn_if_closed(self, working: WorkingOrder) -> None:
        order, instrument = working.order, working.instrument
        if self._orders.is_open(working) or self._orders.waits_for_parent(working):
            return
        opening = self._time.moment
        while not self._hours.is_open(instrument, opening, outside_rth=order.outside_rth):
            opening = self._hours.next_change(instrument, opening)
        contract = instrument.contract
        local = opening.astimezone(zone_of(instrument))
        self._reports.report(
            events.OrderError(
                order.client_id,
                order.order_id,
                399,
                f"Order Message:\n{order.action} {order.quantity} {contract.symbol} "
                f"{contract.primary_exchange or contract.exchange}\nWarning: Your order will not be placed at the "
                f"exchange until {local:%Y-%m-%d %H:%M:%S} {instrument.time_zone}.",
            )
        )

    def _change(self, known: WorkingOrder, asked: Order) -> None:
        """Change an order's terms. Its permanent id and fills stay; it keeps its place only if it gets smaller."""
        before = known.order
        validation.check_change(before, asked)
        begins, ends = self._times_of(asked, known.instrument)
        after = replace(
            asked,
            perm_id=before.perm_id,
            parent_perm_id=before.parent_perm_id,
            oca_group=asked.oca_group or before.oca_group,
            oca_type=asked.oca_type if asked.oca_group else before.oca_type,
            trail_stop_price=asked.trail_stop_price or before.trail_stop_price,
            filled=before.filled,
            average_fill_price=before.average_fill_price,
            last_fill_price=before.last_fill_price,
            submitted_at=before.submitted_at,
            status=before.status,
            transmit=before.transmit or asked.transmit,
        )
        if (after.conditions, after.conditions_cancel) != (before.conditions, before.conditions_cancel):
            known.conditions_met = False
        if known.transmitted and after.quantity > before.quantity:
            self._check_acceptable(after, known.instrument, known)
        moves = replace(after, quantity=before.quantity) != before or after.quantity > before.quantity
        known.order, known.begins, known.ends = after, begins, ends
        if not known.transmitted:
            if asked.transmit:
                self._transmit(known)
            return
        if after.order_type != before.order_type or after.aux_price != before.aux_price:
            known.triggered, known.reached = False, 0
        if moves:
            known.sequence = self._numbers.next_sequence()
        known.arrives, known.arrived, known.slips = self._time.moment + self._latency, False, 0
        if not after.remaining:
            self._orders.end(known, OrderStatus.FILLED, f"Filled Size: {after.filled}")
            self._orders.release_children(known)
            return
        if self._orders.state_of(known)[0] is OrderStatus.PRE_SUBMITTED:
            self._orders.announce(known)
        else:
            self._orders.report_state(known)

    def _preview(self, order: Order, instrument: Instrument) -> None:
        impact = self._accounts.impact(order, instrument)
        shown = replace(order, status=OrderStatus.PRE_SUBMITTED)
        self._reports.report(events.OrderPreviewed(shown, impact))
