"""`gateway-watch`: run one gateway under systemd, and inspect or repair it manually.

Exit status: 0 OK, 1 not OK (or failed, to be retried), 78 needs manual intervention first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import (
    container_stop,
    decision,
    gatekeeper,
    masked_picture,
    notifying,
    screenshot,
    session,
    status,
    systemd_unit,
    tiers,
)
from gateway_watch.breaker import BreakerFile
from gateway_watch.engine import Engine, EngineError
from gateway_watch.instance import CONFIG_ROOT, DEFAULT_NAME, Instance, InstanceError, load
from gateway_watch.metrics import serving, specs
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.run_files import remembered_session
from gateway_watch.signatures import SignatureFileError
from gateway_watch.signatures import load as load_signatures
from gateway_watch.soft_restart import END_SECONDS, Kind, Outcome, Plan
from gateway_watch.soft_restart_run import InProgressError, SoftRestart
from gateway_watch.supervisor import Supervisor, say
from host_service.notify import Notifier

FULL_LOGIN = 4
"""Exit status of `soft-restart`: the gateway was not restarted as requested, only a full login can do it."""

LOGIN_FOLLOWS = 5
"""Exit status of `soft-restart`: the gateway was restarted, and its login needs to be followed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[Instance, argparse.Namespace], int] = options.command
    if options.diagnoses:
        return doctor(options)
    try:
        instance = load(options.instance, options.config_root)
        load_signatures(instance.login_controller)
        return command(instance, options)
    except (InstanceError, SignatureFileError) as error:
        if options.command is run:
            Notifier.from_environment(os.environ).status(str(error))
        return _complain(str(error), decision.EXIT_CONFIG)
    except EngineError as error:
        return _complain(f"{error} {error.remedy}", decision.RETRY)
    except screenshot.ScreenshotError as error:
        return _complain(str(error), decision.RETRY)
    except OSError as error:
        return _complain(f"{error} (most files of an instance are for root only: use sudo)", decision.RETRY)


def run(instance: Instance, options: argparse.Namespace) -> int:
    with (
        notifying.notifications(instance, os.environ, say) as people,
        serving.recorded(instance, people.counts, say) as recorder,
    ):
        create, notify = options.create, people.notify
        return asyncio.run(
            _run(lambda: Supervisor(instance, create, notify=notify, recorder=recorder), recorder, instance)
        )


async def _run(supervisor: Callable[[], Supervisor], recorder: Recorder, instance: Instance) -> int:
    """One run after the other, as long as one was ended only to wait for a person."""
    async with serving.clock_watched(recorder) if instance.metrics_port else nullcontext():
        while True:
            current = supervisor()
            status = await current.run()
            # What has left no other reason was stopped.
            recorder.on_end(specs.STOPPED)
            if not current.goes_on:
                return status


def show_status(instance: Instance, options: argparse.Namespace) -> int:
    found = asyncio.run(status.collect(instance, Engine(), verified=options.tiers))
    say(json.dumps(status.to_json(found), indent=2) if options.json else status.render(found))
    return decision.OK if found.ok else decision.RETRY


def take_screenshot(instance: Instance, options: argparse.Namespace) -> int:
    say(str(_screenshot(instance, options.output)))
    return decision.OK


def _screenshot(instance: Instance, output: Path | None) -> Path:
    """A picture of the screen as it is; without `output`, the last one kept when there is no screen any more."""
    last = session.read(instance.session_file).last_screenshot
    password = screenshot.password_file(instance, os.environ)
    try:
        taken = asyncio.run(screenshot.save(instance, password, "by-hand", datetime.now(UTC), screenshot.TIMEOUT))
    except screenshot.ScreenshotError:
        if output is not None or last is None or not Path(last).exists():
            raise
        return Path(last)
    return taken if output is None else Path(shutil.move(taken, output))


def send_picture(instance: Instance, _options: argparse.Namespace) -> int:
    """To standard output, which is the socket that the status page has connected to."""
    answer = asyncio.run(masked_picture.answer(instance, os.environ, datetime.now(UTC)))
    # The page has gone away.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    return decision.OK


def reset(instance: Instance, _options: argparse.Namespace) -> int:
    if BreakerFile(instance.breaker_file, instance.name).reset():
        say(f"The breaker of {instance.name} is closed, refused logins are forgotten. systemctl start {instance.unit}")
    else:
        say(f"The breaker of {instance.name} was closed, and no login was refused.")
    return decision.OK


def approve_now(instance: Instance, options: argparse.Namespace) -> int:
    hold = gatekeeper.ask(instance, datetime.now(UTC), yielded=not options.unless_yielded)
    if hold is not None and not _runs(instance):
        say(f"The login of {instance.name} is tried at its next start: systemctl start {instance.unit}")
    elif hold is not None:
        say(f"The login of {instance.name} is tried now. Have IBKR Mobile at hand to approve it.")
    elif (kept := gatekeeper.read_gate(gatekeeper.gate_file(instance)).hold) is not None:
        say(gatekeeper.describe(kept, instance))
    else:
        say(f"{instance.name} waits for no person.")
    return decision.OK


