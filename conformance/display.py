"""X displays without a screen, each of one flow at a time: windows of two flows would take each other's focus."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType

from conformance.controller import UnavailableError

__all__ = ["Display"]


class Display:
    """An Xvfb server; `name` is its display (":5"). Ends with the `with` block, or by `stop`."""

    def __init__(self) -> None:
        program = shutil.which("Xvfb")
        if program is None:
            raise UnavailableError("Xvfb was not found; install the package xvfb.")
        read_end, write_end = os.pipe()
        try:
            self._server = subprocess.Popen(  # noqa: S603
                [program, "-displayfd", str(write_end), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
                pass_fds=(write_end,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            os.close(write_end)
        # The server writes the number once it accepts clients; nothing if it could not start.
        with os.fdopen(read_end) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise UnavailableError(f"Xvfb ended with status {self._server.wait()} at its start.")
        self.name = f":{number}"

    def stop(self) -> None:
        """End the server; its clients lose their connection."""
        if self._server.poll() is None:
            self._server.terminate()
            self._server.wait()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
