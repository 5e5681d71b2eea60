"""What stops sending: the halts on disk, and another manager that was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from position_manager.clock import Clock
from position_manager.engine.rivals import Rivals
from position_manager.halt import Halt, HaltRecord, Halts
from position_manager.orders.evidence import Execution, OpenOrder


class SendingHalts:
    """Reads them at the moment of each question; ``present`` are those of the last `report`."""

    def __init__(self, halts: Halts, clock: Clock) -> None:
        self._halts = halts
        self._clock = clock
        self._rivals: Rivals | None = None
        self._present: tuple[Halt, ...] = ()

    @property
    def record(self) -> HaltRecord:
        """The halt on disk that this process may write and end."""
        return self._halts.record

    @property
    def present(self) -> tuple[Halt, ...]:
        """What people were last notified of."""
        return self._present

    def report(self, halts: tuple[Halt, ...]) -> None:
        """Store what people are notified of."""
        self._present = halts

    def read_disk(self) -> tuple[Halt, ...]:
        """The halts on disk."""
        return self._halts.read()

    def read(self) -> tuple[Halt, ...]:
        """All that stops sending at this moment, another manager included."""
        rival = self.rival()
        return (*self._halts.read(), *(() if rival is None else (rival,)))

    # ----- other managers

    def watch_for(self, rivals: Rivals) -> None:
        """Watch for other managers from now on: this one sends, and the first session has started."""
        self._rivals = rivals

    @property
    def watches(self) -> bool:
        """Whether other managers are watched for."""
        return self._rivals is not None

    def see(self, accounts: Collection[str], orders: Iterable[OpenOrder], executions: Iterable[Execution] = ()) -> None:
        """What the broker shows now."""
        if self._rivals is not None:
            self._rivals.see(accounts, orders, executions, self._clock.now())

    def see_on_host(self, what: str) -> None:
        """``what``: who guards one of our accounts on this host; empty if nobody does."""
        if self._rivals is not None:
            self._rivals.see_on_host(what, self._clock.now())

    def rival(self) -> Halt | None:
        """The halt for another manager; None if none was seen lately."""
        return None if self._rivals is None else self._rivals.halt(self._clock.now())
