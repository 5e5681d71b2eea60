"""`python3 -m unit_recovery UNIT`: what the unit `unit-recovery@` runs.

Exit status 0 when nothing is left to do; 1 when systemd does not answer, to be tried again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from unit_recovery import host, recovery, targets

RELEASES = Path("/opt/ib-gateway-ansible")
SEND_SECONDS = 60
UNDELIVERED = 3
"""Exit status of the sender when a target has not taken the message yet; it is in the outbox."""


def main(arguments: Sequence[str] | None = None) -> int:
    (unit,) = sys.argv[1:] if arguments is None else arguments
    directory = Path(os.environ.get("RUNTIME_DIRECTORY", f"/run/unit-recovery/{unit}"))
    releases = Path(os.environ.get("RELEASES", RELEASES))

    def report(message: dict[str, object]) -> bool:
        _log(recovery.log_line(message))
        return _send(message, directory / "notifications.sqlite3", targets.address_files(_text(unit)), releases)

    actions = recovery.Actions(
        show=lambda: host.show(unit),
        cause=lambda: host.inspect(unit),
        start=lambda: host.start(unit),
        report=report,
        clock=time.time,
        sleep=time.sleep,
    )
    try:
        recovery.recover(unit, actions, recovery.MemoryFile(directory / "failures.json", _log))
    except host.SystemdError as error:
        _log(f"{error}. It is tried again.")
        return 1
    return 0


def _text(unit: str) -> str:
    try:
        return host.unit_text(unit)
    except host.SystemdError as error:
        _log(f"{error}. Every address of the host is used.")
        return ""


def _send(message: dict[str, object], outbox: Path, files: Sequence[Path], releases: Path) -> bool:
    """Deliver it with the first release that can; False if it waits for a later call. What fails is in the journal."""
    if not files:
        _log("no notification is sent: no address is configured on this host")
        return True
    for program in targets.programs(releases):
        command = [str(program), "-m", "notifications.send", "--outbox", str(outbox), *map(str, files)]
        try:
            done = subprocess.run(  # noqa: S603 - a Python of our own releases
                command, input=json.dumps(message), text=True, check=False, timeout=SEND_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _log(f"{program} could not send: {type(error).__name__}")
            continue
        if done.returncode in (0, UNDELIVERED):
            return done.returncode == 0
        _log(f"{program} could not send: exit status {done.returncode}")
    _log("no notification is sent: no release on this host can send it")
    return True


def _log(text: str) -> None:
    # <3> is the priority that the journal takes the line for: an error.
    print(f"<3>unit-recovery: {text}", file=sys.stderr, flush=True)  # noqa: T201 - to the journal


if __name__ == "__main__":
    sys.exit(main())
