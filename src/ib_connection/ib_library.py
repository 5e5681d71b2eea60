"""ib_insync, as this project loads it: all that is used of it comes from here.

Its eventkit imports numpy for the sake of ``Event.array``, which nobody here asks for: 13 MB in a process that is to
stay below 80, and a quarter of the time that a handshake takes to load. Elsewhere in the process numpy is as it was.
"""

from __future__ import annotations

from host_service.spared_imports import spared

with spared("numpy"):
    from ib_insync import (
        IB,
        ComboLeg,
        Contract,
        ContractDetails,
        ExecutionFilter,
        LimitOrder,
        Option,
        Order,
        Stock,
        StopLimitOrder,
        Ticker,
        Trade,
    )
    from ib_insync.util import UNSET_DOUBLE, UNSET_INTEGER
    from ib_insync.wrapper import RequestError

__all__ = [
    "IB",
    "UNSET_DOUBLE",
    "UNSET_INTEGER",
    "ComboLeg",
    "Contract",
    "ContractDetails",
    "ExecutionFilter",
    "LimitOrder",
    "Option",
    "Order",
    "RequestError",
    "Stock",
    "StopLimitOrder",
    "Ticker",
    "Trade",
]
