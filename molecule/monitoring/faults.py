"""Stages faults on the host and waits until Alertmanager shows each alert, and its end after the fault.

Runs on the host with its own Python: a receiver on 127.0.0.1:8099 stores what people receive. Prints one line for each
alert and ends with the first that does not come.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ALERTS = "http://127.0.0.1:9093/api/v2/alerts?active=true"
RECORD = Path("/var/lib/host-backup/last.json")
SCENARIO = Path("/var/lib/ib-gateway/ib-gateway/settings/tws/simulator-scenario.json")
"""Where the simulator stores what is on IBKR's side."""

MANAGER = "position-manager.service"
CONFIG = Path("/etc/position-manager/position-manager.yml")
RULES = Path("/etc/ib-gateway-monitoring/rules.yml")
AMBIGUOUS = """
  - name: staged
    rules:
      - {alert: Staged, expr: up * on () up}
"""
"""A rule that is valid, and that Prometheus cannot evaluate."""
PROGRAMS = Path("/opt/ib-gateway-ansible/current/bin")

MINUTES = 25
"""No run takes longer."""
EXCUSED = f"""
from datetime import UTC, datetime, timedelta
from gateway_watch.session_calendar import maintenance_end
now = datetime.now(UTC)
print(any(maintenance_end(now + timedelta(minutes=each)) for each in range({MINUTES})))
"""
OF_THE_MACHINE = {"DiskNearlyFull", "MemoryNearlyFull"}
"""About the machine that runs this, which is none of these faults."""


class Receiver:
    """What people receive; nobody answers before `start`."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.refused = 0
        """How many messages are still to be answered with 400, which no service repeats."""
        self.changed = threading.Condition()

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.changed:
                    refuse = outer.refused > 0
                    if refuse:
                        outer.refused -= 1
                    else:
                        outer.titles.append(document["title"])
                    outer.changed.notify_all()
                self.send_response(400 if refuse else 200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        server = HTTPServer(("127.0.0.1", 8099), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def wait(self, text: str, count: int = 1, seconds: float = 120.0) -> None:
        """Until so many titles contain a text."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.count(text) >= count, seconds):
                fail(f"people did not receive {text!r} {count} times; they received: {self.titles}")

    def count(self, text: str) -> int:
        return sum(text in title for title in self.titles)


