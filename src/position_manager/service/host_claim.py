"""One manager that sends for each account on a host, whatever its directories, instance and client id.

The claim is a socket in the kernel's own (abstract) namespace, named for the account: it needs no directory that all
instances share, and it ends with the process, however that ends. The name holds a hash in place of the account.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
import struct
from collections.abc import Iterable

from ib_connection.accounts import masked

_log = logging.getLogger(__name__)

SCOPE = "POSITION_MANAGER_CLAIM_SCOPE"
"""Environment variable: managers with different scopes do not see each other. For tests, whose accounts are
invented."""


class HostClaim:
    """The accounts that this process guards."""

    def __init__(self, scope: str = "") -> None:
        self._scope = scope
        self._held: dict[str, socket.socket] = {}

    def __call__(self, accounts: Iterable[str]) -> str:
        """Claim accounts; who holds one of them, in words, or nothing if all are ours now."""
        for account in accounts:
            if account not in self._held:
                name = self._name(account)
                channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    channel.bind(name)
                    channel.listen(1)
                except OSError as error:
                    channel.close()
                    if error.errno == errno.EADDRINUSE:
                        return f"{_holder(name)} on this host guards {masked(account)}"
                    # A host that does not support it must not prevent a close.
                    _log.error("account %s cannot be claimed on this host: %s", masked(account), error)
                    continue
                self._held[account] = channel
        return ""

    def close(self) -> None:
        """Give up all of them."""
        while self._held:
            self._held.popitem()[1].close()

    def _name(self, account: str) -> str:
        mark = hashlib.sha256(f"{self._scope}/{account}".encode()).hexdigest()[:32]
        return f"\0position-manager/{mark}"


def _holder(name: str) -> str:
    """The process that holds a claim, as the kernel names it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.setblocking(False)
            channel.connect(name)
            credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return "another process"
    pid, user, _ = struct.unpack("3i", credentials)
    return f"process {pid} of user {user}"
