"""The brokerage: everything behind the API that outlives a connection.

Time is passed with each call and only moves forward. ``advance`` does what was due until then in order of time, so the
same requests at the same moments give the same journal, however often it is called between them. After a pause of
more than an hour with orders at work the market is evaluated once a minute for the rest of the pause.

| what | rule |
|---|---|
| new order, change | reaches the market after ``latency``; a change leaves the old terms at once |
| order that will trade | reported as PreSubmitted, then as Submitted; a market order to sell as Submitted only |
| order that is held | reported twice as PreSubmitted |
| fill | execution, order and status, commission, in this order |
| IOC | what is left is cancelled (PendingCancel first) |
| FOK | ends as Inactive if it cannot be filled at once |
| cancel | ends the order after ``cancel_latency``; until then it is at work as PendingCancel, and may fill |
| conditions | the order rests as PreSubmitted until they are met once; or, if it is set so, is cancelled then |
| REL, MIDPRICE, PEG MID, PEG MKT | the price follows the quote (``matching``) |
| OPG | all at the first price of the next regular session, or cancelled |
| parent | its children wait (``child``) until all of it is filled; if it ends otherwise, they are cancelled |
| children of one parent | an OCA group, unless they name another |
| OCA group | type 1: any fill cancels the others; 2 and 3: a fill reduces them in proportion; no order joins it after |
| untransmitted order | known to its client only, and to no restart, until it or an order of its family is transmitted |
| MOC, LOC | all at the last price of the regular session, or cancelled at its end |
| DAY | ends with the regular session, with outsideRth with the day's session |
| option at its expiry | exercised or assigned if in the money by 0.01 or more: a change of position without an order |
| future at its expiry | settled at the underlying's price |
| split of a stock | its orders and those of its options are cancelled, holdings change without an order (``splits``) |
| combination | fills all its legs at once; its own execution comes first and has no commission, the legs' follow |
| currency pair | two balances change; below the minimum of IDEALPRO it is warned (399) and traded all the same |
| cash quantity (currency pairs) | whole units that it pays for at the limit, or at the far side |
| index | not traded |
| midnight in New York | executions and completed orders are discarded, the daily profit is reset |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway_simulator.trading import combination, conditions, contingency, events, matching, settlement, validation
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.book import Agenda, Book, Session
from gateway_simulator.trading.catalog import Catalog, increment_at
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.impact import impact_of
from gateway_simulator.trading.journal import journal_line
from gateway_simulator.trading.market import STEP, Market
from gateway_simulator.trading.matching import Fill, PricesOnly, ShownSizes
from gateway_simulator.trading.model import (
    ZERO,
    Bulletin,
    ContractQuery,
    Execution,
    ExecutionFilter,
    Halted,
    Instrument,
    Order,
    OrderImpact,
    OrderStatus,
    Position,
    Quote,
)
from gateway_simulator.trading.numbers import Numbers
from gateway_simulator.trading.splits import Split
from gateway_simulator.trading.tradinghours import TradingHours, zone_of
from gateway_simulator.trading.validation import OrderRefusedError, OrderRejectedError
from gateway_simulator.trading.valuation import revalue, revalue_currencies
from gateway_simulator.trading.walk import step_at
from gateway_simulator.trading.working import AT_ONCE, AT_OPENING, FINAL, ON_CLOSE, TRAILING, WorkingOrder

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COARSE_STEP = timedelta(minutes=1)
JOURNAL_LINES = 5_000
AVERAGE_UNIT = Decimal("0.0000000001")
NEVER = datetime.max.replace(tzinfo=UTC)
BY_TRADER = "Cancelled by Trader"
NOT_AT_ONCE = "Nothing more could be filled at once"


@dataclass(frozen=True)
class BrokerageSettings:
    """How the brokerage trades. ``slippage`` is in price increments; ``random_partials`` fills a seeded share of
    the size shown instead of all of it; ``fine_span`` is how much of a pause is caught up step by step."""

    latency: timedelta = timedelta(milliseconds=50)
    cancel_latency: timedelta = timedelta(0)
    slippage: int = 1
    random_partials: bool = False
    fine_span: timedelta = timedelta(hours=1)
    commissions: CommissionSchedule = field(default_factory=CommissionSchedule)


@dataclass(frozen=True)
class _Part:
    """What a fill trades of one contract; ``filled`` and ``average`` are the order's after it."""

    instrument: Instrument
    quantity: Decimal
    price: Decimal
    filled: Decimal
    average: Decimal
    buys: bool
    average_before: Decimal = ZERO


def _part(
    instrument: Instrument, quantity: Decimal, price: Decimal, filled_before: Decimal, average: Decimal, buys: bool
) -> _Part:
    filled = filled_before + quantity
    after = ((filled_before * average + quantity * price) / filled).quantize(AVERAGE_UNIT)
    return _Part(instrument, quantity, price, filled, after, buys, average)


def _only_closes(order: Order, instrument: Instrument, account: Account) -> bool:
    """Return whether an order, filled in whole, only reduces holdings."""
    for leg in instrument.parts:
        held = account.positions.get(leg.instrument.contract.con_id)
        quantity = held.quantity if held is not None else ZERO
        signed = leg.ratio * (order.remaining if order.action == "BUY" else -order.remaining)
        if quantity * signed >= 0 or abs(signed) > abs(quantity):
            return False
    return True


