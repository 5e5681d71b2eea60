"""Messages about contracts: their details, option chains, and the rules they trade by."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from gateway_simulator.api.messages.blocks import ascii7
from gateway_simulator.api.wire import FieldValue, encode_frame
from gateway_simulator.trading.catalog import OptionChain, SymbolMatch
from gateway_simulator.trading.model import Instrument

_SMART_COMPONENTS = (
    ("AMEX", "A"),
    ("BEX", "B"),
    ("NYSENAT", "C"),
    ("DRCTEDGE", "J"),
    ("EDGEA", "K"),
    ("CHX", "M"),
    ("NYSE", "N"),
    ("ARCA", "P"),
    ("NASDAQ", "Q"),
    ("IEX", "V"),
    ("PSX", "X"),
    ("BYX", "Y"),
    ("BATS", "Z"),
)
"""Exchanges that SMART routing compares, each with its letter on the consolidated tape."""

_DEPTH_EXCHANGES = (
    ("ARCA", "STK"),
    ("BATS", "STK"),
    ("IEX", "STK"),
    ("NASDAQ", "STK"),
    ("NYSE", "STK"),
    ("CBOE", "OPT"),
    ("CME", "FUT"),
)


def contract_details(request_id: int, instrument: Instrument) -> bytes:
    """The details of a contract (not a bond, which has a message of its own)."""
    own, underlying = instrument.contract, instrument.underlying
    rules = ",".join(str(instrument.rule_on(exchange)) for exchange in instrument.valid_exchanges.split(","))
    return encode_frame(
        [
            10,
            request_id,
            own.symbol,
            own.sec_type,
            _last_trade(instrument),
            own.strike,
            own.right,
            own.exchange,
            own.currency,
            own.local_symbol,
            instrument.market_name,
            own.trading_class,
            own.con_id,
            instrument.min_tick / own.price_magnifier,  # in the currency, as IB reports it
            own.multiplier,
            instrument.order_types,
            instrument.valid_exchanges,
            own.price_magnifier,
            0 if underlying is None else underlying.con_id,
            ascii7(instrument.long_name),
            own.primary_exchange,
            own.expiry[:6],  # contract month
            instrument.industry,
            instrument.category,
            instrument.subcategory,
            instrument.time_zone,
            instrument.trading_hours,
            instrument.liquid_hours,
            "",  # economic value rule
            "",  # economic value multiplier
            *([1, "ISIN", instrument.isin] if instrument.isin else [0]),  # security ids
            1,  # aggregated group
            "" if underlying is None else underlying.symbol,
            "" if underlying is None else underlying.sec_type,
            rules,  # one for each of the valid exchanges
            own.expiry,  # real expiration date
            instrument.stock_type,
            instrument.min_size,
            instrument.size_increment,
            instrument.suggested_size_increment,
        ]
    )


def _last_trade(instrument: Instrument) -> str:
    """The expiry, with the time and the zone of the last trade where they are known."""
    expiry, time = instrument.contract.expiry, instrument.last_trade_time
    return f"{expiry} {time} {instrument.time_zone}" if expiry and time else expiry


def contract_details_end(request_id: int) -> bytes:
    """The end of the requested contracts."""
    return encode_frame([52, 1, request_id])


def symbol_samples(request_id: int, matches: Sequence[SymbolMatch]) -> bytes:
    """The contracts that fit a searched pattern."""
    fields: list[FieldValue] = [79, request_id, len(matches)]
    for each in matches:
        own = each.contract
        fields += [own.con_id, own.symbol, own.sec_type, own.primary_exchange, own.currency]
        fields += [len(each.derivative_types), *each.derivative_types]
        fields += [each.description, ""]  # issuer id
    return encode_frame(fields)


def option_parameters(request_id: int, chain: OptionChain) -> bytes:
    """The expirations and strikes of one class of options on one exchange."""
    return encode_frame(
        [
            75,
            request_id,
            chain.exchange,
            chain.underlying_con_id,
            chain.trading_class,
            chain.multiplier,
            len(chain.expirations),
            *chain.expirations,
            len(chain.strikes),
            *chain.strikes,
        ]
    )


def option_parameters_end(request_id: int) -> bytes:
    """The end of the requested option classes."""
    return encode_frame([76, request_id])


def market_rule(rule_id: int, increments: Sequence[tuple[Decimal, Decimal]]) -> bytes:
    """A market rule: pairs of a price and the increment from that price on."""
    return encode_frame([93, rule_id, len(increments), *(field for each in increments for field in each)])


def smart_components(request_id: int) -> bytes:
    """The exchanges behind the letters of ticks 32 and 33."""
    fields: list[FieldValue] = [82, request_id, len(_SMART_COMPONENTS)]
    for bit, (exchange, letter) in enumerate(_SMART_COMPONENTS):
        fields += [bit, exchange, letter]
    return encode_frame(fields)


def market_depth_exchanges() -> bytes:
    """The exchanges that offer market depth."""
    fields: list[FieldValue] = [80, len(_DEPTH_EXCHANGES)]
    for exchange, sec_type in _DEPTH_EXCHANGES:
        fields += [exchange, sec_type, "", "Deep", 1]  # listing exchange, kind of data, aggregated group
    return encode_frame(fields)
