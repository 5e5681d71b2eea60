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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from gateway_simulator.trading import events, matching, validation
from gateway_simulator.trading.account_book import AccountBook
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.condition_watch import ConditionWatch
from gateway_simulator.trading.fills import Fills
from gateway_simulator.trading.market import STEP, Market
from gateway_simulator.trading.matcher import Matcher
from gateway_simulator.trading.matching import ShownSizes
from gateway_simulator.trading.model import Bulletin, Execution, ExecutionFilter, Instrument, Order
from gateway_simulator.trading.numbers import Numbers
from gateway_simulator.trading.order_book import BY_TRADER, OrderBook
from gateway_simulator.trading.placing import Placing
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.schedule import Schedule
from gateway_simulator.trading.splits import Split
from gateway_simulator.trading.trading_time import EPOCH, NEVER, TradingTime
from gateway_simulator.trading.tradinghours import TradingHours
from gateway_simulator.trading.validation import OrderRefusedError
from gateway_simulator.trading.working import ON_CLOSE, WorkingOrder


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
        self.settings = settings = settings or BrokerageSettings()
        self.bulletins: list[Bulletin] = []
        self.numbers = Numbers(seed)
        self.seen_revision = market.revision
        self._time = time = TradingTime()
        self._reports = reports = Reports(time, self._on_order)
        self._accounts = accounts = AccountBook(catalog, market, settings.commissions, time, reports)
        self._orders = orders = OrderBook(hours, settings.cancel_latency, time, reports)
        self._schedule = schedule = Schedule(catalog, hours, settings.fine_span, time, orders, accounts)
        self._fills = fills = Fills(market, self.numbers, time, orders, accounts, reports)
        self._conditions = ConditionWatch(catalog, market, time, orders, accounts, schedule, fills)
        self._matcher = Matcher(
            market,
            self.numbers,
            slippage=settings.slippage,
            random_partials=settings.random_partials,
            time=time,
            orders=orders,
            schedule=schedule,
            fills=fills,
            reports=reports,
        )
        self._placing = Placing(
            catalog,
            market,
            hours,
            self.numbers,
            latency=settings.latency,
            time=time,
            orders=orders,
            accounts=accounts,
            reports=reports,
        )

    def _on_order(self) -> None:
        self._schedule.forget()

    # What there is.

    @property
    def accounts(self) -> dict[str, Account]:
        """The accounts by name, with their holdings at the prices of this moment."""
        return self._accounts.valued

    @accounts.setter
    def accounts(self, accounts: dict[str, Account]) -> None:
        self._accounts.by_id = accounts

    @property
    def orders(self) -> list[Order]:
        """The working orders of all clients in their current state, oldest first."""
        return self._orders.transmitted

    @property
    def working(self) -> dict[tuple[int, int], WorkingOrder]:
        """The working orders by client and id, those that are not transmitted too."""
        return self._orders.working

    @working.setter
    def working(self, value: dict[tuple[int, int], WorkingOrder]) -> None:
        self._orders.working = value

    @property
    def completed_orders(self) -> list[Order]:
        """The day's orders that are done."""
        return self._orders.completed

    @completed_orders.setter
    def completed_orders(self, value: list[Order]) -> None:
        self._orders.completed = value

    @property
    def last_order_ids(self) -> dict[int, int]:
        """The highest order id that each client has used."""
        return self._orders.last_ids

    @last_order_ids.setter
    def last_order_ids(self, value: dict[int, int]) -> None:
        self._orders.last_ids = value

    @property
    def cancels_held(self) -> bool:
        """Whether a cancel stays on its way for ever."""
        return self._orders.cancels_held

    @cancels_held.setter
    def cancels_held(self, value: bool) -> None:
        self._orders.cancels_held = value

    @property
    def executions(self) -> list[Execution]:
        """The day's executions."""
        return self._fills.executions

    @executions.setter
    def executions(self, value: list[Execution]) -> None:
        self._fills.executions = value

    @property
    def shown(self) -> ShownSizes:
        """What fills have left of the sizes shown."""
        return self._matcher.shown

    @shown.setter
    def shown(self, value: ShownSizes) -> None:
        self._matcher.shown = value

    @property
    def now(self) -> datetime | None:
        """The present; None before the first moment."""
        return self._time.now

    @now.setter
    def now(self, value: datetime | None) -> None:
        self._time.now = value

    @property
    def day(self) -> date:
        """The day that has started, New York's."""
        return self._time.day

    @day.setter
    def day(self, value: date) -> None:
        self._time.day = value

    @property
    def journal(self) -> deque[str]:
        """The last lines of the journal."""
        return self._reports.journal

    @journal.setter
    def journal(self, value: deque[str]) -> None:
        self._reports.journal = value

    @property
    def on_line(self) -> Callable[[str], None] | None:
        """Called with each line of the journal."""
        return self._reports.on_line

    @on_line.setter
    def on_line(self, value: Callable[[str], None] | None) -> None:
        self._reports.on_line = value

    def add_account(self, account: Account) -> None:
        """Add an account. Raises ValueError if there is one of this name."""
        self._accounts.add(account)

    def find_executions(self, wanted: ExecutionFilter, now: datetime | None = None) -> list[Execution]:
        """Return the day's executions that a filter admits, oldest first."""
        if now is not None:
            self._run_until(now)
        return [each for each in self._fills.executions if wanted.admits(each)]

    def open_orders_of(self, client_id: int) -> list[Order]:
        """Return the working orders that one client placed."""
        return [each for each in self.orders if each.client_id == client_id]

    def find_order(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order, working or done, by its id."""
        return self._orders.find(client_id, order_id)

    def next_order_id(self, client_id: int) -> int:
        """Return the first order id that this client has never used."""
        return self._orders.last_ids.get(client_id, 0) + 1

    def pnl(self, account_id: str, now: datetime) -> tuple[Decimal, Decimal, Decimal]:
        """Return the daily, unrealized and realized profit of an account (KeyError if there is none of this id)."""
        self._run_until(now)
        return self._accounts.pnl(account_id)

    def pnl_single(
        self, account_id: str, con_id: int, now: datetime
    ) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
        """Return the position in one contract, its daily, unrealized and realized profit, and its value."""
        self._run_until(now)
        return self._accounts.pnl_single(account_id, con_id)

    def known_instrument(self, con_id: int) -> Instrument:
        """Return the contract of an id, expired ones too. Raises ValueError if there is none."""
        return self.catalog.known(con_id)

    # What clients ask for.

    def advance(self, now: datetime) -> list[events.Event]:
        """Do everything that is due until a moment; return what happened, in order of time."""
        self._run_until(now)
        return self._reports.drain()

    def next_due(self, now: datetime) -> datetime | None:
        """Return when ``advance`` has something to do that is not the next market step."""
        dues = [each for each in self._schedule.dues() if each > now]
        return min(dues, default=None)

    def place(self, client_id: int, order: Order, now: datetime) -> list[events.Event]:
        """Place an order, or change the client's order that has its id; return what happened until now.

        The order's contract may be described as a client does. A what-if order only answers with its impact.
        """
        self._run_until(now)
        try:
            self._placing.place(replace(validation.normalized(order), client_id=client_id))
        except OrderRefusedError as refusal:
            self._reports.report(events.OrderError(client_id, order.order_id, refusal.code, refusal.text))
        self._run_until(now)
        return self._reports.drain()

    def cancel(self, client_id: int, order_id: int, now: datetime) -> list[events.Event]:
        """Cancel a client's order and, if it has not been filled, its children."""
        self._run_until(now)
        working = self._orders.working.get((client_id, order_id))
        if working is not None and working.cancelled_at is None:
            self._orders.cancel_for_trader(working)
        else:
            code, text = self._orders.uncancellable(client_id, order_id)
            self._reports.report(events.OrderError(client_id, order_id, code, text))
        return self._reports.drain()

    def global_cancel(self, client_id: int, now: datetime) -> list[events.Event]:
        """Cancel the orders of all clients, as the request of any one of them does."""
        self._run_until(now)
        for working in list(self._orders.working.values()):
            ours = working.transmitted or working.order.client_id == client_id
            if working.key in self._orders.working and working.cancelled_at is None and ours:
                self._orders.cancel_for_trader(working)
        return self._reports.drain()

    def hold_cancels(self, now: datetime, *, held: bool) -> list[events.Event]:
        """Leave cancels pending for ever from now on, the order PendingCancel and at work; or let all of those
        take effect, and new ones too."""
        self._run_until(now)
        self._orders.cancels_held = held
        stuck = [each for each in self._orders.working.values() if each.cancelled_at == NEVER]
        for each in [] if held else stuck:
            if each.key in self._orders.working:
                self._orders.cancel(each, BY_TRADER)
        return self._reports.drain()

    def split(self, con_id: int, new: int, old: int, now: datetime) -> list[events.Event]:
        """Split a stock: its price, the options on it, and what is held of both. Raises ValueError for what is none."""
        self._run_until(now)
        stock = self.catalog.known(con_id)
        if stock.contract.sec_type != "STK":
            raise ValueError(f"{stock.contract.local_symbol} is no stock; only stocks are split")
        for each in self._accounts.held():
            self.catalog.known(each)  # what is held must be among the options that the catalog knows
        plain = Split(con_id, new, old)
        options = [plain.option(option.contract) for option in self.catalog.options_known(con_id)]
        split = replace(plain, adjusted=options)
        contracts = {con_id: stock.contract} | {option.con_id: option for option in options}
        for working in [each for each in self._orders.working.values() if contracts.keys() & each.contract_ids]:
            if working.key in self._orders.working:
                self._orders.cancel(working, f"{stock.contract.symbol} was split")
        self.catalog.apply_split(split)
        self.market.split(split)
        self._accounts.split(split, contracts)
        self.forget_derived(market_changed=True)
        return self._reports.drain()

    def forget_derived(self, *, market_changed: bool) -> None:
        """Recompute everything that follows from the state, after the state was replaced.

        ``market_changed`` means that something was set in the market that orders have not met yet.
        """
        self._orders.forget_sessions()
        self._schedule.forget()
        self._accounts.forget_prices()
        self.seen_revision = self.market.revision - int(market_changed)

    # Time.

    def _run_until(self, now: datetime) -> None:
        if self._time.now is None:
            self._time.now = now
            self._time.day = self._time.today
            self.catalog.roll(self._time.day)
            self._accounts.refresh()
            self._accounts.start_day()
        now = max(now, self._time.now)
        start = self._time.now
        while (moment := self._schedule.next_moment(start)) <= now:
            due = moment >= self._schedule.agenda.due
            self._time.now = max(self._time.now, moment)
            arriving = self._do_due() if due else set()
            on_step = not (self._time.now - EPOCH) % STEP
            if on_step or arriving:
                self._conditions.check()
                self._matcher.match(None if on_step else arriving)
        self._time.now = now
        if self.market.revision != self.seen_revision:
            self.seen_revision = self.market.revision
            self._conditions.check()
            self._matcher.match()

    def _do_due(self) -> set[WorkingOrder]:
        """Handle what is due now: endings, expiries, the new day, openings; return the orders that arrive."""
        now = self._time.moment
        for each in list(self._orders.working.values()):
            if each.cancelled_at is not None and each.cancelled_at <= now and each.key in self._orders.working:
                self._orders.cancel(each, BY_TRADER)
            elif each.ends is not None and each.ends <= now and each.key in self._orders.working:
                self._end_of_time(each)
        for con_id in sorted(self._accounts.held()):
            instrument = self.catalog.get(con_id)
            expiry = self.hours.expiry_moment(instrument) if instrument is not None else None
            if instrument is not None and expiry is not None and expiry <= now:
                self._accounts.expire(instrument, expiry)
        if now >= self._time.midnight():
            self._start_day()
        arriving = set()
        for each in list(self._orders.working.values()):
            if each.transmitted and not each.arrived and each.arrives <= now:
                each.arrived = True
                arriving.add(each)
            self._orders.report_change(each)
        self._schedule.forget()
        return arriving

    def _start_day(self) -> None:
        self._time.day = self._time.today
        self.catalog.roll(self._time.day)
        self._accounts.refresh()
        self._fills.executions.clear()
        self._orders.completed.clear()
        self.bulletins.clear()
        for account in self._accounts.by_id.values():
            account.start_day()
            self._reports.report(events.AccountChanged(account.account_id))

    def _end_of_time(self, working: WorkingOrder) -> None:
        if working.order.order_type in ON_CLOSE and working.arrived and not self._orders.waits_for_parent(working):
            quote = self.market.quote(working.con_id, (working.ends or self._time.moment) - STEP)
            fill = matching.auction_fill(working, quote)
            if fill is not None:
                self._fills.fill(working, fill)
                return
        self._orders.cancel(working, "The order's time in force has ended")
