"""`alert-relay`: receive Alertmanager's alerts on 127.0.0.1 and send them to the addresses of the host's services.

Exit status: 0 when it was stopped, 78 if its settings cannot be used, 1 if the port is in use.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from alert_relay import server, settings
from alert_relay.forward import Forwarder
from alert_relay.service import Relay
from host_service.notify import Notifier
from notifications.service import Notifications

CONFIG = Path("/etc/ib-gateway-monitoring/monitoring.json")
OUTBOX = "notifications.sqlite3"
STOP_SECONDS = 10.0
BAD_SETTINGS = 78


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alert-relay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="the settings, as JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return _run(options.config, Path(os.environ["CREDENTIALS_DIRECTORY"]), Path(os.environ["STATE_DIRECTORY"]))
    except KeyError as error:
        logging.error("%s is not set: run it as the unit alert-relay.service", error.args[0])
    except settings.SettingsError as error:
        logging.error("%s", error)
    except server.ListenError as error:
        logging.error("%s", error)
        return 1
    return BAD_SETTINGS


def _run(config: Path, credentials: Path, state: Path) -> int:
    chosen = settings.read(config)
    url = settings.heartbeat_url(credentials)
    targets = settings.targets(credentials)
    if not targets:
        logging.warning("nobody is notified: no address is configured on this host; alerts are only logged")
    systemd = Notifier.from_environment(os.environ)
    people = Notifications(state / OUTBOX, targets)
    forwarder = Forwarder(url) if url else None
    relay = Relay(
        chosen.host,
        people if targets else None,
        chosen.heartbeat_timeout,
        forward=forwarder.send if forwarder else lambda: None,
        tick=systemd.watchdog,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop())
    people.start()
    if forwarder:
        forwarder.start()
    with server.served(chosen.port, relay.handle) as port:
        systemd.status(f"receives alerts on {server.ADDRESS}:{port}, {len(targets)} targets")
        systemd.ready()
        relay.run()
        systemd.stopping()
    people.stop(STOP_SECONDS)
    if forwarder:
        forwarder.stop(STOP_SECONDS)
    return 0
