"""The window on the gateway's screen: mode, account, login state, and the 2FA dialog with its seconds.

Run as a program with its place on the screen, 0 or 1. It reads one JSON object a line from standard
input and ends at its end.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tkinter
from typing import Any

WIDTH, HEIGHT = 1024, 384
TICK = 200
"""Milliseconds between two drawings of the seconds left."""
FAMILY = "DejaVu Sans"
BACKGROUND, PANEL, TEXT, FAINT = "#10202b", "#1d3442", "#f4f7f9", "#9fb4c0"
COLOURS = {
    "logged_in": "#3ddc84",
    "awaiting_2fa": "#ffb300",
    "relogin_wait": "#ffb300",
    "hanging": "#ff5c5c",
    "stopped": "#ff5c5c",
}
WORDS = {
    "starting": "STARTING",
    "logging_in": "LOGGING IN",
    "awaiting_2fa": "AWAITING SECOND FACTOR",
    "relogin_wait": "WAITING TO LOG IN AGAIN",
    "logged_in": "LOGGED IN",
    "restarting": "RESTARTING",
    "hanging": "LOGIN IS STUCK",
    "stopped": "STOPPED",
}


class GatewayWindow:
    """Draws what it is told."""

    def __init__(self, slot: int) -> None:
        self._root = tkinter.Tk()
        self._root.title("IBKR Gateway (simulated)")
        self._root.geometry(f"{WIDTH}x{HEIGHT}+0+{slot * HEIGHT}")
        self._root.configure(background=BACKGROUND)
        self._until: float | None = None
        self._rest = b""
        self._mode = self._label(20, FAINT)
        self._state = self._label(40, TEXT, bold=True)
        self._note = self._label(18, TEXT)
        self._panel = tkinter.Frame(self._root, background=PANEL, padx=24, pady=12)
        self._dialog = self._label(22, TEXT, parent=self._panel, bold=True)
        self._seconds = self._label(34, COLOURS["awaiting_2fa"], parent=self._panel, bold=True)
        for each in (self._mode, self._state, self._note):
            each.pack(anchor="w", padx=32, pady=(12, 0))
        self._dialog.pack(anchor="w")
        self._root.createfilehandler(sys.stdin.fileno(), tkinter.READABLE, self._read)
        self._tick()

    def run(self) -> None:
        """Show the window until standard input ends."""
        self._root.mainloop()

    def _label(
        self, size: int, colour: str, parent: tkinter.Misc | None = None, *, bold: bool = False
    ) -> tkinter.Label:
        holder = parent or self._root
        return tkinter.Label(
            holder,
            font=(FAMILY, size, "bold" if bold else "normal"),
            foreground=colour,
            background=str(holder["background"]),
            justify="left",
            wraplength=WIDTH - 96,
        )

    def _read(self, *_: object) -> None:
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            self._root.destroy()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._draw(json.loads(lines[-1]))

    def _draw(self, view: dict[str, Any]) -> None:
        accounts = ", ".join(view["accounts"])
        self._mode.configure(text=f"IBKR Gateway (simulated)   {view['mode'].upper()}   {accounts}")
        self._state.configure(text=WORDS[view["state"]], foreground=COLOURS.get(view["state"], TEXT))
        self._note.configure(text=view["note"])
        self._until = view["approval_until"]
        if not view["dialog"]:
            self._panel.pack_forget()
            return
        self._dialog.configure(text=view["dialog"])
        self._seconds.pack_forget()
        if self._until is not None:
            self._seconds.pack(anchor="w")
        self._panel.pack(anchor="w", padx=32, pady=16)
        self._count()

    def _count(self) -> None:
        if self._until is not None:
            self._seconds.configure(text=f"{max(0, round(self._until - time.time()))} s left")

    def _tick(self) -> None:
        self._count()
        self._root.after(TICK, self._tick)


if __name__ == "__main__":
    GatewayWindow(int(sys.argv[1])).run()
