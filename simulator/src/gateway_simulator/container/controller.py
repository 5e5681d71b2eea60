"""The login controller's process: what a search of the container's processes finds, and what SIGTERM is sent to.

Its command line contains ``ibcalpha.ibc.IbcGateway``, as that of the real Java process does. It writes one line to
standard output when it gets SIGTERM, and ends when its standard input ends: the gateway has logged out by then.
"""

from __future__ import annotations

import os
import signal
import sys

ENTRY_POINT = "ibcalpha.ibc.IbcGateway"
TERMINATED = b"terminated\n"
STARTED = b"started\n"


def main() -> int:
    """Wait for the end of standard input; return the exit status of the gateway's Java."""
    terminated = False

    def on_term(*_: object) -> None:
        nonlocal terminated
        if not terminated:
            terminated = True
            os.write(sys.stdout.fileno(), TERMINATED)

    signal.signal(signal.SIGTERM, on_term)
    os.write(sys.stdout.fileno(), STARTED)
    while os.read(sys.stdin.fileno(), 1024):
        pass
    return 128 + signal.SIGTERM if terminated else 0


if __name__ == "__main__":
    sys.exit(main())
