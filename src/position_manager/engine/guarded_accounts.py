"""The accounts of the session that are guarded."""

from __future__ import annotations

from collections.abc import Iterable


class GuardedAccounts:
    """None before the first session. A new account is not among them before a person accepts it."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def replace(self, names: Iterable[str]) -> None:
        """The session is a new one, with these accounts."""
        self._names = tuple(names)

    def add(self, names: Iterable[str]) -> None:
        self._names = (*self._names, *names)
