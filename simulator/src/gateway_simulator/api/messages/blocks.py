"""Blocks of fields that several messages share, and how the gateway writes what is not set."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from gateway_simulator.api.wire import FieldValue
from gateway_simulator.trading.model import Contract

UNSET_NUMBER = "1.7976931348623157E308"
UNSET_INTEGER = 2147483647
UNSET_LONG = 9223372036854775807


def number(value: Decimal | None) -> FieldValue:
    """Write a number, or the largest double there is for none."""
    return UNSET_NUMBER if value is None else value


def price_or_zero(value: Decimal | None) -> FieldValue:
    """Write a price of an order, which is 0.0 if it has none."""
    return "0.0" if value is None else value


def epoch(moment: datetime) -> int:
    """Write a moment as seconds since 1970."""
    return int(moment.timestamp())


def ascii7(text: str) -> str:
    """Write free text in ASCII: clients decode escapes in it, so that a backslash must be escaped as well."""
    return "".join(each if " " <= each <= "~" and each != "\\" else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def contract_block(contract: Contract, *, exchange: str) -> list[FieldValue]:
    """Write the eleven fields that name a contract."""
    return [
        contract.con_id,
        contract.symbol,
        contract.sec_type,
        contract.expiry,
        contract.strike,
        contract.right,
        contract.multiplier,
        exchange,
        contract.currency,
        contract.local_symbol,
        contract.trading_class,
    ]