def fail(text: str) -> None:
    sys.exit(f"FAILED: {text}\nfiring now: {sorted(firing())}")


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - constants
    if done.returncode != 0:
        fail(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def simulator(*words: str) -> None:
    run("docker", "exec", "ib-gateway", "gateway-simulatorctl", *words)


def manager(*words: str) -> None:
    run(str(PROGRAMS / "position-manager"), *words)


def relayed() -> str:
    """What alert-relay has put into its outbox, from its log."""
    return run("journalctl", "--boot", "--output=cat", "--unit=alert-relay.service")


def firing() -> set[str]:
    try:
        with urllib.request.urlopen(ALERTS, timeout=5) as answer:
            return {alert["labels"]["alertname"] for alert in json.loads(answer.read())} - OF_THE_MACHINE
    except OSError:
        return set()


def ready() -> bool:
    """Whether the gateway is logged in; an alert also ends when its service exports nothing."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9402/metrics", timeout=5) as answer:
            return b"\ngateway_watch_ready 1.0\n" in answer.read()
    except OSError:
        return False


def excused() -> bool:
    """Whether IBKR's nightly reset or weekly maintenance comes within a run: it excuses a gateway without a link."""
    return run(str(PROGRAMS / "python"), "-c", EXCUSED).strip() == "True"


def until(what: str, condition: Callable[[], bool], seconds: float = 180.0) -> float:
    """Poll Alertmanager, which has no event stream; the seconds that it took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            fail(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.25)
    return time.monotonic() - start


def fires(*names: str) -> None:
    for name in names:
        print(f"{name} fires after {until(f'{name} firing', lambda: name in firing()):.1f} s", flush=True)  # noqa: B023, T201


def ends(*names: str) -> None:
    for name in names:
        print(f"{name} ends after {until(f'the end of {name}', lambda: name not in firing()):.1f} s", flush=True)  # noqa: B023, T201


def change_record(change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(RECORD.read_text())
    change(document)
    RECORD.write_text(json.dumps(document))


def age_record(document: dict[str, Any]) -> None:
    old = (datetime.now(UTC) - timedelta(hours=60)).isoformat()
    document["at"] = document["good"]["at"] = old


def stage_positions() -> None:
    """What the manager waits for a minute with, so that other faults are staged meanwhile: a split."""
    manager("halt", "--reason", "staged")
    fires("TradingHalted")
    manager("resume")
    ends("TradingHalted")
    simulator("split", "AAPL", "10:1")


def end_positions() -> None:
    """The lock of the split, then quotes that stop."""
    fires("InstrumentLocked")
    manager("release", "AAPL")
    ends("InstrumentLocked")
    simulator("feed", "all", "stale", "354")
    run("systemctl", "restart", MANAGER)
    fires("QuotesStale", "PositionUnprotected")
    simulator("feed", "all", "live")
    ends("QuotesStale", "PositionUnprotected")


def main() -> None:
    people = Receiver()
    run("systemctl", "start", "host-backup.service")
    fires("Watchdog")
    until("an end of the alerts of the start", lambda: firing() == {"Watchdog"})

    # IBKR's servers go down while the webhook is down: the services' messages wait, which is an alert. gateway-watch
    # reports the loss of the link after a minute; the faults that need no gateway meanwhile.
    stopped = "position-manager.service does not run"
    before = people.count(stopped)
    reset = excused()
    if reset:
        print("IBKR's reset is near: alerts that it excuses are not staged")  # noqa: T201
    else:
        simulator("server-down")
        fires("IbkrLinkLost", "PositionManagerNotReady")

    run("systemctl", "stop", MANAGER)
    fires("PositionManagerStopped")
    until("the alert in the outbox", lambda: stopped in relayed())
    run("systemctl", "start", "--no-block", MANAGER)
    ends("PositionManagerStopped")

    # A configuration that cannot be read: the unit fails, and nothing restarts it.
    good = CONFIG.read_bytes()
    CONFIG.write_bytes(good + b"\nfaulty: [\n")
    run("systemctl", "restart", "--no-block", MANAGER)
    fires("PositionManagerUnitFailed")
    CONFIG.write_bytes(good)
    run("systemctl", "start", "--no-block", MANAGER)
    ends("PositionManagerUnitFailed")

    run("systemctl", "stop", "prometheus-node-exporter.service")
    fires("MonitoringTargetDown")
    run("systemctl", "start", "prometheus-node-exporter.service")
    ends("MonitoringTargetDown")

    change_record(age_record)
    fires("BackupMissing")
    change_record(lambda document: document.update(fault="staged"))
    fires("BackupFailed")
    ends("BackupMissing")
    run("systemctl", "start", "host-backup.service")
    ends("BackupFailed")

    if not reset:
        fires("NotificationsDelayed")
        until("the alert in the outbox", lambda: "cannot be delivered" in relayed())
    people.start()
    if not reset:
        ends("NotificationsDelayed")
        simulator("server-up")
        ends("IbkrLinkLost", "PositionManagerNotReady")
        stage_positions()
        # The API does not answer, which gateway-watch asks once a minute. The dead man's switch meanwhile.
        simulator("set-now", "CONNECT", "silent")
    silent = people.count("the monitoring is silent")
    run("systemctl", "stop", "prometheus-alertmanager.service")
    people.wait("the monitoring is silent", silent + 1)
    run("systemctl", "start", "prometheus-alertmanager.service")
    people.wait("the monitoring works again", silent + 1)
    if not reset:
        fires("GatewayApiSilent")
        simulator("set-now", "CONNECT", "normal")
        ends("GatewayApiSilent")
        end_positions()
        people.wait("notification(s) of ib-gateway.service cannot be delivered", 2)

    # Each alert that is sent was received with its end, and none that a service reports itself.
    people.wait(stopped, before + 2)
    if people.count("has lost its connection to IBKR"):
        fail(f"an alert that gateway-watch reports was sent too: {people.titles}")

    # The container ends, and gateway-watch with it; systemd starts both again.
    run("docker", "kill", "ib-gateway")
    fires("GatewayWatchStopped", *([] if reset else ["GatewayNotReady"]))
    until("the gateway", ready)
    ends("GatewayWatchStopped", "GatewayNotReady")

    # A login that waits for an approval, then one that is refused until the breaker opens.
    simulator("set-now", "TWOFA", "never")
    people.refused = 1
    simulator("restart-cold")
    # The refused notification is that of the approval. The alert remains for half an hour.
    fires("ApprovalAwaited", "NotificationsLost")
    people.wait("has lost notifications")
    simulator("approve-2fa")
    until("the gateway", ready)
    ends("ApprovalAwaited", "GatewayNotReady")
    simulator("set-now", "TWOFA", "none")
    if not reset:
        # In maintenance a refused login of proven credentials is not counted.
        simulator("set-now", "CREDENTIALS", "bad_a")
        simulator("restart-cold")
        fires("LoginRefused", "GatewayUnitFailed")
        SCENARIO.unlink()
        run(str(PROGRAMS / "gateway-watch"), "reset", "--instance", "ib-gateway")
        run("systemctl", "start", "--no-block", "ib-gateway.service")
        until("the gateway", ready)
        ends("GatewayUnitFailed", "LoginRefused", "GatewayNotReady")

    # The alert remains for ten minutes.
    rules, times = RULES.read_text(), RULES.stat()
    RULES.write_text(rules + AMBIGUOUS)
    run("systemctl", "reload", "prometheus.service")
    fires("AlertRulesFail")
    RULES.write_text(rules)
    # A deploy restarts the services whose files are newer than their start.
    os.utime(RULES, ns=(times.st_atime_ns, times.st_mtime_ns))
    run("systemctl", "reload", "prometheus.service")

    print(f"people received {len(people.titles)} messages")  # noqa: T201
    for title in people.titles:
        print(f"  {title}")  # noqa: T201


if __name__ == "__main__":
    main()
