"""What a drill tries: the moments at which an engine loses its broker or its life while an order is on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """Where an order is when it happens."""

    WRITTEN = "in the journal, not sent yet"
    LEFT = "sent, not at the broker yet"
    HALF_SENT = "half of its message is at the broker"
    ARRIVED = "at the broker, its acknowledgement on the way back"
    HALF_ACKNOWLEDGED = "at the broker, half of its acknowledgement is here"
    ACKNOWLEDGED = "acknowledged, nothing of its execution reported yet"


@dataclass(frozen=True)
class Case:
    """One trial. ``kill``: the engine dies at the moment, else its connection is cut."""

    name: str
    moment: Moment
    kill: bool = False

    @property
    def text(self) -> str:
        return f"{'the engine is killed' if self.kill else 'the connection is cut'}; the order is {self.moment}"


CASES = (
    Case("before-it-arrives", Moment.LEFT),
    Case("before-its-acknowledgement", Moment.ARRIVED),
    Case("before-its-fill", Moment.ACKNOWLEDGED),
    Case("half-an-order", Moment.HALF_SENT),
    Case("half-an-acknowledgement", Moment.HALF_ACKNOWLEDGED),
    Case("killed-before-sending", Moment.WRITTEN, kill=True),
    Case("killed-before-its-acknowledgement", Moment.ARRIVED, kill=True),
)
"""All that can be tried on a wire."""
SIM_CASES = tuple(case for case in CASES if case.moment not in (Moment.HALF_SENT, Moment.HALF_ACKNOWLEDGED))
"""The simulated broker has no wire, so no halves of messages."""


class Tripwire:
    """Springs once, at its moment. ``then`` is called at that instant."""

    def __init__(self, moment: Moment, then: Callable[[], None]) -> None:
        self.moment = moment
        self.sprung = False
        self._then = then

    def waits_for(self, *moments: Moment) -> bool:
        """Whether it is still to spring, at one of these."""
        return not self.sprung and self.moment in moments

    def spring(self) -> None:
        self.sprung = True
        self._then()
