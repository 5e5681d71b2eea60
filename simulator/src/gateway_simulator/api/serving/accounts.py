"""Accounts: values, positions and profit, at once on request and again when they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from gateway_simulator.api import messages, requests
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.events import AccountChanged, Event, PositionChanged
from gateway_simulator.trading.model import AccountValue, Position

MAX_ACCOUNT_SUMMARIES = 2
REFRESH = timedelta(minutes=3)
"""How often values are sent again that follow the market only; after a trade they are sent at once."""
PROFIT_INTERVAL = timedelta(seconds=1)
"""How often profit and loss is evaluated."""

_ValueKey = tuple[str, str, str, bool]


class _Changes:
    """The account values that a subscriber has not received yet."""

    def __init__(self) -> None:
        self._last_sent: dict[_ValueKey, str] = {}

    def of(self, account: Account, values: Iterable[AccountValue]) -> list[AccountValue]:
        """Return the values that are new or have changed since they were last sent, and record them as sent."""
        news = []
        for value in values:
            key = (account.account_id, value.key, value.currency, value.is_ledger)
            if self._last_sent.get(key) != value.value:
                self._last_sent[key] = value.value
                news.append(value)
        return news


@dataclass
class _Updates:
    """The subscription to one account."""

    account: Account
    changes: _Changes = field(default_factory=_Changes)


@dataclass
class _UpdatesMulti:
    request: requests.AccountUpdatesMulti
    account: Account
    changes: _Changes = field(default_factory=_Changes)


@dataclass
class _Summary:
    request: requests.AccountSummary
    changes: _Changes = field(default_factory=_Changes)


@dataclass
class _Profit:
    """A subscription to profit and loss; ``last_sent`` what was sent last."""

    request: requests.ProfitAndLoss | requests.ProfitAndLossSingle
    account: Account
    last_sent: tuple[Decimal, ...] | None = None


class Accounts:
    """One client's view of the accounts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._updates: _Updates | None = None
        self._multi: dict[int, _UpdatesMulti] = {}
        self._summaries: dict[int, _Summary] = {}
        self._all_positions = False
        self._positions: dict[int, tuple[requests.PositionsMulti, str]] = {}
        self._profits: dict[int, _Profit] = {}
        self._changed: set[str] = set()
        self._refreshed = self._profited = desk.now()
        self.handlers: Mapping[type, Handler] = {
            requests.AccountUpdates: self._subscribe_updates,
            requests.AccountUpdatesMulti: self._subscribe_multi,
            requests.CancelAccountUpdatesMulti: self._cancel_multi,
            requests.AccountSummary: self._subscribe_summary,
            requests.CancelAccountSummary: self._cancel_summary,
            requests.Positions: self._subscribe_positions,
            requests.CancelPositions: self._cancel_positions,
            requests.PositionsMulti: self._subscribe_positions_multi,
            requests.CancelPositionsMulti: self._cancel_positions_multi,
            requests.ProfitAndLoss: self._subscribe_profit,
            requests.ProfitAndLossSingle: self._subscribe_profit,
            requests.CancelProfitAndLoss: self._cancel_profit,
            requests.CancelProfitAndLossSingle: self._cancel_profit,
        }

    def _subscribe_updates(self, request: requests.AccountUpdates) -> Iterable[bytes]:
        if not request.subscribe:
            self._updates = None
            return
        account = self._desk.account(request.account)
        self._updates = _Updates(account)
        yield from self._values(self._updates)
        for held in account.positions.values():
            yield messages.portfolio_value(held, account.account_id)
        yield messages.account_update_time(self._desk.floor.clock.now())
        if not self._desk.behaviour.omit_account_download_end:
            yield messages.account_download_end(account.account_id)

    def _values(self, updates: _Updates) -> Iterator[bytes]:
        for value in updates.changes.of(updates.account, updates.account.values()):
            yield messages.account_value(value, updates.account.account_id)

    def _subscribe_multi(self, request: requests.AccountUpdatesMulti) -> Iterable[bytes]:
        account = self._desk.account(request.account)
        self._multi[request.request_id] = _UpdatesMulti(request, account)
        yield from self._multi_values(self._multi[request.request_id])
        yield messages.account_update_multi_end(request.request_id)

    def _multi_values(self, multi: _UpdatesMulti) -> Iterator[bytes]:
        request, account = multi.request, multi.account
        wanted = (
            value
            for value in account.values()
            if value.is_ledger or value.key == "NetLiquidation" or not request.ledger_only
        )
        for value in multi.changes.of(account, wanted):
            yield messages.account_update_multi(request.request_id, account.account_id, request.model, value)

    def _cancel_multi(self, request: requests.CancelAccountUpdatesMulti) -> Iterable[bytes]:
        self._multi.pop(request.request_id, None)
        return ()

    def _subscribe_summary(self, request: requests.AccountSummary) -> Iterable[bytes]:
        if request.request_id not in self._summaries and len(self._summaries) >= MAX_ACCOUNT_SUMMARIES:
            text = "Error processing request.-'bS' : cause - Maximum number of account summary requests exceeded"
            raise RefusalError(322, text)
        self._summaries[request.request_id] = _Summary(request)
        yield from self._summary_values(self._summaries[request.request_id])
        yield messages.account_summary_end(request.request_id)

    def _summary_values(self, summary: _Summary) -> Iterator[bytes]:
        for account in self._desk.brokerage.accounts.values():
            wanted = (each for each in account.values() if _is_summarized(each, account, summary.request.tags))
            for value in summary.changes.of(account, wanted):
                yield messages.account_summary(summary.request.request_id, account.account_id, value)

    def _cancel_summary(self, request: requests.CancelAccountSummary) -> Iterable[bytes]:
        self._summaries.pop(request.request_id, None)
        return ()

    def _subscribe_positions(self, _: requests.Positions) -> Iterable[bytes]:
        self._all_positions = True
        for account in self._desk.brokerage.accounts.values():
            for held in account.positions.values():
                yield messages.position(account.account_id, held)
        yield messages.position_end()

    def _cancel_positions(self, _: requests.CancelPositions) -> Iterable[bytes]:
        self._all_positions = False
        return ()

    def _subscribe_positions_multi(self, request: requests.PositionsMulti) -> Iterable[bytes]:
        account = self._desk.account(request.account)
        self._positions[request.request_id] = (request, account.account_id)
        for held in account.positions.values():
            yield messages.position_multi(request.request_id, account.account_id, request.model, held)
        yield messages.position_multi_end(request.request_id)

    def _cancel_positions_multi(self, request: requests.CancelPositionsMulti) -> Iterable[bytes]:
        self._positions.pop(request.request_id, None)
        return ()

    def _subscribe_profit(self, request: requests.ProfitAndLoss | requests.ProfitAndLossSingle) -> Iterable[bytes]:
        if request.request_id in self._profits:
            raise RefusalError(322, "Error processing request.-'bP' : cause - Duplicate ticker ID for API query")
        profit = _Profit(request, self._desk.account(request.account))
        self._profits[request.request_id] = profit
        yield from self._profit(profit, self._desk.now())

    def _profit(self, profit: _Profit, now: datetime) -> Iterator[bytes]:
        request, account_id = profit.request, profit.account.account_id
        if isinstance(request, requests.ProfitAndLoss):
            daily, unrealized, realized = self._desk.brokerage.pnl(account_id, now)
            if profit.last_sent != (daily, unrealized, realized):
                profit.last_sent = (daily, unrealized, realized)
                yield messages.pnl(request.request_id, daily, unrealized, realized)
            return
        single = self._desk.brokerage.pnl_single(account_id, request.con_id, now)
        if profit.last_sent != single:
            profit.last_sent = single
            yield messages.pnl_single(request.request_id, *single)

    def _cancel_profit(
        self, request: requests.CancelProfitAndLoss | requests.CancelProfitAndLossSingle
    ) -> Iterable[bytes]:
        if self._profits.pop(request.request_id, None) is None:
            raise RefusalError(300, f"Can't find EId with tickerId:{request.request_id}")
        return ()

    def on_event(self, event: Event) -> Iterable[bytes]:
        """Notify the client of a changed position; changed values follow with :meth:`settle`."""
        match event:
            case PositionChanged(account_id, position):
                yield from self._position(account_id, position)
            case AccountChanged(account_id):
                self._changed.add(account_id)

    def _position(self, account_id: str, held: Position) -> Iterator[bytes]:
        if self._all_positions:
            yield messages.position(account_id, held)
        for request, subscribed in self._positions.values():
            if subscribed == account_id:
                yield messages.position_multi(request.request_id, account_id, request.model, held)
        if self._updates is not None and self._updates.account.account_id == account_id:
            yield messages.portfolio_value(held, account_id)

    def settle(self) -> Iterable[bytes]:
        """Send the account values that the events just received have changed."""
        if self._changed:
            changed, self._changed = self._changed, set()
            yield from self._refresh(changed)

    def _refresh(self, changed: set[str]) -> Iterator[bytes]:
        if self._updates is not None and self._updates.account.account_id in changed:
            yield from self._values(self._updates)
            yield messages.account_update_time(self._desk.floor.clock.now())
        for multi in self._multi.values():
            if multi.account.account_id in changed:
                yield from self._multi_values(multi)
        for summary in self._summaries.values():
            yield from self._summary_values(summary)

    def tick(self, now: datetime) -> Iterable[bytes]:
        """Send the values that are due by the clock."""
        if self._profits and now >= self._profited + PROFIT_INTERVAL:
            self._profited = now
            for profit in self._profits.values():
                yield from self._profit(profit, now)
        if self._follows_values and now >= self._refreshed + REFRESH:
            self._refreshed = now
            if self._updates is not None:
                for held in self._updates.account.positions.values():
                    yield messages.portfolio_value(held, self._updates.account.account_id)
            yield from self._refresh(set(self._desk.brokerage.accounts))

    @property
    def _follows_values(self) -> bool:
        return self._updates is not None or bool(self._multi) or bool(self._summaries)

    def next_due(self, now: datetime) -> datetime | None:
        """Return when values are due next."""
        due = []
        if self._profits:
            due.append(self._profited + PROFIT_INTERVAL)
        if self._follows_values:
            due.append(self._refreshed + REFRESH)
        return max(min(due), now) if due else None


def _is_summarized(value: AccountValue, account: Account, tags: tuple[str, ...]) -> bool:
    """Return whether an account summary of these tags contains a value.

    ``$LEDGER`` represents the ledger in the account's currency, ``$LEDGER:EUR`` that currency's
    and ``$LEDGER:ALL`` all of them.
    """
    if not value.is_ledger:
        return value.key in tags
    wanted = {f"$LEDGER:{value.currency}", "$LEDGER:ALL"}
    if value.currency == account.currency:
        wanted.add("$LEDGER")
    return not wanted.isdisjoint(tags)
