"""Requests about contracts: what there is, and by which rules it trades."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_simulator.api.requests.reader import Reader
from gateway_simulator.trading.model import ContractQuery


@dataclass(frozen=True)
class ContractDetails:
    """Report the contracts that fit a description."""

    request_id: int
    query: ContractQuery
    include_expired: bool = False


@dataclass(frozen=True)
class MatchingSymbols:
    """Report the contracts whose symbol or name starts with a pattern."""

    request_id: int
    pattern: str


@dataclass(frozen=True)
class OptionParameters:
    """Report the expirations and strikes of an underlying's options; ``exchange`` is given if it is a future."""

    request_id: int
    symbol: str
    exchange: str
    sec_type: str
    con_id: int


@dataclass(frozen=True)
class MarketRule:
    """Report the price increments of a market rule."""

    rule_id: int


@dataclass(frozen=True)
class SmartComponents:
    """Report the exchanges behind the letters of a BBO exchange map."""

    request_id: int
    exchange: str


@dataclass(frozen=True)
class MarketDepthExchanges:
    """Report the exchanges that offer market depth."""


def read_contract_details(take: Reader) -> ContractDetails:
    """Read reqContractDetails."""
    take.version(8)
    request_id, query, include_expired = take.identify(), take.query(), take.flag("include expired")
    take.text("security id type")
    take.text("security id")
    take.text("issuer id")
    return ContractDetails(request_id, query, include_expired)


def read_matching_symbols(take: Reader) -> MatchingSymbols:
    """Read reqMatchingSymbols."""
    return MatchingSymbols(take.identify(), take.text("pattern"))


def read_option_parameters(take: Reader) -> OptionParameters:
    """Read reqSecDefOptParams."""
    return OptionParameters(
        take.identify(),
        take.text("underlying symbol"),
        take.text("exchange"),
        take.text("underlying security type"),
        take.optional_integer("underlying contract id"),
    )


def read_market_rule(take: Reader) -> MarketRule:
    """Read reqMarketRule."""
    return MarketRule(take.integer("market rule id"))


def read_smart_components(take: Reader) -> SmartComponents:
    """Read reqSmartComponents."""
    return SmartComponents(take.identify(), take.text("BBO exchange"))
