"""Which contracts a data farm of IB quotes, as far as its name shows it. Pure.

IB reports that a farm is down by its name alone, and never which contracts it quotes. The names are not documented;
these are the ones seen in public logs. A name that is not known blinds every contract.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from position_manager.model import Instrument, Kind

AMERICAN = frozenset({"USD", "CAD", "MXN"})
EUROPEAN = frozenset({"EUR", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "ILS", "ZAR"})
ASIAN = frozenset({"JPY", "HKD", "AUD", "SGD", "CNH", "CNY", "INR", "KRW", "TWD", "NZD"})

_BY_PREFIX: MappingProxyType[str, Callable[[Instrument], bool]] = MappingProxyType(
    {
        # Options first: their name starts like that of the stocks.
        "usopt": lambda each: each.currency in AMERICAN and each.is_option,
        "usfuture": lambda each: each.currency in AMERICAN and each.kind in (Kind.FUTURE, Kind.FUTURE_OPTION),
        # An option's delta and underlying come from the farm of the underlying.
        "usfarm": lambda each: each.currency in AMERICAN,
        "eufarm": lambda each: each.currency in EUROPEAN,
        "hfarm": lambda each: each.currency in ASIAN,
        "jfarm": lambda each: each.currency in ASIAN,
        "cashfarm": lambda each: False,
    }
)
_NO_QUOTES = ("hmds", "secdef", "fundfarm")
"""Historical data, contract definitions, funds: nothing that is guarded is quoted by them."""


def quotes(farm: str, instrument: Instrument) -> bool:
    """Whether a farm may quote a contract: everything counts as quoted by a farm that is not known."""
    name = farm.lower()
    if any(part in name for part in _NO_QUOTES):
        return False
    for prefix, covers in _BY_PREFIX.items():
        if name.startswith(prefix):
            return covers(instrument)
    return True
