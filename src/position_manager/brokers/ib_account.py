"""Account values over ib_insync: one summary of all accounts, requested again each time.

A subscription to account values is silent while nothing changes, so its silence proves nothing. An answer to a question
is complete and has an age of its own. How old IB's own figures in it are is not reported: IB documents an update every
three minutes, and after each change of a position.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import datetime
from decimal import Decimal, InvalidOperation

from ib_connection.ib_library import IB, RequestError
from position_manager.account.values import AccountValues
from position_manager.brokers.broker import BrokerError

NET, EXCESS, CASH = "NetLiquidation", "ExcessLiquidity", "TotalCashValue"


async def ask_values(ib: IB, now: datetime, within: float) -> tuple[AccountValues, ...]:
    """Raises BrokerError. The subscription that IB starts with the answer is cancelled: it allows two only."""
    wrapper = ib.wrapper
    try:
        request = ib.client.getReqId()
    except ConnectionError as error:
        raise BrokerError(f"account values: {error}") from error
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)

    def on_value(number: int, account: str, tag: str, value: str, currency: str) -> None:
        # A late answer to an earlier question must not pass for this one.
        if number == request:
            found[account][tag] = (value, currency)

    answered = wrapper.startReq(request)  # type: ignore[no-untyped-call]  # ib_insync's, untyped
    # The decoder reads it at each message.
    vars(wrapper)["accountSummary"] = on_value
    try:
        ib.client.reqAccountSummary(request, "All", f"{NET},{EXCESS},{CASH}")  # type: ignore[no-untyped-call]  # as above
        async with asyncio.timeout(within):
            await answered
    except TimeoutError as error:
        raise BrokerError(f"account values: not answered within {within:g} s") from error
    except (RequestError, ConnectionError) as error:
        raise BrokerError(f"account values: {error}") from error
    finally:
        vars(wrapper).pop("accountSummary", None)
        if ib.client.isConnected():  # type: ignore[no-untyped-call]  # as above
            ib.client.cancelAccountSummary(request)  # type: ignore[no-untyped-call]  # as above
    values = (_values(account, tags, now) for account, tags in sorted(found.items()))
    return tuple(value for value in values if value is not None)


def _values(account: str, tags: dict[str, tuple[str, str]], now: datetime) -> AccountValues | None:
    """None for an account of which the answer has no net liquidation value."""
    net = _amount(tags, NET)
    if net is None or not account:
        return None
    return AccountValues(account, now, tags[NET][1], net, _amount(tags, EXCESS), _amount(tags, CASH))


def _amount(tags: dict[str, tuple[str, str]], tag: str) -> Decimal | None:
    try:
        amount = Decimal(tags[tag][0])
    except (KeyError, InvalidOperation):
        return None
    return amount if amount.is_finite() else None
