"""What the parts of a session share: whom they serve, and on which floor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.floor import Floor
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.combination import CombinationError, resolve
from gateway_simulator.trading.model import Contract, ContractQuery, Instrument

READ_ONLY = "Error validating request.-'bN' : cause - The API interface is currently in Read-Only mode."

Handler = Callable[[Any], Iterable[bytes]]
"""Handles one kind of request by returning frames, or raises :class:`RefusalError`."""


class RefusalError(Exception):
    """A request that is answered with an error; ``request_id`` None: that of the request."""

    def __init__(self, code: int, text: str, request_id: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.request_id = request_id


@dataclass(frozen=True)
class Desk:
    """One client of one server. ``error`` creates an error's frame of request id, code and text, and records it."""

    floor: Floor
    client_id: int
    server_version: int
    error: Callable[[int, int, str], bytes]

    @property
    def brokerage(self) -> Brokerage:
        """The brokerage behind the API."""
        return self.floor.brokerage

    @property
    def behaviour(self) -> ApiBehaviour:
        """The API's switches."""
        return self.floor.behaviour

    def now(self) -> datetime:
        """The present of the servers, in UTC."""
        return self.floor.clock.utc()

    def may_order(self, request_id: int = -1) -> None:
        """Reject (321) while the API is read-only."""
        if self.behaviour.read_only:
            raise RefusalError(321, READ_ONLY, request_id)

    def account(self, account_id: str) -> Account:
        """The account of this id; the only one there is may be left out. Refuses (321) any other."""
        accounts = self.brokerage.accounts
        if not account_id and len(accounts) == 1:
            return next(iter(accounts.values()))
        if account_id not in accounts:
            cause = f"Invalid account code '{account_id}'." if account_id else "The account code is required."
            raise RefusalError(321, f"Error validating request.-'bA' : cause - {cause}")
        return accounts[account_id]

    def instrument(self, contract: Contract, *, include_expired: bool = False) -> Instrument:
        """The one instrument that a client describes; rejects (200) none and several."""
        found = self.brokerage.catalog.find(ContractQuery.of(contract), include_expired=include_expired)
        if not found:
            raise RefusalError(200, "No security definition has been found for the request")
        if len(found) > 1:
            name = contract.local_symbol or contract.symbol
            raise RefusalError(200, f"The contract description specified for {name} is ambiguous.")
        return found[0]

    def quoted(self, contract: Contract) -> Instrument:
        """The one instrument or combination that a client describes to see its quotes; rejects any other."""
        if contract.sec_type != "BAG":
            return self.instrument(contract)
        try:
            return resolve(self.brokerage.catalog, contract)
        except CombinationError as error:
            raise RefusalError(error.code, error.text) from error
