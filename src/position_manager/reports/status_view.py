"""The state of a position manager on one screen, for people, with the next step at its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from position_manager.connection_state import Phase
from position_manager.reports.absent import Absent
from position_manager.reports.status import AccountStatus, IntentStatus, LockStatus, Status, UnitStatus
from position_manager.rules.evaluation import Cause, Distance

WIDEST = 1000
"""More than any screen has: without it a table is measured as if it was cut to the screen already."""

_STYLES = {"guarded": "green", "unprotected": "bold red", "closing": "yellow", "closed in shadow": "yellow"}


def in_order(status: Status) -> bool:
    """Whether orders may be sent and no manual action is required."""
    blocked = status.halts or status.locks or status.new_accounts or _stopped(status)
    return status.phase == Phase.READY and not blocked


def _stopped(status: Status) -> list[str]:
    """Account stops that have fired and do more than notify."""
    return [
        f"{rule.rule} of {account.account} has fired: {rule.text}"
        for account in status.account_stops
        for rule in account.rules
        if rule.verdict == "fired" and rule.action != "notify"
    ]


def next_step(status: Status) -> str:
    """The one thing to do now."""
    if status.halts:
        return f"Find out why, then end it: {status.halts[0]}"
    if status.phase == Phase.AUTH_NEEDED:
        return "Log the gateway in: approve the login in IBKR Mobile, and see: gateway-watch status"
    if status.locks:
        return _release(status.locks[0])
    if status.phase in (Phase.DOWN, Phase.SOCKET, Phase.LINK_LOST):
        return f"Check the gateway: gateway-watch status. {status.why}".rstrip()
    if status.phase != Phase.READY:
        return "Wait: it goes on by itself."
    if stopped := _stopped(status):
        return f"{stopped[0]}. Open no new position; to end it: position-manager rearm account"
    if status.new_accounts:
        return f"Guard the new account too: position-manager accept-account '{status.new_accounts[0]}'"
    blind = next((unit for unit in status.units if unit.verdict == "unprotected" and not _closed(unit)), None)
    if blind is not None:
        return f"{blind.name} is not guarded: {blind.text}"
    return "None."


def show(status: Status, console: Console) -> None:
    """Print a running one."""
    style = "bold green" if status.phase == Phase.READY else "bold red"
    head = Text.assemble(("position-manager", "bold"), f" {status.version}, {status.mode}: ", (status.phase, style))
    head.append(f" since {_clock(status.since, status.time)} ({_ago(status.since, status.time)})")
    console.print(head)
    _row(console, "Time", f"{status.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    if status.why and status.phase != Phase.READY:
        _row(console, "Why", status.why)
    for halt in status.halts:
        _row(console, "HALTED", halt, "bold red")
    if status.degraded:
        _row(console, "Data", f"farms down: {', '.join(status.degraded)}", "yellow")
    _row(console, "Accounts", ", ".join(status.accounts) or "not known yet")
    for account in status.new_accounts:
        _row(console, "New", f"account {account} is NOT guarded until it is accepted", "bold red")
    synced = f"{_ago(status.last_sync, status.time)} ago" if status.last_sync else "not yet"
    realized = ", ".join(f"{_money(money)} {currency}" for currency, money in sorted(status.realized.items()))
    _row(console, "Synced", f"{synced}; orders in 24 h: {status.orders_today}; realised today: {realized or 'nothing'}")
    _row(console, "Rules", status.config)
    console.print()
    if status.units:
        # Entry prices and the levels of stop and target are shown where there is room for them.
        wide = _units(status.units, wide=True)
        fits = console.measure(wide, options=console.options.update(max_width=WIDEST)).maximum <= console.width
        console.print(wide if fits else _units(status.units, wide=False))
        for unit in status.units:
            _unit_lines(console, unit, status.time)
    else:
        console.print("No positions.")
    for short in status.exposures:
        lines = [
            *((warning, "yellow") for warning in short.warnings),
            *([(short.dividend, "")] if short.dividend else []),
        ]
        if lines:
            console.print()
            console.print(Text.assemble(("May be assigned ", "bold"), (short.label, "bold"), f" in {short.account}"))
        for text, style in lines:
            console.print(Text(f"  {text}", style=style))
    for each in status.cooldowns:
        text = f"until {_clock(each.ends, status.time)} UTC ({each.action}), after the {each.rule} of {each.label}"
        console.print(Text.assemble((f"Cooldown {each.symbol} in {each.account} ", "bold"), (text, "yellow")))
    for stops in status.account_stops:
        _account_lines(console, stops)
    _work(console, status.intents, status.locks, status.time)
    console.print()
    _row(console, "Next step", next_step(status), "bold")


def show_absent(absent: Absent, unit: str, console: Console) -> None:
    """Print what is known of one that does not run. ``unit``: the name of its systemd unit."""
    console.print(Text("position-manager does not run: NOTHING IS GUARDED", style="bold red"))
    _row(console, "Time", f"{absent.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    _row(console, "Why", absent.why)
    for halt in absent.halts:
        _row(console, "HALTED", halt, "bold red")
    _row(console, "Journal", absent.journal)
    if absent.holdings:
        console.print()
        console.print(Text("Held when it was counted last", style="bold"))
        for holding in absent.holdings:
            console.print(Text(f"  {holding.quantity:f} {holding.label} in {holding.account}"))
    _work(console, absent.intents, absent.locks, absent.time)
    console.print()
    step = f"Start it: systemctl start {unit}, or see why it ended: journalctl -eu {unit}"
    _row(console, "Next step", step, "bold")


def _units(units: Sequence[UnitStatus], *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("Position", overflow="fold", min_width=14)
    names = ["Qty", *(["Entry"] if wide else []), "Price", "P&L", "To stop", "To target", "Unprotected"]
    for name in names:
        table.add_column(name if wide or name != "Unprotected" else "Unprot.", justify="right", no_wrap=True)
    for unit in units:
        profit = Text("-") if unit.profit is None else Text(_money(unit.profit))
        if unit.profit is not None:
            profit.stylize("red" if unit.profit < 0 else "green")
        table.add_row(
            Text(unit.name, style=_style(unit)),
            f"{unit.quantity:f}",
            *([_number(unit.entry)] if wide else []),
            "-" if unit.price is None else _number(unit.price),
            profit,
            _distance(unit.stop, wide=wide),
            _distance(unit.target, wide=wide),
            _span(timedelta(seconds=unit.unprotected_seconds)),
        )
    return table


def _closed(unit: UnitStatus) -> bool:
    """Whether it is unprotected only because its market is closed: no action is possible then."""
    return unit.text.startswith(Cause.MARKET_CLOSED)


def _style(unit: UnitStatus) -> str:
    return "dim" if _closed(unit) else _STYLES.get(unit.verdict, "")


def _unit_lines(console: Console, unit: UnitStatus, now: datetime) -> None:
    """What the numbers do not show: the verdict, and the rules with their keys in the file."""
    since = f" for {_ago(unit.unprotected_since, now)}" if unit.unprotected_since else ""
    loud = unit.verdict == "unprotected" and not _closed(unit)
    verdict = f"{unit.verdict.upper() if loud else unit.verdict}{since}"
    shown = f"{verdict}: {unit.text}" if unit.text else verdict
    console.print()
    console.print(Text.assemble((unit.name, "bold"), " ", (shown, _style(unit))))
    for rule in unit.rules or ("no rules",):
        console.print(Text(f"  {rule}"))


def _account_lines(console: Console, account: AccountStatus) -> None:
    """What an account is worth, and the state of each of its stops."""
    worth = "value not known"
    if account.net_liquidation is not None:
        worth = f"{_money(account.net_liquidation)} {account.currency}, asked {account.age or 0:.0f} s ago"
    console.print()
    console.print(Text.assemble(("Account ", "bold"), (account.account, "bold"), f" {worth}"))
    styles = {**_STYLES, "fired": "bold red", "pending": "yellow"}
    for rule in account.rules:
        loud = rule.verdict in ("fired", "unprotected")
        verdict = rule.verdict.upper() if loud else rule.verdict
        console.print(Text(f"  {rule.rule} ({rule.action}) {verdict}: {rule.text}", style=styles[rule.verdict]))
    if account.to_close:
        console.print(Text(f"  {account.to_close} contracts are still to be closed", style="bold red"))


def _work(console: Console, intents: Sequence[IntentStatus], locks: Sequence[LockStatus], now: datetime) -> None:
    if intents:
        console.print()
        console.print(Text("Orders under way", style="bold"))
        for intent in intents:
            price = f" at {intent.limit}" if intent.limit else ""
            what = f"{intent.side} {intent.quantity:f} {intent.label}{price}"
            state = f"{intent.state}, {intent.filled:f} filled{f'; {intent.reason}' if intent.reason else ''}"
            why = f"because of {intent.rule}, {_ago(intent.created, now)} ago"
            console.print(Text(f"  {what}: {state}, {why} ({intent.id})"))
    if locks:
        console.print()
        console.print(Text("Locked", style="bold red"))
        for lock in locks:
            console.print(Text(f"  {lock.label} in {lock.account} for {_ago(lock.since, now)}: {lock.reason}"))


def _release(lock: LockStatus) -> str:
    return f"Check the position and its orders at the broker, then: position-manager release {quote(lock.label)}"


def _row(console: Console, label: str, text: str, style: str = "") -> None:
    """A label and a text that wraps beside it."""
    grid = Table.grid(padding=0)
    grid.add_column(width=11, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), Text(text))
    console.print(grid)


def _distance(distance: Distance | None, *, wide: bool) -> str:
    if distance is None:
        return "-"
    percent = "" if distance.percent is None else f"{distance.percent:.0f}%"
    parts = [f"{_number(distance.level)}:"] if wide else []
    return " ".join([*parts, _number(distance.distance), percent]).rstrip()


def _number(value: Decimal) -> str:
    """A price: its own digits, at least two and at most four decimals."""
    text = f"{value:.4f}"
    return text[:-2] if text.endswith("00") else text


def _money(value: Decimal) -> str:
    return f"{value:,.2f}"


def _clock(moment: datetime, now: datetime) -> str:
    """A time, with its day if that is another one."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def _ago(moment: datetime, now: datetime) -> str:
    return _span(max(timedelta(), now - moment))


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit, part_size, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part_size} {part}"
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
