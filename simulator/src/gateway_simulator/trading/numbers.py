"""The numbers that a brokerage hands out. They follow from the seed, and from how many there were before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

FIRST_PERM_ID, PERM_IDS = 10**9, 10**8
"""Permanent ids start at a place in this range that depends on the seed."""


@dataclass(frozen=True)
class Counters:
    """What the brokerage has handed out: numbers of permanent ids, executions and places in time priority."""

    perm_ids: int = 0
    executions: int = 0
    sequence: int = 0


class Numbers:
    """The next one of each kind. ``counters`` is all that must be stored."""

    def __init__(self, seed: int) -> None:
        self.counters = Counters()
        self._seed = seed

    def drawn(self, purpose: str) -> int:
        """Return a number of 64 bits that depends on the seed and the purpose alone."""
        digest = blake2b(f"{self._seed} {purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def next_perm_id(self) -> int:
        """Return a permanent id of an order."""
        self.counters = replace(self.counters, perm_ids=self.counters.perm_ids + 1)
        return FIRST_PERM_ID + self.drawn("perm id") % PERM_IDS + self.counters.perm_ids

    def next_exec_id(self) -> str:
        """Return an id of an execution."""
        self.counters = replace(self.counters, executions=self.counters.executions + 1)
        session = (self.drawn("executions") + self.counters.executions) % 2**32
        return f"0000e0d5.{session:08x}.01.01"

    def next_sequence(self) -> int:
        """Return a place in time priority, behind all before."""
        self.counters = replace(self.counters, sequence=self.counters.sequence + 1)
        return self.counters.sequence
