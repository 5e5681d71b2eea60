"""Who is notified of what the journal has recorded, once it is on disk: for counts and times, never for decisions."""

from __future__ import annotations

from typing import Protocol

from position_manager.orders.intents import Intent


class JournalObserver(Protocol):
    """Its methods must not wait. What they raise is logged once, and does not concern what was recorded."""

    def on_decided(self, rule: str) -> None:
        """A rule, a person or an account stop has decided to close a unit, or in shadow would have."""

    def on_changed(self, old: Intent, new: Intent) -> None:
        """An event has changed an intent."""

    def on_committed(self, seconds: float) -> None:
        """A transaction is on disk, after so many seconds."""


class Unobserved:
    """Nobody is."""

    def on_decided(self, rule: str) -> None:
        pass

    def on_changed(self, old: Intent, new: Intent) -> None:
        pass

    def on_committed(self, seconds: float) -> None:
        pass
