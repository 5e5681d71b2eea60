"""The way from gateway watch to people: the addresses from a secret file, the outbox in the state directory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gateway_watch.instance import Instance
from notifications.service import Notifications
from notifications.target import Target

STOP_SECONDS = 15.0
"""The last words of a run get so long to leave; what does not is sent by the next run."""


@contextmanager
def notifications(
    instance: Instance, environment: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Notifications]:
    """Notifications that are delivered while the context lasts; a wrong address is reported and silences no other."""
    people = Notifications(instance.outbox_file, _targets(instance, environment, say))
    people.start()
    try:
        yield people
    finally:
        people.stop(STOP_SECONDS)


def _targets(instance: Instance, environment: Mapping[str, str], say: Callable[[str], None]) -> tuple[Target, ...]:
    file = instance.secret("notify_urls", environment)
    if not file.exists() or file.stat().st_size == 0:
        return ()
    _log_to_the_journal()
    # Imported here: it costs memory and time that a gateway without notifications never needs.
    from notifications.delivery import AddressError, read_addresses, usable_targets

    try:
        targets, faults = usable_targets(read_addresses(file))
    except AddressError as error:
        say(f"gateway-watch: nobody is notified: {error} Correct ib_gateway_notify_urls and deploy again.")
        return ()
    for fault in faults:
        say(f"gateway-watch: {fault} Correct ib_gateway_notify_urls and deploy again; the other addresses are in use.")
    return targets


def _log_to_the_journal() -> None:
    logger = logging.getLogger("notifications")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("gateway-watch: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
