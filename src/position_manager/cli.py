"""`position-manager`: run and inspect the service, explain its decisions, and intervene manually.

Exit status: 0 OK, 1 not OK (or refused), 2 a faulty command or configuration, 78 manual intervention is required first.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from gateway_watch import systemd_unit
from ib_connection.accounts import masked
from notifications.message import clean
from position_manager.config.errors import ConfigError, key_text, read_document
from position_manager.config.loading import load
from position_manager.config.schema import Config, Mode
from position_manager.drill.cases import CASES
from position_manager.halt import HaltRecord
from position_manager.journal import stored_instruments
from position_manager.journal.errors import JournalError
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Record
from position_manager.paths import DEFAULT_NAME, Paths
from position_manager.refused import RefusedError
from position_manager.reports import absent
from position_manager.reports.explain import NotFoundError, explain, label_of, words
from position_manager.reports.status import Status, UnitStatus
from position_manager.rules.rule_set import Section
from position_manager.service.control import (
    AskAccept,
    AskClose,
    AskPrice,
    AskRearm,
    AskRelease,
    AskReload,
    AskStatus,
    ControlError,
    NotRunningError,
    ask,
)
from position_manager.sessions.fallback_calendar import CalendarError, check_name

OK, NOT_OK, FAULTY = 0, 1, 2

FOLLOW_SECONDS = 0.5
"""How often a followed journal is read: SQLite sends no notifications to other processes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[Paths, argparse.Namespace], int] = options.command
    try:
        return command(_paths(options), options)
    except ConfigError as error:
        return _complain(str(error), FAULTY)
    except (RefusedError, ControlError, JournalError, NotFoundError) as error:
        return _complain(clean(str(error)), NOT_OK)
    except OSError as error:
        return _complain(f"{error} (the files are for the service's own user and for root: use sudo)", NOT_OK)
    except KeyboardInterrupt:
        return NOT_OK


def _paths(options: argparse.Namespace) -> Paths:
    given = {name: value for name in ("config", "state", "runtime") if (value := getattr(options, name)) is not None}
    return replace(Paths.of(options.instance), **given)


def run(paths: Paths, _options: argparse.Namespace) -> int:
    # Only the service needs all of it.
    from position_manager.service.service import run as run_service

    return run_service(paths, os.environ)


def show_status(paths: Paths, options: argparse.Namespace) -> int:
    from rich.console import Console

    from position_manager.reports import status_view

    console = Console(highlight=False)
    try:
        status = ask(paths.socket, AskStatus()).status
    except NotRunningError as error:
        away = _away(paths, _why_away(options.instance, str(error)))
        if options.json:
            _print(_indented(away.to_json()))
        else:
            status_view.show_absent(away, options.instance, console)
        return NOT_OK
    if status is None:
        raise ControlError("the position manager did not report its status. If it runs another release, restart it.")
    if options.json:
        _print(_indented(status.to_json(), running=True))
    else:
        status_view.show(status, console)
    return OK if status_view.in_order(status) else NOT_OK


def _why_away(instance: str, why: str) -> str:
    """With the reason why systemd cannot start its unit, where there is one."""
    try:
        state = asyncio.run(systemd_unit.show(f"{instance}.service"))
    except systemd_unit.UnitError:
        return why
    return f"{why}. {state.cause.line}" if state.cause else why


def _away(paths: Paths, why: str) -> absent.Absent:
    now, halts = datetime.now(UTC), paths.halts.read()
    try:
        with JournalReader(paths.newest_journal) as reader:
            return absent.read(reader, why, halts, now)
    except JournalError as error:
        return absent.Absent(now, why, clean(str(error)), absent.halt_texts(halts))


def _indented(text: bytes, **more: object) -> str:
    return json.dumps({**more, **json.loads(text)}, indent=2, ensure_ascii=False)


def dashboard(paths: Paths, options: argparse.Namespace) -> int:
    """Become the status page's own program: it must not share a process with what can close positions."""
    files = {"config": paths.config, "state": paths.state, "runtime": paths.runtime}
    where = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    arguments = ["-m", "dashboard", "--port", str(options.port), "--manager", options.instance, *where]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - no shell is wanted


def explain_it(paths: Paths, options: argparse.Namespace) -> int:
    with JournalReader(paths.newest_journal) as reader:
        _print(explain(reader, " ".join(options.what)))
    return OK


