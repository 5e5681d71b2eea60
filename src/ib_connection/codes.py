"""The message codes of IB's API that this project acts on or explains.

Source: IB's published list of TWS API message codes. A message is ``4|2|reqId|code|text``; reqId is -1 where it
belongs to no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Severity(Enum):
    """How much a code matters to a session."""

    INFORMATION = "information"
    WARNING = "warning"
    """A part is degraded; the session goes on."""
    ERROR = "error"
    """The request or the link failed."""


@dataclass(frozen=True, slots=True)
class Code:
    """One code: its number, what it means, how much it matters."""

    number: int
    meaning: str
    severity: Severity


LINK_LOST = 1100
LINK_RESTORED_DATA_LOST = 1101
LINK_RESTORED = 1102
CLIENT_ID_IN_USE = 326
REQUEST_INVALID = 321

CODES: Mapping[int, Code] = MappingProxyType(
    {
        code.number: code
        for code in (
            Code(200, "no such contract, or it is ambiguous", Severity.ERROR),
            Code(201, "order rejected", Severity.ERROR),
            Code(202, "order cancelled", Severity.INFORMATION),
            Code(REQUEST_INVALID, "request refused, among others by a read-only API", Severity.ERROR),
            Code(CLIENT_ID_IN_USE, "client id already in use", Severity.ERROR),
            Code(354, "market data not subscribed", Severity.WARNING),
            Code(502, "no connection to the gateway", Severity.ERROR),
            Code(504, "not connected, nothing was sent", Severity.ERROR),
            Code(LINK_LOST, "gateway lost its link to IB", Severity.ERROR),
            Code(LINK_RESTORED_DATA_LOST, "link to IB restored, subscriptions lost", Severity.WARNING),
            Code(LINK_RESTORED, "link to IB restored, subscriptions retained", Severity.INFORMATION),
            Code(2103, "market data farm down", Severity.WARNING),
            Code(2104, "market data farm connected", Severity.INFORMATION),
            Code(2105, "historical data farm down", Severity.WARNING),
            Code(2106, "historical data farm connected", Severity.INFORMATION),
            Code(2107, "historical data farm inactive until used", Severity.INFORMATION),
            Code(2108, "market data farm inactive until used", Severity.INFORMATION),
            Code(2110, "gateway's link to IB is broken, it reconnects by itself", Severity.ERROR),
            Code(2157, "security definition farm down", Severity.WARNING),
            Code(2158, "security definition farm connected", Severity.INFORMATION),
            Code(10197, "a competing session has the market data", Severity.WARNING),
        )
    }
)
"""Every code by its number."""


def explains_failure(number: int) -> bool:
    """Whether a code explains a failure. A code that is not in the table does, unless IB counts it as a notice."""
    code = CODES.get(number)
    if code is None:
        return not 2100 <= number < 2200
    return code.severity is not Severity.INFORMATION


def is_read_only_refusal(number: int, text: str) -> bool:
    """Whether an error reports a read-only API. 321 alone only reports a rejected request."""
    return number == REQUEST_INVALID and "read-only" in text.lower()
