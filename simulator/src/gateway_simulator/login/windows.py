"""The gateway's windows as IBC logs them: opened and closed, and which one has the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_simulator.login.steps import Ibc, Step


@dataclass
class _Window:
    kind: str
    title: str

    def event(self, name: str) -> Ibc:
        return Ibc(f"detected {self.kind} entitled: {self.title}; event={name}")


class Screen:
    """The open windows. Each method returns the lines that IBC logs, in one of the orders in which it does.

    With the real program the order of a focus event against another window's events is a race.
    """

    def __init__(self) -> None:
        self._windows: list[_Window] = []

    def open(self, kind: str, title: str, *handled: Step) -> list[Step]:
        """Open a frame or dialog on top; ``handled`` is how IBC handles it, before the focus moves."""
        window = _Window(kind, title)
        before = self._windows[-1] if self._windows else None
        self._windows.append(window)
        return [window.event("Opened"), *handled, *_leave(before), *_enter(window)]

    def close(self, title: str, *handled: Step) -> list[Step]:
        """Close a window; the one below gets the focus. ``handled``: what IBC does about its end."""
        window = self._find(title)
        on_top = self._windows[-1] is window
        self._windows.remove(window)
        below = self._windows[-1] if self._windows and on_top else None
        return [
            *(_leave(window) if on_top else ()),
            window.event("Closed"),
            *handled,
            *(_enter(below) if below else ()),
        ]

    def replace(self, old: str, new: str) -> list[Step]:
        """Open a window in the place of another one of its kind, which closes."""
        window = self._find(old)
        successor = _Window(window.kind, new)
        self._windows[self._windows.index(window)] = successor
        return [successor.event("Opened"), *_leave(window), *_enter(successor), window.event("Closed")]

    def retitle(self, old: str, new: str) -> None:
        """Rename an open window, which IBC does not notice."""
        self._find(old).title = new

    def has(self, title: str) -> bool:
        """Whether a window with this title is open."""
        return any(window.title == title for window in self._windows)

    def _find(self, title: str) -> _Window:
        return next(window for window in reversed(self._windows) if window.title == title)


def _leave(window: _Window | None) -> Sequence[Step]:
    return (window.event("Lost focus"), window.event("Deactivated")) if window else ()


def _enter(window: _Window) -> Sequence[Step]:
    return (window.event("Activated"), window.event("Focused"))
