"""Contracts: details, chains, symbols, and the rules by which they trade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gateway_simulator.api import messages, requests
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.trading.catalog import MARKET_RULES


class Contracts:
    """What there is to trade."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.handlers: Mapping[type, Handler] = {
            requests.ContractDetails: self._details,
            requests.OptionParameters: self._option_parameters,
            requests.MatchingSymbols: self._matching_symbols,
            requests.MarketRule: self._market_rule,
            requests.SmartComponents: self._smart_components,
            requests.MarketDepthExchanges: self._market_depth_exchanges,
        }

    def _details(self, request: requests.ContractDetails) -> Iterable[bytes]:
        if request.query.sec_type == "BAG":
            return  # a gateway never answers this (pst-group/pysystemtrade, pull request 1659)
        found = self._desk.brokerage.catalog.find(request.query, include_expired=request.include_expired)
        if not found:
            raise RefusalError(200, "No security definition has been found for the request")
        hours, now = self._desk.brokerage.hours, self._desk.now()
        for each in found:
            instrument = replace(
                each, trading_hours=hours.trading_hours(each, now), liquid_hours=hours.liquid_hours(each, now)
            )
            yield messages.contract_details(request.request_id, instrument)
        yield messages.contract_details_end(request.request_id)

    def _option_parameters(self, request: requests.OptionParameters) -> Iterable[bytes]:
        for chain in self._desk.brokerage.catalog.chains(request.con_id, request.exchange):
            yield messages.option_parameters(request.request_id, chain)
        yield messages.option_parameters_end(request.request_id)

    def _matching_symbols(self, request: requests.MatchingSymbols) -> Iterable[bytes]:
        yield messages.symbol_samples(request.request_id, self._desk.brokerage.catalog.search(request.pattern))

    def _market_rule(self, request: requests.MarketRule) -> Iterable[bytes]:
        if request.rule_id not in MARKET_RULES:
            cause = f"No market rule {request.rule_id} found."
            raise RefusalError(321, f"Error validating request.-'bZ' : cause - {cause}")
        yield messages.market_rule(request.rule_id, MARKET_RULES[request.rule_id])

    def _smart_components(self, request: requests.SmartComponents) -> Iterable[bytes]:
        yield messages.smart_components(request.request_id)

    def _market_depth_exchanges(self, _: requests.MarketDepthExchanges) -> Iterable[bytes]:
        yield messages.market_depth_exchanges()