def show_journal(paths: Paths, options: argparse.Namespace) -> int:
    with JournalReader(paths.newest_journal) as reader:
        after = 0
        while True:
            known = stored_instruments.read(reader)
            for record in reader.events(intent=options.intent, after=after):
                after = record.number
                label = label_of(known, record.con_id)
                if options.instrument in (None, str(record.con_id), label):
                    _print(_as_json(record) if options.json else _as_line(record, label))
            if not options.follow:
                return OK
            time.sleep(FOLLOW_SECONDS)


def _as_json(record: Record) -> str:
    event = {
        "number": record.number,
        "time": record.time.isoformat(),
        "kind": record.kind,
        "intent": record.intent,
        "account": masked(record.account),
        "con_id": record.con_id,
        "data": record.data,
    }
    return clean(json.dumps(event, ensure_ascii=False))


def _as_line(record: Record, label: str) -> str:
    place = f" {label}" if record.con_id else ""
    intent = f" ({record.intent})" if record.intent else ""
    title = words(record)[0]
    return clean(f"{record.time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"{place}: {title}{intent}")


def halt(paths: Paths, options: argparse.Namespace) -> int:
    record = HaltRecord(paths.halt_record)
    record.write(f"{options.reason} (halted by {_person()})", datetime.now(UTC))
    _give_to_the_service(paths.halt_record)
    halt = record.read()
    _print(f"Halted: {halt.reason if halt else '?'}. Nothing is sent until: position-manager resume")
    return OK


def _give_to_the_service(file: Path) -> None:
    """A file created by root must be readable for the service, whose directory it is in."""
    if os.geteuid() == 0:
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def resume(paths: Paths, _options: argparse.Namespace) -> int:
    ended = HaltRecord(paths.halt_record).resume()
    _print("The halt is ended." if ended else "There was no halt.")
    if (switch := paths.halts.switch.read()) is not None:
        return _complain(f"nothing is sent all the same: {switch.reason}. To end that: {switch.remedy}", NOT_OK)
    return OK


def close(paths: Paths, options: argparse.Namespace) -> int:
    if (options.limit is None) is options.emergency:
        return _complain(
            "--limit PRICE and --emergency go together: the price is yours, the bounds on spread and quote do not hold",
            FAULTY,
        )
    what = " ".join(options.what)
    if not options.yes and not _agreed(paths, what, options.limit):
        return _complain("nothing was done", NOT_OK)
    _print(ask(paths.socket, AskClose(what=what, by=_person(), limit=options.limit)).text)
    return OK


def _agreed(paths: Paths, what: str, limit: Decimal | None) -> bool:
    """Show what would be closed, and ask."""
    status = ask(paths.socket, AskStatus()).status
    if status is None:
        return False
    meant = _meant(status, what)
    currency = f" {meant[0].currency}" if meant else ""
    price = "at the ladder's prices" if limit is None else f"at {limit}{currency}, WHATEVER THE QUOTE SAYS"
    names = [_described(unit) for unit in meant] or [what]
    _print(f"Close {', '.join(names)} {price}, mode {status.mode}, account {', '.join(status.accounts)}?")
    try:
        return input("Type yes to do it: ").strip() == "yes"
    except EOFError:
        return False


def _meant(status: Status, what: str) -> list[UnitStatus]:
    return [
        unit
        for unit in status.units
        if what in (unit.name, unit.key, *(str(leg.con_id) for leg in unit.legs), *(leg.label for leg in unit.legs))
    ]


def _described(unit: UnitStatus) -> str:
    price = "no price" if unit.price is None else f"now {unit.price}"
    return f"{unit.quantity:f} {unit.name} ({price}, entry {unit.entry})"


def release(paths: Paths, options: argparse.Namespace) -> int:
    _print(ask(paths.socket, AskRelease(what=" ".join(options.what), by=_person())).text)
    return OK


def rearm(paths: Paths, options: argparse.Namespace) -> int:
    _print(ask(paths.socket, AskRearm(what=options.what, by=_person())).text)
    return OK


def accept_account(paths: Paths, options: argparse.Namespace) -> int:
    _print(ask(paths.socket, AskAccept(account=options.account, by=_person())).text)
    return OK


def reload(paths: Paths, _options: argparse.Namespace) -> int:
    _print(ask(paths.socket, AskReload()).text)
    return OK


def move_price(paths: Paths, options: argparse.Namespace) -> int:
    _print(ask(paths.socket, AskPrice(symbol=options.symbol, price=options.price)).text)
    return OK


def check_config(paths: Paths, options: argparse.Namespace) -> int:
    path = options.file or paths.config
    config = load(path)
    _check_calendar(path, config)
    _print(f"{path} is in order: mode {config.mode}, {_where(config)}.")
    for key, rules in config.rule_sets():
        own = rules.own_rules
        worded = "; ".join(f"{name} {_worded(rule)}" for name, rule in own.items())
        _print(f"  {key_text(key)}: {worded or 'no rules of its own'}")
    for name, account_rule in (config.account_stops.own_rules if config.account_stops is not None else {}).items():
        _print(f"  account_stops.{name}: {_worded(account_rule)}")
    if config.assignment_warnings is not None:
        _print(f"  assignment_warnings: {_worded(config.assignment_warnings)}")
    if config.worthless_wings is not None:
        _print(f"  worthless_wings: {_worded(config.worthless_wings)}")
    if config.cooldown is not None:
        _print(f"  cooldown: {_worded(config.cooldown)}")
    return OK


def _check_calendar(path: Path, config: Config) -> None:
    name = config.hours.fallback_calendar
    if name is None:
        return
    try:
        known_until = check_name(name, datetime.now(UTC).date())
    except CalendarError as error:
        fault = read_document(path).fault(("hours", "fallback_calendar"), str(error))
        raise ConfigError(path, [fault]) from error
    if known_until is not None:
        _print(f"The fallback calendar {name} is known until {known_until}.")


def show_holidays(paths: Paths, options: argparse.Namespace) -> int:
    # Only this command needs it.
    from position_manager.reports import holidays

    calendar = load(paths.config).hours.fallback_calendar if paths.config.exists() else None
    try:
        with JournalReader(paths.newest_journal) as reader:
            found = holidays.read(reader, calendar, datetime.now(UTC).date(), options.days)
    except CalendarError as error:
        return _complain(str(error), NOT_OK)
    if options.json:
        _print(json.dumps([holiday.to_json() for holiday in found]))
    else:
        _print("\n".join(holiday.line() for holiday in found) or "No holiday of what is held is known.")
    return OK


def drill(paths: Paths, options: argparse.Namespace) -> int:
    from position_manager.drill import command as drill_command
    from position_manager.drill.bench import DrillError
    from position_manager.drill.gateway import Wish

    wish = Wish(options.symbol, options.option, options.account, options.client_id)
    try:
        return drill_command.run(paths, drill_command.Options(options.mode, wish, options.case or (), options.json))
    except DrillError as error:
        return _complain(clean(str(error)), NOT_OK)


def replay(paths: Paths, options: argparse.Namespace) -> int:
    from position_manager.replay import command as replay_command

    return replay_command.run(
        load(paths.config),
        options.tape,
        options.positions,
        options.plot,
        as_json=options.json,
        net_liquidation=options.net_liquidation,
    )


def _where(config: Config) -> str:
    return f"client {config.gateway.client_id} at {config.gateway.host}:{config.port}"


def _worded(rule: Section | str) -> str:
    if isinstance(rule, str):
        return rule
    return ", ".join(f"{name} {value}" for name, value in rule.model_dump(mode="json", exclude_none=True).items())


def _person() -> str:
    """Who asks: the one behind sudo, if there is one."""
    return (os.environ.get("SUDO_USER") or getpass.getuser())[:200]


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no price above 0")
    return price


def _limit(text: str) -> Decimal:
    """A future may trade below 0; for anything else the service refuses it."""
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is no price")
    return price


def _client_id(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no client id: a number from 1 on, free with the two after it")
    return number


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 (any free one) to 65535")
    return number


def _days(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 366:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to 366")
    return number


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the output of a command


def _complain(text: str, exit_status: int) -> int:
    print(f"position-manager: {text}", file=sys.stderr)  # noqa: T201 - the error of a command
    return exit_status


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    where = shared.add_argument_group("where it is")
    where.add_argument("--instance", default=DEFAULT_NAME, metavar="NAME", help=f"default: {DEFAULT_NAME}")
    where.add_argument("--config", type=Path, metavar="FILE", help=f"default: {Paths.of('NAME').config}")
    where.add_argument("--state", type=Path, metavar="DIR", help=f"default: {Paths.of('NAME').state}")
    where.add_argument("--runtime", type=Path, metavar="DIR", help=f"default: {Paths.of('NAME').runtime}")
    parser = argparse.ArgumentParser(prog="position-manager", description=(__doc__ or "").strip())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Paths, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command_parser = commands.add_parser(name, parents=[shared], help=text, description=text)
        command_parser.set_defaults(command=command)
        return command_parser

    add("run", run, "Guard positions until it is stopped (for the systemd unit).")
    shows = add("status", show_status, "Show the status on one screen; exit status 0 if all is OK.")
    shows.add_argument("--json", action="store_true", help="as JSON")
    pages = add("dashboard", dashboard, "Serve the status page of this position manager on 127.0.0.1, read-only.")
    pages.add_argument("--port", type=_port, default=8765, metavar="PORT", help="default: 8765; 0 for any free one")
    explains = add(
        "explain", explain_it, "Explain what happened: from the rule and its quote to what the broker proved."
    )
    explains.add_argument(
        "what", nargs="+", help="an order (id, permId, orderRef, intent) or a position (contract id, symbol, name)"
    )
    writes = add("journal", show_journal, "Show the journal's events in the order they were written.")
    writes.add_argument("--intent", metavar="ID", help="only those of an intent")
    writes.add_argument("--instrument", metavar="CONTRACT", help="only those of a contract, by its id or name")
    writes.add_argument("--follow", action="store_true", help="go on as more are written")
    writes.add_argument("--json", action="store_true", help="one object a line, with all of the evidence")
    halts = add("halt", halt, "Send nothing any more until a person resumes; works with the service down, too.")
    halts.add_argument("--reason", default="by hand", metavar="TEXT", help="shown wherever the halt is")
    add("resume", resume, "End a halt, once its cause is fixed.")
    closes = add("close", close, "Close a position now, through the same gates as a rule's close.")
    closes.add_argument("what", nargs="+", help="the position: contract id, symbol or name")
    closes.add_argument("--limit", type=_limit, metavar="PRICE", help="with --emergency: the limit price to approve")
    closes.add_argument("--emergency", action="store_true", help="send at --limit, whatever the quote and its spread")
    closes.add_argument("--yes", action="store_true", help="do not ask")
    releases = add(
        "release", release, "End the lock of a position that you have checked at the broker; its quantity counts."
    )
    releases.add_argument("what", nargs="+", help="the position: contract id, symbol or name")
    rearms = add(
        "rearm", rearm, "End account stops that have fired, which start again at the present value, or a cooldown."
    )
    rearms.add_argument("what", nargs="?", default="account", help="account (default), or an underlying in a cooldown")
    accepts = add("accept-account", accept_account, "Guard an account too that is new in the session.")
    accepts.add_argument("account", metavar="ACCOUNT", help="its number, also as `status` shows it")
    add("reload", reload, "Put a changed configuration into force: all of it, or nothing.")
    moves = add("price", move_price, "Move a stock or index of the simulated market (mode sim); its options follow.")
    moves.add_argument("symbol", metavar="SYMBOL", help="an underlying of the simulated market, such as SPY")
    moves.add_argument("price", type=_price, metavar="PRICE", help="where it is from now on; it goes on from there")
    checks = add("check-config", check_config, "Check a configuration; every fault with its line.")
    checks.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: that of --config or --instance")
    days_off = add("holidays", show_holidays, "List the next holidays and early closes of what is held.")
    days_off.add_argument("--days", type=_days, default=182, metavar="N", help="how far ahead; default: 182")
    days_off.add_argument("--json", action="store_true", help="as JSON")
    drills = add("drill", drill, "Try with one unit, bought for it, that a close survives lost connections and kills.")
    modes = drills.add_mutually_exclusive_group()
    modes.add_argument("--paper", dest="mode", action="store_const", const=Mode.PAPER, help="over the paper gateway")
    modes.add_argument("--sim", dest="mode", action="store_const", const=Mode.SIM, help="over the simulated broker")
    drills.add_argument("--symbol", default="SPY", metavar="SYMBOL", help="a stock to buy one of; default: SPY")
    drills.add_argument("--option", action="store_true", help="buy one call on it instead, at the money")
    drills.add_argument("--account", metavar="ACCOUNT", help="which, where the session has several")
    drills.add_argument("--client-id", type=_client_id, default=7900, metavar="N", help="first of three; default: 7900")
    names = [case.name for case in CASES]
    drills.add_argument("--case", action="append", choices=names, help="only this one; may be given several times")
    drills.add_argument("--json", action="store_true", help="as JSON")
    replays = add("replay", replay, "Try the rules on recorded quotes: what would have closed, and at which profit.")
    replays.add_argument("tape", type=Path, metavar="TAPE", help="a CSV file of quotes, or a journal")
    replays.add_argument("--positions", type=Path, metavar="FILE", help="the positions of a tape, as YAML")
    replays.add_argument("--plot", type=Path, metavar="FILE", help="draw it into this PNG file")
    replays.add_argument(
        "--net-liquidation", type=_price, metavar="AMOUNT", help="what the account is worth first, for account_stops"
    )
    replays.add_argument("--json", action="store_true", help="as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
