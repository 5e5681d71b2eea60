"""What clients ask: the TWS API's request messages, read from their fields.

A request is decoded only when the simulator serves it; the others are known by name and by the position
of their request id, which is enough to reject them properly. Layouts are those of server
versions 176 to 178; of the requests read in full only placeOrder differs between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway_simulator.api.requests import accounts, contracts, history, market, orders
from gateway_simulator.api.requests.accounts import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
    CancelAccountSummary,
    CancelAccountUpdatesMulti,
    CancelNewsBulletins,
    CancelPositions,
    CancelPositionsMulti,
    CancelProfitAndLoss,
    CancelProfitAndLossSingle,
    CurrentTime,
    CurrentTimeInMillis,
    FamilyCodes,
    ManagedAccounts,
    NewsBulletins,
    NewsProviders,
    Positions,
    PositionsMulti,
    ProfitAndLoss,
    ProfitAndLossSingle,
    Silent,
    SoftDollarTiers,
    StartApi,
    UserInfo,
)
from gateway_simulator.api.requests.contracts import (
    ContractDetails,
    MarketDepthExchanges,
    MarketRule,
    MatchingSymbols,
    OptionParameters,
    SmartComponents,
)
from gateway_simulator.api.requests.history import (
    CancelHeadTimestamp,
    CancelHistoricalData,
    HeadTimestamp,
    HistoricalData,
    HistoricalTicks,
)
from gateway_simulator.api.requests.market import (
    CalculateImpliedVolatility,
    CalculateOptionPrice,
    CancelCalculateImpliedVolatility,
    CancelCalculateOptionPrice,
    CancelMarketData,
    CancelRealTimeBars,
    CancelTickByTick,
    MarketData,
    MarketDataType,
    RealTimeBars,
    TickByTick,
)
from gateway_simulator.api.requests.orders import (
    AllOpenOrders,
    AutoOpenOrders,
    CancelOrder,
    CompletedOrders,
    Executions,
    GlobalCancel,
    NextIds,
    OpenOrders,
    PlaceOrder,
)
from gateway_simulator.api.requests.placing import read_place_order
from gateway_simulator.api.requests.reader import INTEGER, MalformedRequestError, Reader

__all__ = [
    "REQUEST_NAMES",
    "SERVED_IDS",
    "AccountSummary",
    "AccountUpdates",
    "AccountUpdatesMulti",
    "AllOpenOrders",
    "AutoOpenOrders",
    "CalculateImpliedVolatility",
    "CalculateOptionPrice",
    "CancelAccountSummary",
    "CancelAccountUpdatesMulti",
    "CancelCalculateImpliedVolatility",
    "CancelCalculateOptionPrice",
    "CancelHeadTimestamp",
    "CancelHistoricalData",
    "CancelMarketData",
    "CancelNewsBulletins",
    "CancelOrder",
    "CancelPositions",
    "CancelPositionsMulti",
    "CancelProfitAndLoss",
    "CancelProfitAndLossSingle",
    "CancelRealTimeBars",
    "CancelTickByTick",
    "CompletedOrders",
    "ContractDetails",
    "CurrentTime",
    "CurrentTimeInMillis",
    "Executions",
    "FamilyCodes",
    "GlobalCancel",
    "HeadTimestamp",
    "HistoricalData",
    "HistoricalTicks",
    "MalformedRequestError",
    "ManagedAccounts",
    "MarketData",
    "MarketDataType",
    "MarketDepthExchanges",
    "MarketRule",
    "MatchingSymbols",
    "NewsBulletins",
    "NewsProviders",
    "NextIds",
    "OpenOrders",
    "OptionParameters",
    "PlaceOrder",
    "Positions",
    "PositionsMulti",
    "ProfitAndLoss",
    "ProfitAndLossSingle",
    "RealTimeBars",
    "Request",
    "Silent",
    "SmartComponents",
    "SoftDollarTiers",
    "StartApi",
    "TickByTick",
    "UnknownRequestError",
    "Unserved",
    "UserInfo",
    "decode_request",
    "request_name",
]


class UnknownRequestError(Exception):
    """A message id that no server up to version 178 knows."""


@dataclass(frozen=True)
class Unserved:
    """A request of the API that this simulator does not serve."""

    name: str
    request_id: int
    ends_subscription: bool


Request = (
    StartApi
    | AccountSummary
    | AccountUpdates
    | AccountUpdatesMulti
    | AllOpenOrders
    | AutoOpenOrders
    | CalculateImpliedVolatility
    | CalculateOptionPrice
    | CancelAccountSummary
    | CancelAccountUpdatesMulti
    | CancelCalculateImpliedVolatility
    | CancelCalculateOptionPrice
    | CancelHeadTimestamp
    | CancelHistoricalData
    | CancelMarketData
    | CancelNewsBulletins
    | CancelOrder
    | CancelPositions
    | CancelPositionsMulti
    | CancelProfitAndLoss
    | CancelProfitAndLossSingle
    | CancelRealTimeBars
    | CancelTickByTick
    | CompletedOrders
    | ContractDetails
    | CurrentTime
    | CurrentTimeInMillis
    | Executions
    | FamilyCodes
    | GlobalCancel
    | HeadTimestamp
    | HistoricalData
    | HistoricalTicks
    | ManagedAccounts
    | MarketData
    | MarketDataType
    | MarketDepthExchanges
    | MarketRule
    | MatchingSymbols
    | NewsBulletins
    | NewsProviders
    | NextIds
    | OpenOrders
    | OptionParameters
    | PlaceOrder
    | Positions
    | PositionsMulti
    | ProfitAndLoss
    | ProfitAndLossSingle
    | RealTimeBars
    | Silent
    | SmartComponents
    | SoftDollarTiers
    | TickByTick
    | Unserved
    | UserInfo
)

_Read = Callable[[Reader], Request]


def _plain(result: Request) -> _Read:
    """A request of no fields at all."""
    return lambda take: result


def _versioned(result: Request) -> _Read:
    """A request that contains nothing but its version, which is 1."""

    def read(take: Reader) -> Request:
        take.version(1)
        return result

    return read


def _identified(kind: Callable[[int], Request]) -> _Read:
    """A request of its id alone."""
    return lambda take: kind(take.identify())


def _versioned_and_identified(kind: Callable[[int], Request], *versions: int) -> _Read:
    """A request of its version, by default 1, and its id."""

    def read(take: Reader) -> Request:
        take.version(*(versions or (1,)))
        return kind(take.identify())

    return read


_SERVED: dict[int, tuple[str, _Read]] = {
    1: ("reqMktData", market.read_market_data),
    2: ("cancelMktData", _versioned_and_identified(CancelMarketData, 1, 2)),
    3: ("placeOrder", read_place_order),
    4: ("cancelOrder", orders.read_cancel_order),
    5: ("reqOpenOrders", _versioned(OpenOrders())),
    6: ("reqAccountUpdates", accounts.read_account_updates),
    7: ("reqExecutions", orders.read_executions),
    8: ("reqIds", orders.read_next_ids),
    9: ("reqContractDetails", contracts.read_contract_details),
    12: ("reqNewsBulletins", accounts.read_news_bulletins),
    13: ("cancelNewsBulletins", _versioned(CancelNewsBulletins())),
    14: ("setServerLogLevel", accounts.read_log_level),
    15: ("reqAutoOpenOrders", orders.read_auto_open_orders),
    16: ("reqAllOpenOrders", _versioned(AllOpenOrders())),
    17: ("reqManagedAccts", _versioned(ManagedAccounts())),
    20: ("reqHistoricalData", history.read_historical_data),
    25: ("cancelHistoricalData", _versioned_and_identified(CancelHistoricalData)),
    49: ("reqCurrentTime", _versioned(CurrentTime())),
    50: ("reqRealTimeBars", market.read_real_time_bars),
    51: ("cancelRealTimeBars", _versioned_and_identified(CancelRealTimeBars)),
    54: ("calculateImpliedVolatility", market.read_implied_volatility),
    55: ("calculateOptionPrice", market.read_option_price),
    56: ("cancelCalculateImpliedVolatility", _versioned_and_identified(CancelCalculateImpliedVolatility)),
    57: ("cancelCalculateOptionPrice", _versioned_and_identified(CancelCalculateOptionPrice)),
    58: ("reqGlobalCancel", _versioned(GlobalCancel())),
    59: ("reqMarketDataType", market.read_market_data_type),
    61: ("reqPositions", _versioned(Positions())),
    62: ("reqAccountSummary", accounts.read_account_summary),
    63: ("cancelAccountSummary", _versioned_and_identified(CancelAccountSummary)),
    64: ("cancelPositions", _versioned(CancelPositions())),
    71: ("startApi", accounts.read_start_api),
    74: ("reqPositionsMulti", accounts.read_positions_multi),
    75: ("cancelPositionsMulti", _versioned_and_identified(CancelPositionsMulti)),
    76: ("reqAccountUpdatesMulti", accounts.read_account_updates_multi),
    77: ("cancelAccountUpdatesMulti", _versioned_and_identified(CancelAccountUpdatesMulti)),
    78: ("reqSecDefOptParams", contracts.read_option_parameters),
    79: ("reqSoftDollarTiers", _identified(SoftDollarTiers)),
    80: ("reqFamilyCodes", _plain(FamilyCodes())),
    81: ("reqMatchingSymbols", contracts.read_matching_symbols),
    82: ("reqMktDepthExchanges", _plain(MarketDepthExchanges())),
    83: ("reqSmartComponents", contracts.read_smart_components),
    85: ("reqNewsProviders", _plain(NewsProviders())),
    87: ("reqHeadTimeStamp", history.read_head_timestamp),
    90: ("cancelHeadTimeStamp", _identified(CancelHeadTimestamp)),
    91: ("reqMarketRule", contracts.read_market_rule),
    92: ("reqPnL", accounts.read_profit_and_loss),
    93: ("cancelPnL", _identified(CancelProfitAndLoss)),
    94: ("reqPnLSingle", accounts.read_profit_and_loss_single),
    95: ("cancelPnLSingle", _identified(CancelProfitAndLossSingle)),
    96: ("reqHistoricalTicks", history.read_historical_ticks),
    97: ("reqTickByTickData", market.read_tick_by_tick),
    98: ("cancelTickByTickData", _identified(CancelTickByTick)),
    99: ("reqCompletedOrders", orders.read_completed_orders),
    104: ("reqUserInfo", _identified(UserInfo)),
    105: ("reqCurrentTimeInMillis", _plain(CurrentTimeInMillis())),
    106: ("cancelContractData", lambda take: Silent()),
    107: ("cancelHistoricalTicks", lambda take: Silent()),
}

_UNSERVED: dict[int, tuple[str, int | None]] = {
    # message id: name, and the position of the request id among the fields (None: it has none)
    10: ("reqMktDepth", 2),
    11: ("cancelMktDepth", 2),
    18: ("requestFA", None),
    19: ("replaceFA", 4),
    21: ("exerciseOptions", 2),
    22: ("reqScannerSubscription", 1),
    23: ("cancelScannerSubscription", 2),
    24: ("reqScannerParameters", None),
    52: ("reqFundamentalData", 2),
    53: ("cancelFundamentalData", 2),
    65: ("verifyRequest", None),
    66: ("verifyMessage", None),
    67: ("queryDisplayGroups", 2),
    68: ("subscribeToGroupEvents", 2),
    69: ("updateDisplayGroup", 2),
    70: ("unsubscribeFromGroupEvents", 2),
    72: ("verifyAndAuthRequest", None),
    73: ("verifyAndAuthMessage", None),
    84: ("reqNewsArticle", 1),
    86: ("reqHistoricalNews", 1),
    88: ("reqHistogramData", 1),
    89: ("cancelHistogramData", 1),
    100: ("reqWshMetaData", 1),
    101: ("cancelWshMetaData", 1),
    102: ("reqWshEventData", 1),
    103: ("cancelWshEventData", 1),
}


SERVED_IDS = tuple(_SERVED)
"""The message ids of the requests that are served."""
REQUEST_NAMES = tuple(name for name, _ in (*_SERVED.values(), *_UNSERVED.values()))
"""The names of all requests, those that are not served too."""


def request_name(fields: Sequence[str]) -> str:
    """Name the request in these fields, for the journal; ``message N`` if it is not known."""
    message_id = int(fields[0]) if INTEGER.fullmatch(fields[0]) else None
    if message_id in _SERVED:
        return _SERVED[message_id][0]
    if message_id in _UNSERVED:
        return _UNSERVED[message_id][0]
    return f"message {fields[0][:20]!r}"


def decode_request(fields: Sequence[str], server_version: int) -> Request:
    """Read a request from a frame's fields, of which there is at least one, at a session's server version.

    Raises MalformedRequestError if its fields do not fit its layout, UnknownRequestError if there is
    no request of its message id.
    """
    message_id = int(fields[0]) if INTEGER.fullmatch(fields[0]) else None
    if message_id in _SERVED:
        name, read = _SERVED[message_id]
        take = Reader(name, fields, server_version)
        return read(take)  # what follows is of a newer version, and ignored
    if message_id in _UNSERVED:
        name, at = _UNSERVED[message_id]
        request_id = -1
        if at is not None and at < len(fields) and INTEGER.fullmatch(fields[at]):
            request_id = int(fields[at])
        ends_subscription = name.startswith(("cancel", "unsubscribe"))
        return Unserved(name, request_id, ends_subscription)
    raise UnknownRequestError(f"Fatal error: Unknown message id. ({fields[0][:20]!r})")
