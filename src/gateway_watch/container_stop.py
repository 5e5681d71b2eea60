"""Stops a gateway's container in the order that lets the gateway log out: the login controller first, then the rest.

The image's own stop ends the display before the controller, so a gateway that is stopped by `docker stop` alone does
not log out, IBKR keeps its session, and the next login meets it. Here the controller's process gets SIGTERM while its
display and network are still up. IBC has no signal handler (measured with 3.25.0): the Java machine runs the gateway's
shutdown hooks and ends with 143; ibcontroller logs out by itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway_watch.engine import Engine, EngineError, NoSuchContainerError

TOTAL_SECONDS = 90.0
"""All of it; the unit's TimeoutStopSec is longer."""

CONTROLLER_SECONDS = 60.0
"""The controller has so long to end after SIGTERM."""

REST_SECONDS = 30
"""What `docker stop` gives the rest of the container at the least."""

SLACK_SECONDS = 5.0

# /proc is read, since not every image has ps.
_LIST = """
for directory in /proc/[0-9]*; do
  printf '%s ' "${directory#/proc/}"
  tr '\\0' ' ' < "$directory/cmdline" 2>/dev/null
  echo
done
"""

# A process that has ended and waits for its parent has no command line any more.
_END = """
left=$1
shift
kill -TERM "$@"
while [ "$left" -gt 0 ]; do
  alive=
  for pid in "$@"; do
    grep -qa . "/proc/$pid/cmdline" 2>/dev/null && alive=yes
  done
  [ -n "$alive" ] || exit 0
  left=$((left - 1))
  sleep 1
done
exit 4
"""


@dataclass(frozen=True)
class Stopped:
    """What became of the controller, in words, and how long the whole stop took."""

    controller: str
    seconds: float


async def stop(
    engine: Engine,
    container: str,
    process: re.Pattern[str],
    *,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Stopped:
    """Stop the container within `TOTAL_SECONDS`. `process` is found in the command line of the controller (it is
    `process` of its signature file). A container that does not run is none to stop.

    Raises `EngineError` if the engine cannot stop it.
    """
    started = clock()
    found = await engine.find(container)
    if found is None or not found.running:
        return Stopped("the container does not run", clock() - started)
    controller = await _end_controller(engine, container, process)
    say(f"gateway-watch: stop: {controller}")
    left = max(REST_SECONDS, int(TOTAL_SECONDS - (clock() - started)))
    try:
        await engine.stop(container, left)
    except NoSuchContainerError:
        controller += "; the container is gone"
    return Stopped(controller, clock() - started)


async def _end_controller(engine: Engine, container: str, process: re.Pattern[str]) -> str:
    try:
        async with asyncio.timeout(CONTROLLER_SECONDS + SLACK_SECONDS):
            pids = _found(await engine.run("exec", container, "/bin/sh", "-c", _LIST), process)
            if not pids:
                return "no controller runs"
            seconds = str(int(CONTROLLER_SECONDS))
            code = await engine.exit_code("exec", container, "/bin/sh", "-c", _END, "end", seconds, *pids)
    except TimeoutError:
        return f"the controller has not ended in {CONTROLLER_SECONDS:.0f} s"
    except EngineError as error:
        return f"the controller could not be asked to end ({error})"
    match code:
        case 0:
            return "the controller has ended"
        case 4:
            return f"the controller has not ended in {CONTROLLER_SECONDS:.0f} s"
        case 137:
            # The container ended with its controller, and with it this command.
            return "the controller has ended, and the container with it"
    return f"the controller's end is unknown (exit status {code})"


def _found(listing: str, process: re.Pattern[str]) -> list[str]:
    """The process ids of the lines `pid command line` that match."""
    lines = (line.partition(" ") for line in listing.splitlines())
    return [pid for pid, _, command in lines if pid.isdigit() and process.search(command)]
