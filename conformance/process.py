"""A controller's process: its lines with their times, its stop, its exit code."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time

from conformance.controller import Launch, Line

__all__ = ["ControllerProcess"]


class ControllerProcess:
    """A running controller. Standard output and standard error are one log, as in the container."""

    def __init__(self, launch: Launch) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603
            launch.command,
            cwd=launch.folder,
            env=dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for text in self._process.stdout:
            self._lines.put(Line(time.monotonic() - self._started, text.rstrip("\n")))
        self._lines.put(None)

    def line(self, seconds: float) -> Line | None:
        """The next line; None at the log's end. Raises TimeoutError if none comes within `seconds`."""
        try:
            return self._lines.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            raise TimeoutError(f"no line within {seconds:.1f} s") from None

    def terminate(self) -> None:
        """Send SIGTERM to the start script alone, as the image does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """The exit code, as a shell shows it. Raises TimeoutError if the process goes on for longer than `seconds`."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the controller has not ended within {seconds:.1f} s") from error
        return 128 - code if code < 0 else code

    def kill(self) -> None:
        """End the script and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