def _runs(instance: Instance) -> bool:
    """Whether the unit runs, as far as systemd can be asked."""
    try:
        return asyncio.run(systemd_unit.show(instance.unit)).active not in ("inactive", "failed")
    except systemd_unit.UnitError:
        return True


def stop(instance: Instance, _options: argparse.Namespace) -> int:
    process = load_signatures(instance.login_controller).process
    stopped = asyncio.run(container_stop.stop(Engine(), instance.container, process))
    say(f"gateway-watch: stopped after {stopped.seconds:.0f} s: {stopped.controller}")
    return decision.OK


def connected(instance: Instance, options: argparse.Namespace) -> int:
    tier = asyncio.run(tiers.await_connected(instance, options.wait))
    if tier.ok:
        say(tier.text)
        return decision.OK
    return _complain(f"{tier.cause or tier.name}: {tier.text}. {tier.remedy or ''}".rstrip(), decision.RETRY)


def check_config(instance: Instance, options: argparse.Namespace) -> int:
    say(f"{options.config_root / instance.name / 'instance.json'} is in order ({instance.trading_mode}).")
    return decision.OK


def verify(instance: Instance, _options: argparse.Namespace) -> int:
    found = asyncio.run(_verify(instance))
    for tier in found:
        say(f"{tier.name:<10} {'-' if tier.ok is None else 'yes' if tier.ok else 'NO'}: {tier.text}")
    if failed := next((tier for tier in found if not tier.ok), None):
        return _complain(f"{failed.cause or failed.name}: {failed.remedy or failed.text}", decision.RETRY)
    return decision.OK


def restart_cost(instance: Instance, _options: argparse.Namespace) -> int:
    if cost := remembered_session(instance).restart_cost(instance.name):
        say(cost)
    return decision.OK


def restart_softly(instance: Instance, options: argparse.Namespace) -> int:
    restart = SoftRestart(instance, say=say)
    try:
        return asyncio.run(_restart_softly(instance, restart, planned=options.plan, full=options.full))
    except InProgressError as error:
        return _complain(str(error), decision.RETRY)


async def _restart_softly(instance: Instance, restart: SoftRestart, *, planned: bool, full: bool = False) -> int:
    plan, container = (await restart.plan()) if not full else (Plan(False, "it was requested so"), None)
    cost = remembered_session(instance).restart_cost(instance.name)
    if not full and (container is None or not container.running):
        # No session ends, so no reason for its end is of interest.
        if cost:
            say(cost)
        return FULL_LOGIN
    if container is None or not plan.soft:
        say(f"The restart of {instance.name} is a full login: {plan.reason}. {cost}".rstrip())
        return FULL_LOGIN
    kind = await restart.kind(container)
    if planned:
        how = "its container is replaced" if kind is Kind.REPLACE else "its container stays"
        say(
            f"The restart of {instance.name} keeps its session: the login controller restarts the gateway at the next "
            f"full minute, {how}, and no approval is expected. If IBKR asks for one, a full login follows."
        )
        return decision.OK
    outcome, text = await restart.carry_out(kind)
    say(_outcome_line(instance, outcome, text))
    if outcome is Outcome.KEPT:
        return decision.OK
    return FULL_LOGIN if outcome.full_login_needed else LOGIN_FOLLOWS


def _outcome_line(instance: Instance, outcome: Outcome, text: str) -> str:
    name = instance.name
    match outcome:
        case Outcome.KEPT:
            return f"{name} has restarted and kept its session."
        case Outcome.REFUSED:
            return f"{name} was not restarted with its session: {text.rstrip('.')}. A full login is needed."
        case Outcome.NOT_RESTARTED:
            return (
                f"{name} acknowledged the restart and has not restarted in {END_SECONDS:.0f} s. A full login is needed."
            )
        case Outcome.NOT_REPLACED:
            return f"{name} still runs in the container that was to be replaced. A full login is needed."
        case Outcome.FULL_LOGIN:
            how = "its code is entered" if instance.totp else "have IBKR Mobile at hand to approve it"
            return (
                f"{name} has restarted, but its session was not kept: {text.rstrip('.')}. This is a full login; {how}."
            )
        case Outcome.NOT_READY:
            return f"{name} has restarted and is not ready yet: {text.rstrip('.')}."


def show_calendar(instance: Instance, options: argparse.Namespace) -> int:
    # Imported here: the supervisor needs none of it.
    from gateway_watch import calendar_command

    try:
        text = calendar_command.run(
            instance,
            datetime.now(UTC),
            weeks=options.weeks,
            nightly=options.nightly,
            holidays=options.holidays,
            host=options.host if options.ical else None,
        )
    except calendar_command.HolidaysError as error:
        return _complain(str(error), decision.RETRY)
    # The lines of an iCalendar file end with carriage return and line feed.
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return decision.OK


