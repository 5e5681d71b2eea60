"""What ib_insync and its successor ib_async see of a trading day, written to standard output as JSON.

Usage: program.py LIBRARY API_PORT CONTROL_PORT, with LIBRARY ib_insync or ib_async. The clock of the simulator must be
held at half past three in New York on a trading day, with the exchange's hours.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from control import Control

DEADLINE = 10.0
CLIENT_ID = 7
TO_THE_CLOSE = "1900"
MORE_THAN_SHOWN = 1000
"""Shares; a quote shows 900 at most."""


class Day:
    """A session with the gateway, and what is seen in it."""

    def __init__(self, library: str, port: int, control: Control) -> None:
        self.lib: Any = importlib.import_module(library)
        self.control = control
        self.seen: dict[str, Any] = {"orders": {}, "executions": {}, "commissions": {}, "errors": []}
        self.port = port
        self.trades: list[Any] = []
        self.ib: Any = None
        self.connect(CLIENT_ID)
        self.stock = self.lib.Stock("AAPL", "SMART", "USD")

    def connect(self, client_id: int) -> None:
        self.ib = self.lib.IB()
        self.ib.errorEvent += lambda request, code, *_: self.seen["errors"].append([request, code])
        self.ib.connect("127.0.0.1", self.port, clientId=client_id, timeout=10)

    def until(self, reached: Callable[[], Any], what: str) -> None:
        """Let the client process messages until a condition holds."""
        deadline = time.monotonic() + DEADLINE
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"never came: {what}")
            self.ib.waitOnUpdate(timeout=0.1)

    def pass_time(self, seconds: str = "1") -> None:
        self.control("advance", seconds)

    def price(self, bid: str, ask: str) -> None:
        self.control.price("AAPL", bid, ask)

    def order(self, order: Any, *statuses: str, contract: Any = None) -> Any:
        """Place an order and wait until it reaches the expected status."""
        trade = self.ib.placeOrder(contract or self.stock, order)
        self.trades.append(trade)
        self.until(lambda: trade.orderStatus.status in statuses, f"{order.orderType} {statuses}")
        return trade

    def ends(self, trade: Any, status: str) -> None:
        self.until(lambda: trade.orderStatus.status == status, f"{trade.order.orderType} {status}")
        if status == "Filled":
            self.until(lambda: all(fill.commissionReport.execId for fill in trade.fills), "commission")

    def data(self) -> None:
        """Everything that is asked rather than traded."""
        ib, seen, lib = self.ib, self.seen, self.lib
        seen["version"] = ib.client.serverVersion()
        seen["accounts"] = ib.managedAccounts()
        seen["positions"] = {str(each.contract.conId): each.position for each in ib.positions()}
        seen["portfolio"] = {str(each.contract.conId): each.position for each in ib.portfolio()}
        seen["cash"] = [
            each.value for each in ib.accountValues() if (each.tag, each.currency) == ("TotalCashValue", "USD")
        ]
        ib.qualifyContracts(self.stock)
        seen["stock"] = self.stock.conId
        chain = min(
            (each for each in ib.reqSecDefOptParams("AAPL", "", "STK", self.stock.conId) if each.exchange == "SMART"),
            key=lambda each: -len(each.expirations),
        )
        seen["chain"] = {"expirations": len(chain.expirations), "strikes": len(chain.strikes)}
        option = lib.Option("AAPL", sorted(chain.expirations)[2], 185, "C", "SMART")
        ib.qualifyContracts(option)
        seen["option"] = option.localSymbol
        seen["ambiguous"] = len(ib.reqContractDetails(lib.Contract(symbol="IBM", secType="STK")))
        seen["symbols"] = [each.contract.symbol for each in ib.reqMatchingSymbols("AAP")]
        [snapshot] = ib.reqTickers(option)
        seen["greeks"] = [
            0 < snapshot.modelGreeks.delta < 1,
            snapshot.modelGreeks.vega > 0,
            snapshot.ask > snapshot.bid,
        ]
        ticker = ib.reqMktData(self.stock)
        self.until(lambda: ticker.bid > 0 and ticker.ask > 0 and ticker.close > 0 and ticker.halted == 0, "ticks")
        self.price("100", "100.1")
        self.until(lambda: (ticker.bid, ticker.ask, ticker.last) == (100, 100.1, 100.05), "scripted ticks")
        self.control("halt", "AAPL")
        self.until(lambda: ticker.halted == 1, "halt")
        self.control("resume", "AAPL")
        self.until(lambda: ticker.halted == 0, "end of halt")
        ib.cancelMktData(self.stock)
        bars = ib.reqHistoricalData(self.stock, "", "1 D", "5 mins", "TRADES", True)
        seen["bars"] = [
            len(bars),
            all(bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high for bar in bars),
        ]
        seen["probe"] = len(ib.reqHistoricalData(lib.Forex("EURUSD"), "", "30 S", "5 secs", "MIDPOINT", False)) > 0
        seen["head"] = str(ib.reqHeadTimeStamp(self.stock, "TRADES", True))[:4]
        real_time = ib.reqRealTimeBars(self.stock, 5, "TRADES", False)
        self.pass_time("11")
        self.until(lambda: len(real_time) >= 2, "real-time bars")
        ib.cancelRealTimeBars(real_time)

    def impact(self) -> None:
        state = self.ib.whatIfOrder(self.stock, self.lib.MarketOrder("BUY", 100))
        self.seen["impact"] = [float(state.initMarginAfter), float(state.equityWithLoanAfter)]

    def to_their_ends(self) -> None:
        """Each type of order, from its placing to its end."""
        lib = self.lib
        self.price("100", "100.1")
        market = self.order(lib.MarketOrder("BUY", 10), "Submitted", "Filled")
        self.pass_time()
        self.ends(market, "Filled")
        limit = self.order(lib.LimitOrder("BUY", 10, 99, tif="GTC"), "Submitted")
        self.pass_time()
        self.price("98.9", "99")
        self.pass_time()
        self.ends(limit, "Filled")
        stop = self.order(lib.StopOrder("SELL", 10, 95), "PreSubmitted")
        stop_limit = self.order(lib.StopLimitOrder("SELL", 10, 94, 95), "PreSubmitted")
        trail = self.order(
            lib.Order(action="SELL", totalQuantity=10, orderType="TRAIL", auxPrice=2, trailStopPrice=96), "PreSubmitted"
        )
        touched = self.order(lib.Order(action="BUY", totalQuantity=10, orderType="MIT", auxPrice=94.8), "PreSubmitted")
        self.pass_time()
        self.price("99.9", "100")  # the trailing stop follows
        self.pass_time()
        self.price("94.5", "94.6")
        self.pass_time("2")
        for each in (stop, stop_limit, trail, touched):
            self.ends(each, "Filled")
        large = self.order(lib.LimitOrder("BUY", MORE_THAN_SHOWN, 94.6), "Submitted")
        self.pass_time("0.1")
        self.until(lambda: 0 < large.filled() < MORE_THAN_SHOWN, "a partial fill")
        self.pass_time("5")
        self.ends(large, "Filled")
        at_once = self.order(lib.LimitOrder("BUY", 10, 90, tif="IOC"), "Submitted", "Cancelled")
        self.pass_time()
        self.ends(at_once, "Cancelled")
        until_time = self.order(lib.LimitOrder("BUY", 10, 90, tif="GTD", goodTillDate="20261123-20:35:00"), "Submitted")
        self.pass_time("300")
        self.ends(until_time, "Cancelled")
        changed = self.order(lib.LimitOrder("BUY", 10, 90), "Submitted")
        changed.order.lmtPrice = 91.5
        self.ib.placeOrder(self.stock, changed.order)
        self.pass_time()
        self.ib.cancelOrder(changed.order)
        self.ends(changed, "Cancelled")
        self.ib.placeOrder(self.stock, lib.LimitOrder("BUY", 10, 90.001))
        # Both libraries take 110 for a warning and leave the order as it was.
        self.until(
            lambda: 110 in [code for _, code in self.seen["errors"]], "the refusal of a price between increments"
        )
        # Refused for want of money: Inactive, which ib_insync shows as Cancelled for a while.
        self.order(lib.MarketOrder("BUY", 1_000_000), "Inactive", "Cancelled")

    def families(self) -> None:
        """A bracket whose profit is taken, and two orders of which one cancels the other."""
        lib = self.lib
        self.price("95", "95.1")
        bracket = self.ib.bracketOrder("BUY", 5, limitPrice=95.1, takeProfitPrice=97, stopLossPrice=93)
        parent, profit, loss = (self.ib.placeOrder(self.stock, each) for each in bracket)
        self.trades += [parent, profit, loss]
        self.until(lambda: loss.orderStatus.status == "PreSubmitted", "the bracket")
        self.pass_time()
        self.ends(parent, "Filled")
        self.until(lambda: profit.orderStatus.status == "Submitted", "the profit order at work")
        self.price("97", "97.1")
        self.pass_time()
        self.ends(profit, "Filled")
        self.ends(loss, "Cancelled")
        pair = [lib.LimitOrder("BUY", 5, 96), lib.LimitOrder("BUY", 5, 95)]
        self.ib.oneCancelsAll(pair, "pair", 1)
        first, second = (self.order(each, "Submitted") for each in pair)
        self.pass_time()
        self.price("95.9", "96")
        self.pass_time()
        self.ends(first, "Filled")
        self.ends(second, "Cancelled")

    def again(self) -> None:
        """Orders at work outlive a connection, and can be cancelled over the next one."""
        kept = self.order(self.lib.LimitOrder("BUY", 3, 90, tif="GTC"), "Submitted")
        self.remember()
        self.ib.disconnect()
        self.control.until_gone(CLIENT_ID)
        self.connect(CLIENT_ID)
        found = [each for each in self.ib.openTrades() if each.order.permId == kept.order.permId]
        self.seen["found"] = [each.orderStatus.status for each in found]
        self.seen["fills_again"] = sorted(fill.execution.execId for fill in self.ib.fills())
        self.trades = found
        self.ib.reqGlobalCancel()
        self.ends(found[0], "Cancelled")

    def to_the_close(self) -> None:
        """Orders for the closing price, and what the day leaves behind."""
        lib = self.lib
        self.price("96", "96.1")
        closing = [
            self.order(lib.Order(action="BUY", totalQuantity=4, orderType="MOC"), "Submitted", "PreSubmitted"),
            self.order(
                lib.Order(action="BUY", totalQuantity=4, orderType="LOC", lmtPrice=97), "Submitted", "PreSubmitted"
            ),
            self.order(
                lib.Order(action="BUY", totalQuantity=4, orderType="LOC", lmtPrice=90), "Submitted", "PreSubmitted"
            ),
        ]
        day = self.order(lib.LimitOrder("BUY", 4, 80), "Submitted")
        self.pass_time(TO_THE_CLOSE)
        for trade, status in zip(closing, ("Filled", "Filled", "Cancelled"), strict=True):
            self.ends(trade, status)
        self.ends(day, "Cancelled")
        self.seen["completed"] = len(self.ib.reqCompletedOrders(False))
        [account] = self.ib.managedAccounts()
        profit = self.ib.reqPnL(account)
        single = self.ib.reqPnLSingle(account, "", self.stock.conId)
        self.until(lambda: profit.dailyPnL == profit.dailyPnL and single.position, "profit and loss")
        self.seen["pnl"] = {"realized": profit.realizedPnL, "position": single.position}
        self.seen["summary"] = sorted(
            {each.tag for each in self.ib.accountSummary()} & {"NetLiquidation", "BuyingPower"}
        )

    def remember(self) -> None:
        """Note what the client shows of its orders."""
        for trade in self.trades:
            known = self.seen["orders"].setdefault(str(trade.order.orderId), {})
            known["status"] = trade.orderStatus.status
            known["filled"] = trade.orderStatus.filled
            known["average"] = trade.orderStatus.avgFillPrice
        for fill in self.ib.fills():
            execution = fill.execution
            self.seen["executions"][execution.execId] = {
                "perm_id": execution.permId,
                "side": execution.side,
                "shares": execution.shares,
                "price": execution.price,
                "cumulative": execution.cumQty,
            }
            self.seen["commissions"][execution.execId] = fill.commissionReport.commission


def main() -> None:
    library, port, control = sys.argv[1:]
    day = Day(library, int(port), Control(int(control)))
    day.data()
    day.impact()
    day.to_their_ends()
    day.families()
    day.again()
    day.to_the_close()
    day.remember()
    day.ib.disconnect()
    json.dump(day.seen, sys.stdout)


if __name__ == "__main__":
    main()
