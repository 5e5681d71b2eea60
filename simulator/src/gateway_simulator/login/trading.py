"""The trading behind one gateway as its scenario configures it: the clock, the brokerage, and the stored state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from functools import partial
from pathlib import Path

from gateway_simulator.clock import ServerClock
from gateway_simulator.settings import ClockKind, GatewaySettings, Scenario, UnknownSymbols
from gateway_simulator.trading import persistence, statelog
from gateway_simulator.trading.brokerage import Brokerage, BrokerageSettings
from gateway_simulator.trading.invented import read_catalog_file
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.tape import Tape

STATE_FILE = "simulator-state.json"


def make_clock(scenario: Scenario, zone: tzinfo) -> ServerClock:
    """Create the servers' clock; it starts when this is called."""
    held = scenario.clock is ClockKind.HELD
    return ServerClock(zone, start=scenario.clock_start, speed=scenario.clock_speed, held=held)


class TradingFiles:
    """Writes what outlives the process: the state after each change, and the journal's new lines.

    A file that cannot be written is reported once, and trading continues without it.
    """

    def __init__(self, brokerage: Brokerage, state_file: Path | None, journal_file: Path | None) -> None:
        self._brokerage = brokerage
        self._state_file = state_file
        self._state = statelog.StateLog(state_file, brokerage) if state_file is not None else None
        self._journal_file = journal_file
        self._lines: list[str] = []
        if journal_file is not None:
            brokerage.on_line = self._lines.append

    def store(self) -> str:
        """Write what has changed; return what went wrong, or nothing."""
        problems = []
        if self._state is not None:
            try:
                self._state.store()
            except OSError as error:
                problems.append(f"the state is no longer kept in {self._state_file}: {error}")
                self._state.close()
                self._state = None
        if self._journal_file is not None:
            try:
                with self._journal_file.open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in self._lines)
            except OSError as error:
                problems.append(f"the journal is no longer written to {self._journal_file}: {error}")
                self._journal_file = None
                self._brokerage.on_line = None
        self._lines.clear()
        return "; ".join(f"gateway-simulator: {problem}" for problem in problems)


@dataclass(frozen=True)
class Trading:
    """All that is behind the API of one gateway; ``note`` is a line for the log, or empty."""

    clock: ServerClock
    brokerage: Brokerage
    files: TradingFiles
    note: str = ""


def open_trading(scenario: Scenario, settings: GatewaySettings, accounts: tuple[str, ...], zone: tzinfo) -> Trading:
    """Create the trading of some accounts, restored if its state was stored.

    A clock that would start before the state was stored starts at that moment. A state in the settings directory that
    is of other accounts, or of accounts in another currency, is ignored; one in a file that was named is rejected.
    Raises OSError or TapeError for a tape that cannot be played, StateFileError for a state that is damaged or of
    another brokerage.
    """
    clock = make_clock(scenario, zone)
    trading = BrokerageSettings()
    if scenario.latency_ms is not None:
        trading = replace(trading, latency=timedelta(milliseconds=scenario.latency_ms))
    trading = replace(trading, cancel_latency=timedelta(seconds=scenario.cancel_seconds))
    make = partial(
        sample_brokerage,
        list(accounts),
        settings.mode,
        seed=scenario.seed,
        now=clock.utc(),
        hours=scenario.trading_hours.value,
        tape=Tape.load(scenario.tape) if scenario.tape is not None else None,
        settings=trading,
        invents=scenario.unknown_symbols is UnknownSymbols.INVENT,
        listings=read_catalog_file(scenario.catalog) if scenario.catalog is not None else (),
        currency=scenario.account_currency.value,
    )
    brokerage, note = make(), ""
    state_file = scenario.state_file
    directory = settings.settings_path if settings.settings_last else None
    if state_file is None and directory is not None and directory.is_dir():
        state_file = directory / STATE_FILE
    if state_file is not None and statelog.load(state_file, brokerage):
        kept = tuple(brokerage.accounts)
        currency = scenario.account_currency.value
        currencies = {each.currency for each in brokerage.accounts.values()}
        if kept != accounts or currencies != {currency}:
            reason = f"is the state of {','.join(kept)}, and the gateway logs in with {','.join(accounts)}"
            if kept == accounts:
                reason = (
                    f"is the state of accounts in {','.join(sorted(currencies))}, and ACCOUNT_CURRENCY is {currency}"
                )
            if scenario.state_file is not None:
                raise persistence.StateFileError(str(state_file), "accounts", reason)
            counters, order_ids = brokerage.numbers.counters, brokerage.last_order_ids
            brokerage, note = make(), f"gateway-simulator: {state_file} {reason}: starting with a new brokerage"
            # IBKR assigns no number twice; clients store them.
            brokerage.numbers.counters, brokerage.last_order_ids = counters, order_ids
        elif brokerage.now is not None and brokerage.now > clock.utc():
            clock = make_clock(replace(scenario, clock_start=brokerage.now), zone)
    return Trading(clock, brokerage, TradingFiles(brokerage, state_file, scenario.journal_file), note)
