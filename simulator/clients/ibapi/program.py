"""What IB's own Python API sees of a trading day, written to standard output as JSON.

Usage: program.py API_PORT CONTROL_PORT; the simulator as for insync_family/program.py.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from control import Control
from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.wrapper import EWrapper

DEADLINE = 10.0
CLIENT_ID = 8
BID, ASK, LAST, HALTED = 1, 2, 4, 49


class Client(EWrapper, EClient):  # type: ignore[misc]  # it carries no types
    """A session whose news can be awaited. Callbacks run in the reader's thread, under the lock."""

    def __init__(self) -> None:
        EClient.__init__(self, self)
        self.changed = threading.Condition()
        self.next_id = 0
        self.accounts: list[str] = []
        self.positions: dict[str, float] | None = None
        self.holdings: dict[str, float] = {}
        self.details: dict[int, list[Any]] = {}
        self.ended: set[object] = set()
        self.chain: dict[str, int] = {}
        self.expirations: list[str] = []
        self.ticks: dict[int, float] = {}
        self.model: dict[str, float] = {}
        self.bars: dict[int, int] = {}
        self.head = ""
        self.impact: list[float] = []
        self.orders: dict[int, dict[str, Any]] = {}
        self.executions: dict[str, dict[str, Any]] = {}
        self.commissions: dict[str, float] = {}
        self.errors: list[list[int]] = []
        self.opened: set[int] = set()
        self.completed = 0
        self.profit: list[float] = []

    def news(self, change: Callable[[], Any]) -> None:
        with self.changed:
            change()
            self.changed.notify_all()

    def until(self, reached: Callable[[], Any], what: str) -> None:
        with self.changed:
            if not self.changed.wait_for(reached, DEADLINE):
                raise TimeoutError(f"never came: {what}; errors {self.errors}")

    # The names and arguments of the callbacks are the API's.

    def nextValidId(self, orderId: int) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: setattr(self, "next_id", orderId))

    def managedAccounts(self, accountsList: str) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: setattr(self, "accounts", accountsList.split(",")))

    def error(self, reqId: int, *rest: Any) -> None:  # noqa: N803 - the API's name
        _time, code = rest[:2]
        self.news(lambda: self.errors.append([reqId, code]))

    def position(self, account: str, contract: Any, position: Decimal, avgCost: float) -> None:  # noqa: N803 - the API's name
        self.news(lambda: self.holdings.__setitem__(str(contract.conId), float(position)))

    def positionEnd(self) -> None:  # noqa: N802 - the API's name
        self.news(lambda: setattr(self, "positions", dict(self.holdings)))

    def contractDetails(self, reqId: int, contractDetails: Any) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.details.setdefault(reqId, []).append(contractDetails.contract))

    def contractDetailsEnd(self, reqId: int) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ended.add(("details", reqId)))

    def securityDefinitionOptionParameter(self, reqId: int, exchange: str, *rest: Any) -> None:  # noqa: N802, N803 - the API's name
        expirations, strikes = rest[3], rest[4]
        if exchange == "SMART" and len(expirations) > self.chain.get("expirations", 0):
            self.news(lambda: self.chain.update(expirations=len(expirations), strikes=len(strikes)))
            self.expirations = sorted(expirations)

    def securityDefinitionOptionParameterEnd(self, reqId: int) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ended.add("chain"))

    def tickPrice(self, reqId: int, tickType: int, price: float, attrib: Any) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ticks.__setitem__(tickType, price))

    def tickGeneric(self, reqId: int, tickType: int, value: float) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ticks.__setitem__(tickType, value))

    def tickOptionComputation(self, reqId: int, tickType: int, tickAttrib: int, *values: Any) -> None:  # noqa: N802, N803 - the API's name
        volatility, delta, _, _, _, vega, _, _ = values
        if tickType == 13:
            self.news(lambda: self.model.update(volatility=volatility, delta=delta, vega=vega))

    def tickSnapshotEnd(self, reqId: int) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ended.add(("snapshot", reqId)))

    def historicalData(self, reqId: int, bar: Any) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.bars.__setitem__(reqId, self.bars.get(reqId, 0) + 1))

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ended.add(("bars", reqId)))

    def headTimestamp(self, reqId: int, headTimestamp: str) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: setattr(self, "head", headTimestamp))

    def openOrder(self, orderId: int, contract: Any, order: Any, orderState: Any) -> None:  # noqa: N802, N803 - the API's name
        def change() -> None:
            if order.whatIf:
                self.impact[:] = [float(orderState.initMarginAfter), float(orderState.equityWithLoanAfter)]
            else:
                self.opened.add(orderId)

        self.news(change)

    def openOrderEnd(self) -> None:  # noqa: N802 - the API's name
        self.news(lambda: self.ended.add("open orders"))

    def orderStatus(self, orderId: int, status: str, filled: Decimal, remaining: Decimal, *rest: Any) -> None:  # noqa: N802, N803 - the API's name
        facts = {"status": status, "filled": float(filled), "average": rest[0]}
        self.news(lambda: self.orders.__setitem__(orderId, facts))

    def execDetails(self, reqId: int, contract: Any, execution: Any) -> None:  # noqa: N802, N803 - the API's name
        facts = {
            "perm_id": execution.permId,
            "side": execution.side,
            "shares": float(execution.shares),
            "price": execution.price,
            "cumulative": float(execution.cumQty),
        }
        self.news(lambda: self.executions.__setitem__(execution.execId, facts))

    def execDetailsEnd(self, reqId: int) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: self.ended.add(("executions", reqId)))

    def commissionAndFeesReport(self, commissionAndFeesReport: Any) -> None:  # noqa: N802, N803 - the API's name
        report = commissionAndFeesReport
        self.news(lambda: self.commissions.__setitem__(report.execId, report.commissionAndFees))

    def completedOrder(self, contract: Any, order: Any, orderState: Any) -> None:  # noqa: N802, N803 - the API's name
        self.news(lambda: setattr(self, "completed", self.completed + 1))

    def completedOrdersEnd(self) -> None:  # noqa: N802 - the API's name
        self.news(lambda: self.ended.add("completed"))

    def pnl(self, reqId: int, dailyPnL: float, unrealizedPnL: float, realizedPnL: float) -> None:  # noqa: N803 - the API's name
        self.news(lambda: setattr(self, "profit", [dailyPnL, unrealizedPnL, realizedPnL]))


