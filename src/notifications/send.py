"""Send one message for a service that cannot: ``python -m notifications.send --outbox FILE ADDRESSES...``.

The message is JSON on the standard input, as `Message.to_json` has it. It goes through an outbox, so that the same
incident is reported once an hour, and what could not be delivered is sent by a later call. Exit status: 0 if nothing
is left to deliver, 3 if something waits in the outbox, 1 if nobody can be notified.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from notifications.delivery import AddressError, read_addresses, usable_targets
from notifications.message import Message
from notifications.outbox import Outbox, OutboxError
from notifications.service import Notifications

SECONDS = 15.0
UNDELIVERED = 3


def send(
    message: Message, outbox: Path, addresses: Sequence[str], log: Callable[[str], None], seconds: float = SECONDS
) -> int:
    """Accept the message and deliver what waits within so many seconds; the exit status."""
    targets, faults = usable_targets(addresses)
    for fault in faults:
        log(fault)
    if not targets:
        log("no address can be used")
        return 1
    people = Notifications(outbox, targets)
    people.start()
    verdict = people.notify(message)
    people.stop(seconds)
    if verdict is None:
        return 1
    with Outbox(outbox, time.time) as left:
        states = left.states()
    return UNDELIVERED if states.get("queued", 0) + states.get("sending", 0) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="notifications.send", description="Send one message, given as JSON.")
    parser.add_argument("--outbox", type=Path, required=True, metavar="FILE", help="where it waits until it arrived")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="how long it is tried")
    parser.add_argument("addresses", type=Path, nargs="+", metavar="FILE", help="addresses, one a line")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    found: dict[str, None] = {}
    for file in options.addresses:
        try:
            found |= dict.fromkeys(read_addresses(file))
        except AddressError as error:
            logging.error("%s", error)
    try:
        return send(Message.from_json(sys.stdin.read()), options.outbox, list(found), logging.error, options.seconds)
    except OutboxError as error:
        logging.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