def doctor(options: argparse.Namespace) -> int:
    """The only command that also serves an instance whose configuration is wrong."""
    # Imported here: the supervisor needs none of it.
    from gateway_watch.doctor import command as doctor_command

    try:
        healthy = doctor_command.run(
            options.instance,
            options.config_root,
            say,
            as_json=options.json,
            reach_out=options.network,
            directory=options.bundle,
        )
    except OSError as error:
        return _complain(f"{error} (most files of an instance are for root only: use sudo)", decision.RETRY)
    return decision.OK if healthy else decision.RETRY


async def _verify(instance: Instance) -> tuple[tiers.Tier, ...]:
    container = await Engine().find(instance.container)
    return await tiers.inspect(instance, container, verified=True)


def _weeks(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 52:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of weeks from 1 to 52")
    return number


def _complain(text: str, exit_status: int) -> int:
    print(f"gateway-watch: {text}", file=sys.stderr)  # noqa: T201 - the error of a command
    return exit_status


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--instance", default=DEFAULT_NAME, metavar="NAME", help=f"default: {DEFAULT_NAME}")
    shared.add_argument("--config-root", type=Path, default=CONFIG_ROOT, metavar="DIR", help=f"default: {CONFIG_ROOT}")
    parser = argparse.ArgumentParser(prog="gateway-watch", description=(__doc__ or "").strip())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[shared], help=text, description=text)
        made.set_defaults(command=command, diagnoses=False)
        return made

    runs = add("run", run, "Run the gateway's container until it ends (for the systemd unit).")
    runs.add_argument(
        "--create",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARGUMENT",
        help="create the container first, with all further arguments as those of docker create",
    )
    shows = add("status", show_status, "Show the state of the gateway on one screen.")
    shows.add_argument("--json", action="store_true", help="as JSON")
    shows.add_argument("--tiers", action="store_true", help="also verify a connection to the API")
    picture = add("screenshot", take_screenshot, "Store a picture (PNG) of the gateway's screen.")
    picture.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: a new file in the state directory, or the last one stored if there is no screen now",
    )
    add(
        "picture",
        send_picture,
        "Write a picture of the screen without its text to standard output (for the status page).",
    )
    add("reset", reset, "Close the breaker, so that the next start tries to log in again.")
    asks = add("approve-now", approve_now, "Try the login now, without waiting for a person or a time any more.")
    asks.add_argument(
        "--unless-yielded", action="store_true", help="but not while another session of the user is left alone"
    )
    add("stop", stop, "Stop the container: the login controller first, so that the gateway logs out, then the rest.")
    waits = add("connected", connected, "Check that the running gateway is connected to IBKR, as its API reports.")
    waits.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="how long it may take to become known and connected"
    )
    add("check-config", check_config, "Check the instance's configuration.")
    add("verify", verify, "Check that the gateway listens, answers and can be connected to; changes nothing.")
    examines = add("doctor", doctor, "Check everything that a login depends on, in order, and name the first failure.")
    examines.set_defaults(diagnoses=True)
    examines.add_argument("--json", action="store_true", help="as JSON")
    examines.add_argument(
        "--network", action="store_true", help="also resolve and connect to IBKR's servers (nothing is sent to them)"
    )
    examines.add_argument(
        "--bundle", type=Path, metavar="DIR", help="also write an archive with states and logs there, without secrets"
    )
    softly = add(
        "soft-restart",
        restart_softly,
        "Restart the gateway and keep its session. Exit status 4: not restarted as requested, a full login is "
        "needed; 5: restarted, but the session was not kept or the gateway is not ready yet.",
    )
    softly.add_argument("--plan", action="store_true", help="only report whether that is possible, and why not")
    softly.add_argument("--full", action="store_true", help="report a full login, whether the other is possible or not")
    lists = add("calendar", show_calendar, "List the next restarts, approvals and interruptions, also for a phone.")
    lists.add_argument("--weeks", type=_weeks, default=1, metavar="N", help="how far ahead; default: 1")
    lists.add_argument(
        "--nightly", action=argparse.BooleanOptionalAction, default=True, help="the events of each night, too"
    )
    lists.add_argument(
        "--holidays",
        type=argparse.FileType(),
        metavar="FILE",
        help="output of position-manager holidays --json (-: stdin)",
    )
    lists.add_argument("--ical", action="store_true", help="as an iCalendar file (RFC 5545)")
    lists.add_argument(
        "--host", default=socket.gethostname(), metavar="NAME", help="with --ical: whose events they are; default: this"
    )
    add("restart-cost", restart_cost, "Report whether a restart now requires a 2FA approval; print nothing if not.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