def connected(port: int) -> Client:
    client = Client()
    client.connect("127.0.0.1", port, CLIENT_ID)
    threading.Thread(target=client.run, daemon=True).start()
    client.until(lambda: client.next_id and client.accounts, "the start of the session")
    return client


def contract_of(symbol: str, sec_type: str, **others: Any) -> Any:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, sec_type, "SMART", "USD"
    for name, value in others.items():
        setattr(contract, name, value)
    return contract


def order_of(action: str, quantity: int, order_type: str, **others: Any) -> Any:
    order = Order()
    order.action, order.totalQuantity, order.orderType = action, Decimal(quantity), order_type
    for name, value in others.items():
        setattr(order, name, value)
    return order


class Trader:
    """Places orders over a client and waits for what becomes of them."""

    def __init__(self, client: Client, contract: Any) -> None:
        self.client = client
        self.contract = contract
        self.next_id = client.next_id

    def place(self, order: Any) -> int:
        order_id = self.next_id
        self.next_id += 1
        self.client.placeOrder(order_id, self.contract, order)
        return order_id

    def check_status(self, order_id: int, *statuses: str) -> None:
        orders = self.client.orders
        self.client.until(
            lambda: orders.get(order_id, {}).get("status") in statuses, f"order {order_id} {statuses}, it is {orders}"
        )


def data(client: Client, control: Control, stock: Any) -> dict[str, Any]:
    """Everything that is asked rather than traded."""
    client.reqPositions()
    client.until(lambda: client.positions is not None, "positions")
    client.reqContractDetails(1, stock)
    client.reqContractDetails(2, contract_of("IBM", "STK", exchange="", currency=""))
    client.reqSecDefOptParams(3, "AAPL", "", "STK", 265598)
    client.until(lambda: {("details", 1), ("details", 2), "chain"} <= client.ended, "details and chain")
    option = contract_of("AAPL", "OPT", right="C", strike=185.0, lastTradeDateOrContractMonth=client.expirations[2])
    client.reqMktData(4, option, "", True, False, [])
    client.until(lambda: ("snapshot", 4) in client.ended and client.model, "greeks")
    client.reqMktData(5, stock, "", False, False, [])
    control.price("AAPL", "100", "100.1")
    client.until(lambda: [client.ticks.get(each) for each in (BID, ASK, LAST)] == [100, 100.1, 100.05], "ticks")
    control("halt", "AAPL")
    client.until(lambda: client.ticks.get(HALTED) == 1, "halt")
    control("resume", "AAPL")
    client.until(lambda: client.ticks.get(HALTED) == 0, "end of halt")
    client.cancelMktData(5)
    client.reqHistoricalData(6, stock, "", "1 D", "5 mins", "TRADES", 1, 1, False, [])
    client.reqHeadTimeStamp(7, stock, "TRADES", 1, 1)
    client.until(lambda: ("bars", 6) in client.ended and client.head, "bars")
    return {
        "version": client.serverVersion(),
        "accounts": client.accounts,
        "positions": client.positions,
        "stock": client.details[1][0].conId,
        "ambiguous": len(client.details[2]),
        "chain": client.chain,
        "greeks": [0 < client.model["delta"] < 1, client.model["vega"] > 0],
        "bars": client.bars[6],
        "head": client.head[:4],
    }


