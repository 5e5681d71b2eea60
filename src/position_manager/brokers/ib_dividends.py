"""The next dividend of an option's underlying over ib_insync: generic tick 456, which arrives as tick 59.

IB calls the date in it the next dividend date; its reference does not state that this is the ex-dividend date. It is
asked for with a subscription of its own, which never carries the quotes that rules act on.
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ib_connection.ib_library import IB, Contract, RequestError, Ticker
from position_manager.account.assignment import Dividend
from position_manager.brokers.broker import BrokerError

DIVIDENDS = "456"
SOURCE = "IB's next dividend date"


async def ask_dividend(ib: IB, con_id: int, within: float) -> Dividend | None:
    """The next dividend of what an option is written on; None if IB reports that it has none. Raises BrokerError."""
    what = f"dividends of contract {con_id}"
    try:
        async with asyncio.timeout(within):
            details = await ib.reqContractDetailsAsync(Contract(conId=con_id))
            if not details or not details[0].underConId:
                return None
            return await _of(ib, Contract(conId=details[0].underConId, exchange="SMART"))
    except TimeoutError as error:
        raise BrokerError(f"{what}: not reported within {within:g} s") from error
    except (RequestError, ConnectionError) as error:
        raise BrokerError(f"{what}: {error}") from error


async def _of(ib: IB, underlying: Contract) -> Dividend | None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def on_update(ticker: Ticker) -> None:
        if ticker.dividends is not None and not answer.done():
            answer.set_result(ticker.dividends)

    ticker = ib.reqMktData(underlying, genericTickList=DIVIDENDS)
    ticker.updateEvent += on_update
    try:
        dividends = await answer
    finally:
        ticker.updateEvent.clear()
        if ib.client.isConnected():  # type: ignore[no-untyped-call]  # ib_insync's, untyped
            ib.cancelMktData(underlying)
        ib.wrapper.tickers.pop(id(underlying), None)
    if dividends.nextDate is None:
        return None
    day: date = dividends.nextDate.date() if isinstance(dividends.nextDate, datetime) else dividends.nextDate
    amount = dividends.nextAmount
    return Dividend(day, Decimal(str(amount)) if amount else None, SOURCE)
