"""Send a test message to each address in a file, and report for each target whether it arrived.

``python -m notifications.send_test FILE --sender NAME`` prints one line for each target. Exit status: 0 if each took
the message or the file holds no address, 1 if not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from apprise.plugins.discord import NotifyDiscord

from notifications.delivery import AddressError, read_addresses, usable_targets
from notifications.message import Message, Severity
from notifications.target import Result, Target


@dataclass(frozen=True)
class Line:
    """The result for one target or address."""

    arrived: bool
    text: str


def report(
    addresses: Sequence[str], message: Message, *, discord_api: str = NotifyDiscord.notify_url
) -> Iterator[Line]:
    """Send the message to each address, once; one line for each target. No line holds an address."""
    for number, address in enumerate(addresses, start=1):
        targets, faults = usable_targets([address], discord_api=discord_api)
        for target in targets:
            arrived, detail = _send(target, message)
            yield Line(arrived, f"address {number}, {target.name}: {detail}")
        if faults:
            # The sentence counts the addresses it was given, which was one.
            yield Line(False, f"address {number}: NOT sent, {faults[0].partition(' for notifications ')[2]}")


def _send(target: Target, message: Message) -> tuple[bool, str]:
    for part in range(target.parts(message)):
        outcome = target.send(message, part)
        if outcome.result is not Result.SENT:
            return False, f"NOT sent ({outcome.detail or 'refused'})"
    return True, "sent"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="notifications.send_test", description="Send a test message to each address.")
    parser.add_argument("file", type=Path, metavar="FILE", help="one address a line, readable for its owner only")
    parser.add_argument("--sender", required=True, metavar="NAME", help="who sends it, for the text")
    options = parser.parse_args(arguments)
    message = Message(
        "test",
        Severity.INFO,
        f"Test message of {options.sender}",
        datetime.now(UTC),
        ("If you read this, notifications of this service arrive here. Nothing has to be done.",),
    )
    try:
        addresses = read_addresses(options.file)
    except AddressError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the error of a command
        return 1
    lines = list(report(addresses, message))
    for line in lines or [Line(True, "no address is configured, so no notification is sent")]:
        print(f"{options.sender}, {line.text}")  # noqa: T201 - the answer of a command
    return 0 if all(line.arrived for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
