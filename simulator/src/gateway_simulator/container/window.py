"""The window on the gateway's screen: mode, account, login state, and the 2FA dialog with its seconds.

Run as a program with its place on the screen, 0 or 1. It reads one JSON object a line from standard
input and ends at its end. Each code that is entered into the dialog's field is a line of standard output.
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
DIALOG = "#e8e8e8"
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


class CodeDialog:
    """The dialog with the field for a code of an authenticator app."""

    def __init__(self, root: tkinter.Tk, title: str, slot: int) -> None:
        self.wrong_codes = 0
        self._window = tkinter.Toplevel(root, background=DIALOG, padx=12, pady=8)
        self._window.title(title)
        self._window.geometry(f"+600+{slot * HEIGHT + 220}")
        self._text = tkinter.Label(self._window, text="Enter Mobile Authenticator app code", background=DIALOG)
        self._field = tkinter.Entry(
            self._window,
            font=(FAMILY, 14),
            width=16,
            background="white",
            foreground="black",
            relief="solid",
            borderwidth=1,
        )
        self._field.bind("<Button-1>", lambda _: self._field.focus_force())
        self._field.bind("<Return>", self._enter)
        self._text.pack(anchor="w")
        self._field.pack(anchor="w")

    def refuse(self, wrong_codes: int) -> None:
        """The code was wrong."""
        self.wrong_codes = wrong_codes
        self._text.configure(text="The code is not valid. Enter Mobile Authenticator app code")
        self._field.delete(0, tkinter.END)

    def close(self) -> None:
        """The dialog is answered, or its time is over."""
        self._window.destroy()

    def _enter(self, _: object) -> None:
        os.write(sys.stdout.fileno(), f"{self._field.get()}\n".encode())


class GatewayWindow:
    """Draws the views it receives."""

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
        self._slot = slot
        self._code: CodeDialog | None = None
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
        self._draw_code(view)
        if not view["dialog"]:
            self._panel.pack_forget()
            return
        self._dialog.configure(text=view["dialog"])
        self._seconds.pack_forget()
        if self._until is not None:
            self._seconds.pack(anchor="w")
        self._panel.pack(anchor="w", padx=32, pady=16)
        self._count()

    def _draw_code(self, view: dict[str, Any]) -> None:
        if not view["code"]:
            if self._code is not None:
                self._code.close()
            self._code = None
        elif self._code is None:
            self._code = CodeDialog(self._root, view["dialog"], self._slot)
        elif self._code.wrong_codes != view["wrong_codes"]:
            self._code.refuse(view["wrong_codes"])

    def _count(self) -> None:
        if self._until is not None:
            self._seconds.configure(text=f"{max(0, round(self._until - time.time()))} s left")

    def _tick(self) -> None:
        self._count()
        self._root.after(TICK, self._tick)


if __name__ == "__main__":
    GatewayWindow(int(sys.argv[1])).run()