class Brokerage:
    """Accounts, orders and executions over one market.

    ``completed_orders`` and ``executions`` are the day's, ``bulletins`` are today's; accounts keep the order in which
    they were added. ``journal`` has the last lines; ``on_line`` is called with each.
    """

    def __init__(
        self,
        catalog: Catalog,
        market: Market,
        hours: TradingHours,
        *,
        mode: str,
        seed: int = 1,
        settings: BrokerageSettings | None = None,
    ) -> None:
        self.catalog = catalog
        self.market = market
        self.hours = hours
        self.mode = mode
        self.seed = seed
        self.settings = settings or BrokerageSettings()
        self._accounts: dict[str, Account] = {}
        self.completed_orders: list[Order] = []
        self.executions: list[Execution] = []
        self.bulletins: list[Bulletin] = []
        self.journal: deque[str] = deque(maxlen=JOURNAL_LINES)
        self.on_line: Callable[[str], None] | None = None
        self.now: datetime | None = None
        self.working: dict[tuple[int, int], WorkingOrder] = {}
        self.numbers = Numbers(seed)
        self.last_order_ids: dict[int, int] = {}
        self.shown = ShownSizes()
        self.seen_revision = market.revision
        self.day = date.min
        self.cancels_held = False
        """Whether a cancel stays on its way for ever."""
        self._sessions: dict[int, Session] = {}
        self._known_agenda: Agenda | None = None
        self._refreshed: tuple[int, int] | None = None
        self._pending: list[events.Event] = []

    # What there is.

    @property
    def accounts(self) -> dict[str, Account]:
        """The accounts by name, with their holdings at the prices of this moment."""
        if self.now is not None:
            self._refresh()
        return self._accounts

    @accounts.setter
    def accounts(self, accounts: dict[str, Account]) -> None:
        self._accounts = accounts

    @property
    def orders(self) -> list[Order]:
        """The working orders of all clients in their current state, oldest first."""
        return [each.order for each in self.working.values() if each.transmitted]

    def add_account(self, account: Account) -> None:
        """Add an account. Raises ValueError if there is one of this name."""
        if account.account_id in self._accounts:
            raise ValueError(f"account {account.account_id} is there already")
        self._accounts[account.account_id] = account
        account.begin_day()

    def find_instruments(self, query: ContractQuery) -> list[Instrument]:
        """Return the contracts that a query asks for, expired ones left out."""
        return self.catalog.find(query)

    def find_executions(self, wanted: ExecutionFilter, now: datetime | None = None) -> list[Execution]:
        """Return the day's executions that a filter admits, oldest first."""
        if now is not None:
            self._run_until(now)
        return [each for each in self.executions if wanted.admits(each)]

    def open_orders_of(self, client_id: int) -> list[Order]:
        """Return the working orders that one client placed."""
        return [each for each in self.orders if each.client_id == client_id]

    def find_order(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order, working or done, by its id."""
        working = self.working.get((client_id, order_id))
        return working.order if working is not None else self._find_completed(client_id, order_id)

    def next_order_id(self, client_id: int) -> int:
        """Return the first order id that this client has never used."""
        return self.last_order_ids.get(client_id, 0) + 1

    def pnl(self, account_id: str, now: datetime) -> tuple[Decimal, Decimal, Decimal]:
        """Return the daily, unrealized and realized profit of an account (KeyError if there is none of this id)."""
        self._run_until(now)
        profit = self.accounts[account_id].profit()
        return profit.daily, profit.unrealized, profit.realized

    def pnl_single(
        self, account_id: str, con_id: int, now: datetime
    ) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
        """Return the position in one contract, its daily, unrealized and realized profit, and its value."""
        self._run_until(now)
        account = self.accounts[account_id]
        held = account.positions.get(con_id)
        profit = account.profit_of(con_id)
        quantity, value = (held.quantity, account.worth(held)) if held is not None else (ZERO, ZERO)
        return quantity, profit.daily, profit.unrealized, profit.realized, value

    # What clients ask for.

    def advance(self, now: datetime) -> list[events.Event]:
        """Do everything that is due until a moment; return what happened, in order of time."""
        self._run_until(now)
        return self._drain()

    def next_due(self, now: datetime) -> datetime | None:
        """Return when ``advance`` has something to do that is not the next market step."""
        dues = [each for each in self._dues() if each > now]
        return min(dues, default=None)

    def place(self, client_id: int, order: Order, now: datetime) -> list[events.Event]:
        """Place an order, or change the client's order that has its id; return what happened until now.

        The order's contract may be described as a client does. A what-if order only answers with its impact.
        """
        self._run_until(now)
        try:
            self._place(replace(validation.normalized(order), client_id=client_id))
        except OrderRefusedError as refusal:
            self._tell(events.OrderError(client_id, order.order_id, refusal.code, refusal.text))
        self._run_until(now)
        return self._drain()

    def cancel(self, client_id: int, order_id: int, now: datetime) -> list[events.Event]:
        """Cancel a client's order and, if it has not been filled, its children."""
        self._run_until(now)
        working = self.working.get((client_id, order_id))
        if working is not None and working.cancelled_at is None:
            self._cancel_for_trader(working)
        else:
            code, text = self._uncancellable(client_id, order_id)
            self._tell(events.OrderError(client_id, order_id, code, text))
        return self._drain()

    def global_cancel(self, client_id: int, now: datetime) -> list[events.Event]:
        """Cancel the orders of all clients, as the request of any one of them does."""
        self._run_until(now)
        for working in list(self.working.values()):
            ours = working.transmitted or working.order.client_id == client_id
            if working.key in self.working and working.cancelled_at is None and ours:
                self._cancel_for_trader(working)
        return self._drain()

    def hold_cancels(self, now: datetime, *, held: bool) -> list[events.Event]:
        """Leave cancels pending for ever from now on, the order PendingCancel and at work; or let all of those
        take effect, and new ones too."""
        self._run_until(now)
        self.cancels_held = held
        stuck = [each for each in self.working.values() if each.cancelled_at == NEVER]
        for each in [] if held else stuck:
            if each.key in self.working:
                self._cancel(each, BY_TRADER)
        return self._drain()

    def split(self, con_id: int, new: int, old: int, now: datetime) -> list[events.Event]:
        """Split a stock: its price, the options on it, and what is held of both. Raises ValueError for what is none."""
        self._run_until(now)
        stock = self.known_instrument(con_id)
        if stock.contract.sec_type != "STK":
            raise ValueError(f"{stock.contract.local_symbol} is no stock; only stocks are split")
        for each in self._held():
            self.known_instrument(each)  # what is held must be among the options that the catalog knows
        plain = Split(con_id, new, old)
        options = [plain.option(option.contract) for option in self.catalog.options_known(con_id)]
        split = replace(plain, adjusted=options)
        contracts = {con_id: stock.contract} | {option.con_id: option for option in options}
        for working in [each for each in self.working.values() if contracts.keys() & each.contract_ids]:
            if working.key in self.working:
                self._cancel(working, f"{stock.contract.symbol} was split")
        self.catalog.apply_split(split)
        self.market.split(split)
        for account in self._accounts.values():
            for held_id in sorted(contracts.keys() & account.positions.keys()):
                before = account.positions[held_id]
                held, rest = split.holding(before, contracts[held_id])
                account.hold(held)
                account.cash += rest * held.market_price * held.contract.unit_multiplier
                self._tell(events.PositionChanged(account.account_id, held))
            self._tell(events.AccountChanged(account.account_id))
        self.forget_derived(market_changed=True)
        return self._drain()

    def adopt(self, order: Order) -> None:
        """Set up an order that is at work already, with its ids, for the start of a scenario."""
        self.working[order.client_id, order.order_id] = WorkingOrder(
            order,
            self.known_instrument(order.contract.con_id),
            self.numbers.next_sequence(),
            arrives=EPOCH,
            arrived=True,
        )
        self._use_id(order.client_id, order.order_id)
        self._known_agenda = None

    def forget_derived(self, *, market_changed: bool) -> None:
        """Recompute everything that follows from the state, after the state was replaced.

        ``market_changed`` means that something was set in the market that orders have not met yet.
        """
        self._sessions.clear()
        self._known_agenda = None
        self._refreshed = None
        self.seen_revision = self.market.revision - int(market_changed)

    # Placing, changing, ending orders.

    def _place(self, order: Order) -> None:
        instrument = validation.resolve_instrument(self.catalog, order.contract)
        exchange = order.contract.exchange
        order = replace(
            order,
            account=validation.choose_account(order.account, self._accounts),
            contract=replace(instrument.contract, exchange=exchange),
        )
        if order.cash_quantity and instrument.contract.sec_type == "CASH":
            validation.check_cash_quantity(order)
            order = replace(order, quantity=self._quantity_for(order))
        validation.check_terms(order, instrument)
        validation.check_conditions(order, instrument, self.catalog, self._moment)
        known = self.working.get((order.client_id, order.order_id))
        if order.what_if:
            self._preview(order, instrument)
        elif known is not None:
            self._change(known, order)
        else:
            self._add(order, instrument)

    def _quantity_for(self, order: Order) -> Decimal:
        """How much of a pair's first currency an amount of the second pays for, in whole units."""
        quote = self.market.quote(order.contract.con_id, self._moment)
        price = order.limit_price or (quote.ask if order.action == "BUY" else quote.bid) or quote.mark
        if price is None or price <= 0:
            return order.quantity
        return order.cash_quantity // price

    def _add(self, order: Order, instrument: Instrument) -> None:
        if order.order_id <= self.last_order_ids.get(order.client_id, 0):
            done = self._find_completed(order.client_id, order.order_id)
            if done is not None and done.status is OrderStatus.FILLED:
                raise OrderRefusedError(104, "Cannot modify a filled order.")
            raise OrderRefusedError(103, "Duplicate order id")
        parent = self._check_parent(order)
        begins, ends = self._times_of(order, instrument)
        self._use_id(order.client_id, order.order_id)
        added = WorkingOrder(
            replace(
                order,
                perm_id=self.numbers.next_perm_id(),
                parent_perm_id=parent.perm_id if parent is not None else 0,
                status=OrderStatus.PENDING_SUBMIT,
                submitted_at=self._moment,
                filled=ZERO,
                average_fill_price=ZERO,
            ),
            instrument,
            self.numbers.next_sequence(),
            arrives=self._moment,
            begins=begins,
            ends=ends,
            transmitted=False,
        )
        self.working[added.key] = added
        if order.transmit:
            self._transmit(added)

    def _check_parent(self, order: Order) -> Order | None:
        if not order.parent_id:
            return None
        parent = self.find_order(order.client_id, order.parent_id)
        if parent is None or (parent.status in FINAL and parent.status is not OrderStatus.FILLED):
            raise OrderRefusedError(135, f"Can't find order with id = {order.parent_id}")
        return parent

    def _times_of(self, order: Order, instrument: Instrument) -> tuple[datetime | None, datetime | None]:
        """When an order may start to trade, and when it ends by itself."""
        begins = validation.good_after(order, self._moment, instrument)
        ends = validation.good_till(order, self._moment, instrument)
        start = max(self._moment, begins) if begins is not None else self._moment
        expiry = self.hours.expiry_moment(instrument)
        if expiry is not None and expiry <= start:
            return begins, expiry
        if order.time_in_force == AT_OPENING:
            begins = self.hours.next_opening(instrument, start + self.settings.latency)
            return begins, begins + STEP
        if order.time_in_force == "DAY":
            outside = order.outside_rth and order.order_type not in ON_CLOSE
            ends = self.hours.day_end(instrument, start, outside_rth=outside)
        return begins, min((each for each in (ends, expiry) if each is not None), default=None)

    def _transmit(self, last: WorkingOrder) -> None:
        """Transmit an order and those of its family that were held back: parents first."""
        family = [last]
        while (parent := self.working.get((last.order.client_id, family[0].order.parent_id))) is not None:
            family.insert(0, parent)
        for each in self.working.values():
            if not each.transmitted and each not in family and any(contingency.is_child(each, one) for one in family):
                family.append(each)
        self._group_children(family)
        for each in sorted(family, key=lambda member: member.sequence):
            if each.key in self.working and not each.transmitted:
                self._accept(each)

    def _group_children(self, family: list[WorkingOrder]) -> None:
        """Create an OCA group of one parent's children; those that are at work already are reported again."""
        for child in [each for each in family if each.order.parent_id]:
            siblings = [each for each in self.working.values() if contingency.are_siblings(each, child)]
            for each in [child, *siblings] if siblings else []:
                if not each.order.oca_group and (each.transmitted or each in family):
                    order = each.change(oca_group=str(child.order.parent_perm_id), oca_type=3)
                    if each.transmitted:
                        self._tell(events.OrderOpened(order))

    def _accept(self, accepted: WorkingOrder) -> None:
        accepted.transmitted = True
        accepted.arrives = self._moment + self.settings.latency
        try:
            self._check_acceptable(accepted.order, accepted.instrument, accepted)
        except OrderRejectedError as rejection:
            self._reject(accepted, rejection)
            return
        accepted.change(transmit=True)
        self._announce(accepted)
        warning = validation.odd_lot_warning(accepted.order)
        if warning:
            self._tell(events.OrderError(accepted.order.client_id, accepted.order.order_id, 399, warning))
        self._warn_if_closed(accepted)

    def _announce(self, working: WorkingOrder) -> None:
        """Report an order that was accepted or changed, the way the gateway does: PreSubmitted first, and twice."""
        status, why_held = self._standing(working)
        first = OrderStatus.PRE_SUBMITTED
        if working.order.order_type == "MKT" and not working.buys and status is OrderStatus.SUBMITTED:
            first = status
        for each in (first, status) if first is OrderStatus.PRE_SUBMITTED else (status,):
            order = working.change(status=each, why_held=why_held)
            self._tell(events.OrderOpened(order), events.OrderStatusChanged(order))

    def _check_acceptable(self, order: Order, instrument: Instrument, known: WorkingOrder | None) -> None:
        """Reject what the brokerage does not trade for this account."""
        account = self.accounts[order.account]
        expiry = self.hours.expiry_moment(instrument)
        if expiry is not None and expiry <= self._moment:
            raise OrderRejectedError("The contract has expired.")
        currency = instrument.contract.currency
        if currency != account.currency and instrument.contract.sec_type != "CASH":
            raise OrderRejectedError(
                f"The account is kept in {account.currency}, the contract is traded in {currency}."
            )
        others = [*self.completed_orders, *(each.order for each in self.working.values())] if order.oca_group else []
        if any(contingency.is_spent(each, order) for each in others):
            raise OrderRejectedError(f"The OCA group {order.oca_group} has been filled.")
        if known is not None and self._waits_for_parent(known):
            return
        self._rate_currencies(account, instrument)
        if _only_closes(order, instrument, account):
            return
        impact = self._impact(order, instrument)
        if impact.equity_with_loan_after < impact.initial_margin_after:
            raise OrderRejectedError(
                "Your account's equity with loan value does not cover the initial margin. "
                f"Equity with loan value [{impact.equity_with_loan_after:.2f} {account.currency}], "
                f"initial margin [{impact.initial_margin_after:.2f} {account.currency}]."
            )

    def _warn_if_closed(self, working: WorkingOrder) -> None:
        order, instrument = working.order, working.instrument
        if self._is_open(working) or self._waits_for_parent(working):
            return
        opening = self._moment
        while not self.hours.is_open(instrument, opening, outside_rth=order.outside_rth):
            opening = self.hours.next_change(instrument, opening)
        contract = instrument.contract
        local = opening.astimezone(zone_of(instrument))
        self._tell(
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
            known.sequence = self.numbers.next_sequence()
        known.arrives, known.arrived, known.slips = self._moment + self.settings.latency, False, 0
        if not after.remaining:
            self._end(known, OrderStatus.FILLED, f"Filled Size: {after.filled}")
            self._release_children(known)
            return
        if self._standing(known)[0] is OrderStatus.PRE_SUBMITTED:
            self._announce(known)
        else:
            self._report(known)

    def _report(self, working: WorkingOrder) -> None:
        """Report an order as it is now."""
        status, why_held = self._standing(working)
        order = working.change(status=status, why_held=why_held)
        self._tell(events.OrderOpened(order), events.OrderStatusChanged(order))

    def _cancel_for_trader(self, working: WorkingOrder) -> None:
        if working.transmitted:
            self._tell(events.OrderStatusChanged(working.change(status=OrderStatus.PENDING_CANCEL, why_held="")))
        if working.transmitted and self.cancels_held:
            working.cancelled_at = NEVER
        elif working.transmitted and self.settings.cancel_latency:
            working.cancelled_at = self._moment + self.settings.cancel_latency
        else:
            self._cancel(working, BY_TRADER)

    def _cancel(self, working: WorkingOrder, reason: str) -> None:
        """End an order as cancelled, with what depends on it."""
        self._end(working, OrderStatus.CANCELLED, reason)
        text = "Order Canceled - reason:" + ("" if reason == BY_TRADER else reason)
        self._tell(events.OrderError(working.order.client_id, working.order.order_id, 202, text))
        self._cancel_children(working, "The parent order was cancelled")

    def _cancel_children(self, parent: WorkingOrder, reason: str) -> None:
        for child in [each for each in self.working.values() if contingency.is_child(each, parent)]:
            if child.key in self.working:
                self._cancel(child, reason)

    def _reject(self, working: WorkingOrder, rejection: OrderRejectedError) -> None:
        order = working.order
        self._tell(events.OrderError(order.client_id, order.order_id, rejection.code, rejection.text))
        self._end(working, OrderStatus.INACTIVE, rejection.text)
        self._cancel_children(working, "The parent order was rejected")

    def _end(self, working: WorkingOrder, status: OrderStatus, reason: str) -> None:
        del self.working[working.key]
        order = working.change(status=status, why_held="", completed_at=self._moment, completed_reason=reason)
        self.completed_orders.append(order)
        self._tell(events.OrderStatusChanged(order))

    def _uncancellable(self, client_id: int, order_id: int) -> tuple[int, str]:
        done = self.find_order(client_id, order_id)
        if done is None:
            return 10147, f"OrderId {order_id} that needs to be cancelled is not found."
        if done.status is OrderStatus.INACTIVE:
            return 161, f"Cancel attempted when order is not in a cancellable state. Order permId = {done.perm_id}"
        return (
            10148,
            f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {done.status.value}.",
        )

    # Time.

    def _run_until(self, now: datetime) -> None:
        if self.now is None:
            self.now = now
            self.day = self._today
            self.catalog.roll(self.day)
            self._refresh()
            for account in self._accounts.values():
                account.begin_day()
        now = max(now, self.now)
        start = self.now
        while (moment := self._next_moment(start)) <= now:
            due = moment >= self._agenda.due
            self.now = max(self.now, moment)
            arriving = self._do_due() if due else set()
            on_step = not (self.now - EPOCH) % STEP
            if on_step or arriving:
                self._check_conditions()
                self._match(None if on_step else arriving)
        self.now = now
        if self.market.revision != self.seen_revision:
            self.seen_revision = self.market.revision
            self._check_conditions()
            self._match()

    def _check_conditions(self) -> None:
        """Set orders to work, or cancel them, whose conditions are met now."""
        for each in self._agenda.conditional:
            if self.working.get(each.key) is not each or self._waits_for_parent(each):
                continue
            if not conditions.are_met(each.order, self._present(each)):
                continue
            each.conditions_met = True
            if each.order.conditions_cancel:
                self._cancel(each, "The conditions of the order were met")
            else:
                self._known_agenda = None
                self._restate(each)

    def _present(self, working: WorkingOrder) -> conditions.Present:
        account, now = self.accounts[working.order.account], self._moment

        def cushion() -> Decimal | None:
            net = account.net_liquidation
            return (net - account.margin().maintenance) / net * 100 if net > 0 else None

        return conditions.Present(
            now,
            lambda con_id: (self.known_instrument(con_id).contract.sec_type, self.market.quote(con_id, now)),
            lambda text: validation.parse_moment(text, now, working.instrument.time_zone),
            cushion,
            self.executions,
        )

    def _next_moment(self, start: datetime) -> datetime:
        """The next moment at which something is to be done: something due, or a market step for orders at work."""
        now, agenda = self._moment, self._agenda
        if not agenda.books and not agenda.conditional:
            return agenda.due
        step = STEP if now - start < self.settings.fine_span else COARSE_STEP
        return min(agenda.due, EPOCH + ((now - EPOCH) // step + 1) * step)

    @property
    def _agenda(self) -> Agenda:
        """What is to be done next, as it follows from the orders; recomputed after each event."""
        if self._known_agenda is None:
            books: dict[int, Book] = {}
            conditional = []
            for each in self.working.values():
                if each.order.conditions and not each.conditions_met and each.transmitted and each.arrived:
                    conditional.append(each)
                if each.arrived and not each.waits_for_close and self._is_at_work(each):
                    book = books.get(each.con_id)
                    if book is None:
                        book = books[each.con_id] = Book(each.con_id)
                    book.add(each)
            for book in books.values():
                book.buys.sort(key=lambda working: working.priority)
                book.sells.sort(key=lambda working: working.priority)
            self._known_agenda = Agenda(min(self._dues()), dict(sorted(books.items())), tuple(conditional))
        return self._known_agenda

    def _dues(self) -> Iterable[datetime]:
        """When something is due besides market steps, the day's end always among it."""
        now = self._moment
        yield self._midnight()
        by_contract: dict[int, WorkingOrder] = {}
        for working in self.working.values():
            if not working.transmitted:
                continue
            by_contract[working.con_id] = working
            if not working.arrived:
                yield working.arrives
            if working.begins is not None and working.begins > now:
                yield working.begins
            if working.ends is not None:
                yield working.ends
            if working.cancelled_at is not None:
                yield working.cancelled_at
        for working in by_contract.values():
            yield self._session_of(working).until
        for con_id in self._held():
            instrument = self.catalog.get(con_id)
            expiry = self.hours.expiry_moment(instrument) if instrument is not None else None
            if expiry is not None:
                yield expiry

    def _do_due(self) -> set[WorkingOrder]:
        """Handle what is due now: endings, expiries, the new day, openings; return the orders that arrive."""
        now = self._moment
        for each in list(self.working.values()):
            if each.cancelled_at is not None and each.cancelled_at <= now and each.key in self.working:
                self._cancel(each, BY_TRADER)
            elif each.ends is not None and each.ends <= now and each.key in self.working:
                self._end_of_time(each)
        for con_id in sorted(self._held()):
            instrument = self.catalog.get(con_id)
            expiry = self.hours.expiry_moment(instrument) if instrument is not None else None
            if instrument is not None and expiry is not None and expiry <= now:
                self._expire(instrument, expiry)
        if now >= self._midnight():
            self._begin_day()
        arriving = set()
        for each in list(self.working.values()):
            if each.transmitted and not each.arrived and each.arrives <= now:
                each.arrived = True
                arriving.add(each)
            self._restate(each)
        self._known_agenda = None
        return arriving

    def _begin_day(self) -> None:
        self.day = self._today
        self.catalog.roll(self.day)
        self._refresh()
        self.executions.clear()
        self.completed_orders.clear()
        self.bulletins.clear()
        for account in self._accounts.values():
            account.begin_day()
            self._tell(events.AccountChanged(account.account_id))

    def _end_of_time(self, working: WorkingOrder) -> None:
        if working.order.order_type in ON_CLOSE and working.arrived and not self._waits_for_parent(working):
            quote = self.market.quote(working.con_id, (working.ends or self._moment) - STEP)
            fill = matching.auction_fill(working, quote)
            if fill is not None:
                self._fill(working, fill)
                return
        self._cancel(working, "The order's time in force has ended")

    def _expire(self, instrument: Instrument, expiry: datetime) -> None:
        """Convert every holding of an expired contract into what it is worth."""
        underlying = instrument.underlying
        if underlying is None:
            raise ValueError(f"{instrument.contract.local_symbol} expires but names no underlying")
        quote = self.market.quote(underlying.con_id, expiry)
        price = quote.last or quote.mark or quote.close or instrument.contract.strike
        for account in self.accounts.values():
            held = account.positions.get(instrument.contract.con_id)
            if held is None:
                continue
            for trade in settlement.settle(held, underlying, price):
                position = account.trade(trade.contract, trade.quantity, trade.price, ZERO)
                self._refreshed = None
                self._tell(events.PositionChanged(account.account_id, position))
            self._tell(events.AccountChanged(account.account_id))

    def _standing(self, working: WorkingOrder) -> tuple[OrderStatus, str]:
        """The status of an order that is not done, and what holds it."""
        held, why = True, ""
        if working.cancelled_at is not None:
            return OrderStatus.PENDING_CANCEL, why
        if self._waits_for_parent(working):
            why = "child"
        elif working.waits_for_trigger:
            why = "trigger"
        else:
            held = not self._may_trade(working)
        return (OrderStatus.PRE_SUBMITTED if held else OrderStatus.SUBMITTED), why

    def _restate(self, working: WorkingOrder) -> None:
        """Report an order's status if it has changed."""
        if not working.transmitted or self.working.get(working.key) is not working:
            return
        if self._standing(working) != (working.order.status, working.order.why_held):
            self._report(working)

    def _waits_for_parent(self, working: WorkingOrder) -> bool:
        order = working.order
        return order.parent_id != 0 and (order.client_id, order.parent_id) in self.working

    def _may_trade(self, working: WorkingOrder) -> bool:
        """Whether the market may fill or trigger an order now."""
        return (
            working.transmitted
            and not self._waits_for_parent(working)
            and not (working.order.conditions and working.waits_for_conditions)
            and (working.begins is None or working.begins <= self._moment)
            and self._is_open(working)
        )

    def _is_open(self, working: WorkingOrder) -> bool:
        session = self._session_of(working)
        return session.extended if working.order.outside_rth else session.regular

    def _session_of(self, working: WorkingOrder) -> Session:
        """The instrument's session at this moment, cached between two changes."""
        now = self._moment
        session = self._sessions.get(working.con_id)
        if session is None or not session.since <= now < session.until:
            session = self._sessions[working.con_id] = Session(
                self.hours.is_open(working.instrument, now, outside_rth=False),
                self.hours.is_open(working.instrument, now, outside_rth=True),
                now,
                self.hours.next_change(working.instrument, now),
            )
        return session

    # The market.

    def _match(self, only: set[WorkingOrder] | None = None) -> None:
        """Match orders that have arrived against the market as it is now; by default all of them."""
        for con_id in list(self._agenda.books):
            book = self._book(con_id)
            if not self._stirs(book):
                continue
            quote = self.market.quote(con_id, self._moment)
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
                    if (only is None or each in only) and self._is_at_work(each):
                        self._trade(each, quote)
            for each in book.at_once:
                if (only is None or each in only) and self._is_at_work(each):
                    self._end_at_once(each)

    def _trade_at_opening(self, working: WorkingOrder, quote: Quote) -> None:
        if self._is_at_work(working) and (fill := matching.auction_fill(working, quote)) is not None:
            self._fill(working, fill)

    def _end_at_once(self, working: WorkingOrder) -> None:
        """End an order that could not be filled at once: IOC as cancelled, FOK as inactive."""
        if working.order.time_in_force == "FOK":
            self._tell(events.OrderOpened(working.change(status=OrderStatus.INACTIVE, why_held="")))
            self._end(working, OrderStatus.INACTIVE, NOT_AT_ONCE)
            self._cancel_children(working, "The parent order was not filled")
            return
        self._tell(events.OrderStatusChanged(working.change(status=OrderStatus.PENDING_CANCEL, why_held="")))
        self._cancel(working, NOT_AT_ONCE)

    def _stirs(self, book: Book) -> bool:
        """Whether the market may affect the orders of a book now: a check of its prices only."""
        if book.at_once or book.pegged or book.at_opening:
            return True
        point = self.market.point(book.con_id, step_at(self._moment))
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
            if (only is None or each in only) and self._is_at_work(each):
                self._trade(each, quote)

    def _book(self, con_id: int) -> Book:
        return self._agenda.books.get(con_id) or Book(con_id)

    def _is_at_work(self, working: WorkingOrder) -> bool:
        return self.working.get(working.key) is working and (
            self._may_trade(working)
            or (
                working.order.time_in_force in AT_ONCE
                and not self._waits_for_parent(working)
                and not working.waits_for_conditions
            )
        )

    def _watch(self, working: WorkingOrder, quote: Quote) -> None:
        """Move a trailing stop, and trigger the order if its price is reached."""
        if not working.waits_for_trigger or not self._may_trade(working):
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
            self._restate(working)

    def _trade(self, working: WorkingOrder, quote: Quote) -> None:
        """Fill an order as far as the market reaches."""
        if not self._may_trade(working):
            return
        step = (self._moment - EPOCH) // STEP
        left = self._left(working, quote, step)
        price = quote.ask if working.buys else quote.bid
        increment = increment_at(working.instrument, price) if price is not None else working.instrument.min_tick
        if working.is_pegged:
            fill = matching.pegged_fill(working, quote, left)
        else:
            fill = matching.fill_of(working, quote, left, increment, self.settings.slippage)
        if fill is None:
            return
        if self.settings.random_partials and working.order.time_in_force != "FOK" and not working.order.all_or_none:
            fill = self._share_of(fill, working.instrument.size_increment)
        for con_id, own, buys, ratio in self._taken_from(working, quote):
            self.shown.take(con_id, own, fill.quantity * ratio, buys=buys, step=step)
        working.slips += 1
        self._fill(working, fill)

    def _taken_from(self, working: WorkingOrder, quote: Quote) -> list[tuple[int, Quote, bool, int]]:
        """The quotes whose size a fill takes: their contract and side, and how many of each for one of the order."""
        if not working.instrument.legs:
            return [(working.con_id, quote, working.buys, 1)]
        return [
            (con_id, self.market.quote(con_id, self._moment), (leg.ratio > 0) == working.buys, abs(leg.ratio))
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
        share = Decimal(1 + self.numbers.drawn(f"partial {self.numbers.counters.executions}") % 10) / 10
        return replace(fill, quantity=max(fill.quantity * share // unit * unit, min(unit, fill.quantity)))

    def _fill(self, working: WorkingOrder, fill: Fill) -> None:
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
        exec_id = self.numbers.next_exec_id()
        own: list[Execution] = []
        if working.instrument.legs:
            whole = _Part(working.instrument, fill.quantity, fill.price, filled, order.average_fill_price, working.buys)
            own = [self._execution(order, whole, exec_id, ZERO, None)]
        positions: list[Position] = []
        charged: list[Execution] = []
        for number, part in enumerate(parts):
            position, realized, commission = self._book_part(order, part)
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
            self._tell(events.OrderFilled(order, execution))
        self._tell(events.OrderOpened(order))
        if done:
            self._end(working, OrderStatus.FILLED, f"Filled Size: {filled}")
        else:
            self._tell(events.OrderStatusChanged(order))
        self._tell(*(events.CommissionCharged(each) for each in charged))
        self._tell(*(events.PositionChanged(order.account, each) for each in positions))
        self._tell(events.AccountChanged(order.account))
        self._settle_group(working, fill.quantity, before.remaining)
        if done:
            self._release_children(working)

    def _parts(self, working: WorkingOrder, fill: Fill) -> list[_Part]:
        """What a fill trades: the order's contract, or each leg of its combination."""
        before, legs = working.order, working.instrument.legs
        if not legs:
            return [
                _part(
                    working.instrument,
                    fill.quantity,
                    fill.price,
                    before.filled,
                    before.average_fill_price,
                    working.buys,
                )
            ]
        quotes = [self.market.quote(each.instrument.contract.con_id, self._moment) for each in legs]
        prices = combination.leg_prices(legs, quotes, buys=working.buys)
        averages = before.leg_averages or (ZERO,) * len(legs)
        return [
            _part(
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

    def _book_part(self, order: Order, part: _Part) -> tuple[Position, Decimal | None, Decimal]:
        """Trade one contract in the order's account: the holding after it, what it realized and cost."""
        account = self.accounts[order.account]
        self._rate_currencies(account, part.instrument)
        contract = part.instrument.contract
        commission = self.settings.commissions.of_fill(
            contract, part.filled - part.quantity, part.average_before, part.quantity, part.price
        )
        held = account.positions.get(contract.con_id)
        signed = part.quantity if part.buys else -part.quantity
        closes = held is not None and held.quantity * signed < 0
        realized_before = account.realized.get(contract.con_id, ZERO)
        position = account.trade(contract, signed, part.price, commission)
        self._refreshed = None
        return position, position.realized_pnl - realized_before if closes else None, commission

    def _execution(
        self, order: Order, part: _Part, exec_id: str, commission: Decimal, realized: Decimal | None
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
            time=self._moment,
            exchange=venue,
            side="BOT" if part.buys else "SLD",
            shares=part.quantity,
            price=part.price,
            cumulative_quantity=part.filled,
            average_price=part.average,
            commission=commission,
            realized_pnl=realized,
            order_ref=order.order_ref,
            commission_currency=self._accounts[order.account].currency,
        )

    def _release_children(self, parent: WorkingOrder) -> None:
        """Set the children of a filled order to work."""
        for child in [each for each in self.working.values() if contingency.is_child(each, parent)]:
            self._restate(child)

    def _settle_group(self, filled: WorkingOrder, quantity: Decimal, remaining_before: Decimal) -> None:
        """Cancel or reduce the other orders of a filled order's OCA group."""
        if not filled.order.oca_group:
            return
        group = [each for each in self.working.values() if contingency.share_a_group(each, filled)]
        for other in group:
            if self.working.get(other.key) is not other:
                continue
            left = contingency.quantity_left(other, quantity, remaining_before)
            if filled.order.oca_type == contingency.CANCEL_WITH_BLOCK or not left:
                self._cancel(other, "Another order of the OCA group was filled")
            elif left < other.order.remaining:
                order = other.change(quantity=other.order.filled + left)
                self._tell(events.OrderOpened(order), events.OrderStatusChanged(order))

    def _refresh(self) -> None:
        """Update the prices of holdings to this moment."""
        state = ((self._moment - EPOCH) // STEP, self.market.revision)
        if state != self._refreshed:
            self._refreshed = state
            revalue(self._accounts.values(), self.catalog, self.market, self._moment)

    # What an order would do.

    def _preview(self, order: Order, instrument: Instrument) -> None:
        impact = self._impact(order, instrument)
        shown = replace(order, status=OrderStatus.PRE_SUBMITTED)
        self._tell(events.OrderPreviewed(shown, impact))

    def _impact(self, order: Order, instrument: Instrument) -> OrderImpact:
        account = self.accounts[order.account]
        self._rate_currencies(account, instrument)
        return impact_of(order, instrument, account, self.market, self.settings.commissions, self._moment)

    def _rate_currencies(self, account: Account, instrument: Instrument) -> None:
        """Update an account's exchange rates for the currencies of a pair."""
        contract = instrument.contract
        if contract.sec_type == "CASH":
            both = (contract.symbol, contract.currency)
            revalue_currencies(account, both, self.catalog, self.market, self._moment)

    # Small things.

    @property
    def _moment(self) -> datetime:
        if self.now is None:
            raise RuntimeError("the brokerage has not been told the time yet; call advance first")
        return self.now

    @property
    def _today(self) -> date:
        return self._moment.astimezone(NEW_YORK).date()

    def _midnight(self) -> datetime:
        return datetime.combine(self.day + timedelta(days=1), time(0), NEW_YORK).astimezone(UTC)

    def _held(self) -> set[int]:
        return {con_id for account in self._accounts.values() for con_id in account.positions}

    def known_instrument(self, con_id: int) -> Instrument:
        """Return the contract of an id, expired ones too. Raises ValueError if there is none."""
        instrument = self.catalog.get(con_id)
        if instrument is None:
            raise ValueError(f"contract {con_id} is not in the catalog")
        return instrument

    def _find_completed(self, client_id: int, order_id: int) -> Order | None:
        for each in reversed(self.completed_orders):
            if (each.client_id, each.order_id) == (client_id, order_id):
                return each
        return None

    def _use_id(self, client_id: int, order_id: int) -> None:
        self.last_order_ids[client_id] = max(self.last_order_ids.get(client_id, 0), order_id)

    def _tell(self, *told: events.Event) -> None:
        for event in told:
            if isinstance(event, events.OrderOpened | events.OrderStatusChanged):
                self._known_agenda = None
            self._pending.append(event)
            line = journal_line(event, self._moment)
            self.journal.append(line)
            if self.on_line is not None:
                self.on_line(line)

    def _drain(self) -> list[events.Event]:
        told, self._pending = self._pending, []
        return told
