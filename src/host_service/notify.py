"""Messages to systemd about the state of a service (`sd_notify`), over the datagram socket it names.

Source: sd_notify(3). Outside of a unit of Type=notify there is no socket, and nothing is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

STATUS_BYTES = 1024
"""systemd drops a datagram above 4,096 bytes whole, with all that is in it (NOTIFY_BUFFER_MAX, which is PIPE_BUF, in
its src/core/manager.c). `systemctl status` shows one line, and what is cut is in the journal."""

_CUT = "…".encode()


class Notifier:
    """Reports the state of the service to systemd.

    `address` is what NOTIFY_SOCKET holds: a path, or a name that starts with @ for the abstract name space; None
    for no manager to notify. Raises ValueError for an address that is neither.
    """

    def __init__(self, address: str | None) -> None:
        if address and address[0] not in "/@":
            raise ValueError(f"NOTIFY_SOCKET {address!r} is neither an absolute path nor an abstract name (@…).")
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        return cls(environment.get("NOTIFY_SOCKET") or None)

    def ready(self) -> None:
        """The start is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows, also after the service has ended; cut at `STATUS_BYTES`."""
        line = " ".join(text.split()).encode()
        if len(line) > STATUS_BYTES:
            # A character that is cut in two is dropped.
            line = line[: STATUS_BYTES - len(_CUT)].decode(errors="ignore").encode() + _CUT
        self._send(f"STATUS={line.decode()}")

    def extend_timeout(self, seconds: float) -> None:
        """The start or stop under way may take at least `seconds` more from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def watchdog(self) -> None:
        """The service is alive."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is stopping."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(message.encode(), self._address)
