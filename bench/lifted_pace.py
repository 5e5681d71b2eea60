"""The position manager without its own limit of questions a second, while a measurement is set up: 10,000 contracts
take six minutes otherwise."""

from __future__ import annotations

from position_manager.brokers import ib_pace

_KEPT = ib_pace.QUESTIONS, ib_pace.ORDERS
MANY = 1_000_000


def lift() -> None:
    """From now on."""
    ib_pace.QUESTIONS = ib_pace.ORDERS = MANY


def restore() -> None:
    """As it is in use."""
    ib_pace.QUESTIONS, ib_pace.ORDERS = _KEPT
