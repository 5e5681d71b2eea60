"""The instruments that were ever held, and the names that people have for them."""

from __future__ import annotations

from collections.abc import Mapping

from position_manager.engine.guard import Key
from position_manager.model import Instrument


class KnownInstruments:
    """By contract id. What is gone stays known."""

    def __init__(self) -> None:
        self._by_id: dict[int, Instrument] = {}

    @property
    def by_id(self) -> Mapping[int, Instrument]:
        return self._by_id

    def get(self, con_id: int) -> Instrument | None:
        return self._by_id.get(con_id)

    def add(self, instruments: Mapping[int, Instrument]) -> None:
        self._by_id.update(instruments)

    def label(self, con_id: int) -> str:
        """The readable name of a contract."""
        instrument = self._by_id.get(con_id)
        return f"contract {con_id}" if instrument is None else instrument.label

    def matches(self, key: Key, what: str) -> bool:
        """Whether a person means this contract by ``what``: its id, its label or its local symbol."""
        instrument = self._by_id.get(key[1])
        local = "" if instrument is None else " ".join(instrument.local_symbol.split())
        return " ".join(what.split()) in (str(key[1]), self.label(key[1]), local)