def trade(trader: Trader, control: Control) -> None:
    """Orders to their ends: market, limit, stop, a bracket, a change, a cancellation, a refusal."""
    client = trader.client
    control.price("AAPL", "100", "100.1")
    client.placeOrder(trader.next_id, trader.contract, order_of("BUY", 100, "MKT", whatIf=True))
    client.until(lambda: client.impact, "the impact of an order")
    market = trader.place(order_of("BUY", 10, "MKT"))
    trader.check_status(market, "Submitted")
    control("advance", "1")
    trader.check_status(market, "Filled")
    stop = trader.place(order_of("SELL", 10, "STP", auxPrice=95.0))
    trader.check_status(stop, "PreSubmitted")
    limit = trader.place(order_of("BUY", 10, "LMT", lmtPrice=90.0))
    trader.check_status(limit, "Submitted")
    client.placeOrder(limit, trader.contract, order_of("BUY", 10, "LMT", lmtPrice=94.0))
    control("advance", "1")
    control.price("AAPL", "93.9", "94")
    control("advance", "2")
    trader.check_status(stop, "Filled")
    trader.check_status(limit, "Filled")
    parent = trader.place(order_of("BUY", 5, "LMT", lmtPrice=94.0, transmit=False))
    profit = trader.place(order_of("SELL", 5, "LMT", lmtPrice=97.0, parentId=parent, transmit=False))
    loss = trader.place(order_of("SELL", 5, "STP", auxPrice=90.0, parentId=parent))
    trader.check_status(loss, "PreSubmitted")
    control("advance", "1")
    trader.check_status(parent, "Filled")
    control.price("AAPL", "97", "97.1")
    control("advance", "1")
    trader.check_status(profit, "Filled")
    trader.check_status(loss, "Cancelled")
    refused = trader.place(order_of("BUY", 10, "LMT", lmtPrice=90.001))
    client.until(lambda: [refused, 110] in client.errors, "the refusal")
    cancelled = trader.place(order_of("BUY", 10, "LMT", lmtPrice=90.0))
    trader.check_status(cancelled, "Submitted")
    client.cancelOrder(cancelled, OrderCancel())
    trader.check_status(cancelled, "Cancelled")
    kept = trader.place(order_of("BUY", 3, "LMT", lmtPrice=80.0, tif="GTC"))
    trader.check_status(kept, "Submitted")


def again(client: Client, before: Client) -> dict[str, Any]:
    """What a second session of the same client finds."""
    client.reqAllOpenOrders()
    client.until(lambda: "open orders" in client.ended, "open orders")
    client.reqExecutions(20, ExecutionFilter())
    client.until(lambda: ("executions", 20) in client.ended, "executions")
    client.until(lambda: set(client.commissions) >= set(client.executions), "commissions")
    client.reqCompletedOrders(False)
    client.reqPnL(21, client.accounts[0], "")
    client.until(lambda: "completed" in client.ended and client.profit, "completed orders and profit")
    found = sorted(client.opened)
    [kept] = found
    client.cancelOrder(kept, OrderCancel())
    # The status comes first, the message after it.
    client.until(lambda: [kept, 202] in client.errors, "cancellation after reconnecting")
    return {
        "same_executions": client.executions == before.executions,
        "same_commissions": client.commissions == before.commissions,
        "found": len(found),
        "completed": client.completed,
        "realized": client.profit[2],
    }


def main() -> None:
    port, control = int(sys.argv[1]), Control(int(sys.argv[2]))
    stock = contract_of("AAPL", "STK")
    client = connected(port)
    try:
        seen = data(client, control, stock)
        trade(Trader(client, stock), control)
    finally:
        client.disconnect()  # its threads would keep the program alive
    control.until_gone(CLIENT_ID)
    second = connected(port)
    try:
        seen["again"] = again(second, client)
    finally:
        second.disconnect()
    seen["impact"] = client.impact
    seen["orders"] = {str(each): facts for each, facts in {**client.orders, **second.orders}.items()}
    seen["executions"], seen["commissions"] = client.executions, client.commissions
    seen["errors"] = client.errors + second.errors
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
