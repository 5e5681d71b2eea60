"""The simulator's settings: the image's own variables and the GATEWAY_SIMULATOR_ ones.

The image's variables are those of ghcr.io/gnzsnz/ib-gateway. The scenario is read from variables with
the prefix ``GATEWAY_SIMULATOR_`` and can be changed while the simulator runs, one key at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, time
from enum import Enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway_simulator.api.behaviour import PROTOBUF_VERSION, SERVER_VERSIONS, MarketDataAccess
from gateway_simulator.api.faults import FaultError, Rule, parse_rule
from gateway_simulator.api.requests import REQUEST_NAMES

PREFIX = "GATEWAY_SIMULATOR_"
CONTROL_PORT = 4010
NATIVE_PORTS = {"live": 4001, "paper": 4002}
RELAY_PORTS = {"live": 4003, "paper": 4004}
FIRST_EXIT_CODE, LAST_EXIT_CODE = 1100, 1112
"""The exit codes of IBC."""


class SettingsError(Exception):
    """A variable has a value that cannot be used. The text names it, its value and what is allowed."""


class Credentials(Enum):
    """How the simulated login server answers a user name and a password."""

    GOOD = "good"
    WRONG = "wrong"
    """The dialog "Unrecognized Username or Password", which IBC does not recognize: the login hangs."""
    BAD_A = "bad_a"
    """The same as WRONG."""
    BAD_B = "bad_b"
    """The same as WRONG."""
    LOCKED = "locked"
    """The dialog "Login Error" with a text that names a lock."""
    RATE_LIMITED = "rate_limited"
    """The first attempt of a start is rejected for a while; an attempt after that wait succeeds."""


class Refusal(Enum):
    """A rejected login that does not concern the credentials; REFUSAL_TEXT is what IBKR writes."""

    NONE = "none"
    LOGIN_FAILED = "login_failed"
    """The dialog "Login failed". Its text is not in the log; cold restart."""
    LOGIN_ERROR = "login_error"
    """The dialog "Login Error". Its text is in the log; cold restart."""
    CONNECTION_FAILED = "connection_failed"
    """"Connection to server failed: " and the text; cold restart."""
    CONNECTION_FAILED_HTML = "connection_failed_html"
    """The same as HTML in a dialog titled Gateway, which IBC does not recognize: the login hangs."""
    UPGRADE = "upgrade"
    """A dialog "… needs to be upgraded", which IBC does not recognize: the login hangs."""


class TokenRefused(Enum):
    """What a restart with the autorestart file meets, once the file is read."""

    NO = "no"
    YES = "yes"
    """The dialog "Re-login is required", and nothing after IBC's click."""
    UNRECOGNIZED = "unrecognized"
    """The dialog "Unrecognized Username or Password", although the credentials are right."""
    RELOGIN_UNRECOGNIZED = "relogin_unrecognized"
    """"Re-login is required", and after IBC's click "Unrecognized Username or Password"."""


class RestartByCommand(Enum):
    """What IBC does with RESTART and PAUSE."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Answers that a restart is in progress already."""
    IGNORED = "ignored"
    """Acknowledges the command, and the gateway does not restart."""


class Configuration(Enum):
    """How far IBC gets with the gateway's settings."""

    APPLIED = "applied"
    NO_READ_ONLY = "no_read_only"
    """The Read-Only API checkbox is not found: the API stays read-only."""
    NO_MENU = "no_menu"
    """The menu entry of the settings is missing: exit 1100."""
    NO_DIALOG = "no_dialog"
    """The configuration dialog never opens: nothing is configured, the API stays read-only."""


class ExistingSession(Enum):
    """Another session of the same user. A number forces the scenario that IBC reports; the other
    values let EXISTING_SESSION_DETECTED_ACTION decide, as it does with the real gateway."""

    NONE = "none"
    LOGIN = "login"
    """The dialog comes once, while this session logs in (scenario 1, 2 or 3)."""
    LOGIN_TWICE = "login_twice"
    """The other session does not give way: the dialog comes again (scenario 3, then 4)."""
    LOGGED_IN = "logged_in"
    """The other session comes when this one is logged in (scenario 1, 2, 5 or 6)."""
    HANDOFF = "handoff"
    """Scenario 3, then the dialog "Trading Login Handoff"; with manual that dialog alone."""
    AFTER_HARD_STOP = "after_hard_stop"
    """As LOGIN, for EXISTING_SESSION_SECONDS after a session that did not log out."""
    SCENARIO_1 = "1"
    SCENARIO_2 = "2"
    SCENARIO_3 = "3"
    SCENARIO_4 = "4"
    SCENARIO_5 = "5"
    SCENARIO_6 = "6"


class FirstConnect(Enum):
    """The first API client after each start of the gateway."""

    NORMAL = "normal"
    SILENT = "silent"


class Connect(Enum):
    """What every API client meets."""

    NORMAL = "normal"
    SILENT = "silent"
    ACCEPT_AND_CLOSE = "accept_and_close"
    SILENT_AFTER_VERSION = "silent_after_version"
    DEAD = "dead"
    """The port stays open and nothing behind it moves any more."""


class Server(Enum):
    """IBKR's login and data servers."""

    UP = "up"
    DOWN = "down"
    MAINTENANCE = "maintenance"
    """Logins get the dialog "Login failed"; a running session notices nothing."""


class ClockKind(Enum):
    """What moves the servers' clock."""

    REAL = "real"
    HELD = "held"
    """Only the control interface's ``advance`` does."""


class TradingHoursKind(Enum):
    """When the market is open."""

    ALWAYS = "always"
    EXCHANGE = "exchange"


class LoginWindow(Enum):
    """Whether the login dialog fails to appear: exit 1112, and the start script starts IBC again, without limit."""

    SHOWN = "no"
    MISSING = "yes"
    LOOP = "loop"
    """The same as MISSING."""


class TwoFaKind(Enum):
    """How the second factor is handled."""

    NONE = "none"
    APPROVE_AFTER = "approve_after"
    CLOSE_AFTER = "close_after"
    """The dialog closes early, and no login follows."""
    NEVER = "never"
    CODE = "code"
    """The dialog asks for an authenticator's code; no device is notified."""
    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_UNSET = "device_unset"


TWOFA_TIMED = frozenset({TwoFaKind.APPROVE_AFTER, TwoFaKind.CLOSE_AFTER})
"""Kinds with a number of seconds."""


class UnknownSymbols(Enum):
    """What becomes of a stock that the catalog does not list."""

    INVENT = "invent"
    REFUSE = "refuse"


class AccountCurrency(Enum):
    """The currency of the accounts; nothing else can be held in them."""

    USD = "USD"
    GBP = "GBP"
    EUR = "EUR"


@dataclass(frozen=True)
class TwoFa:
    """The second factor of a full login; ``seconds`` counts from the opening of the dialog."""

    kind: TwoFaKind = TwoFaKind.NONE
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.seconds:g}" if self.kind in TWOFA_TIMED else self.kind.value


IBKR_SIDE = frozenset(
    {
        "ACCOUNT_CURRENCY",
        "CREDENTIALS",
        "EXISTING_SESSION",
        "REFUSAL",
        "REFUSAL_TEXT",
        "SERVER",
        "TOKEN_REFUSED",
        "TWOFA",
        "TWOFA_DEVICES",
        "TOTP_KEY",
    }
)
"""Settings of IBKR and of the user rather than of the container: a change while it runs outlives it."""


@dataclass(frozen=True)
class Scenario:
    """What happens, each with the name of its variable in lower case and without the prefix.

    Times are in seconds. ``accounts`` empty: the default of the mode. ``read_only`` None: READ_ONLY_API
    decides. ``crash_after`` None: no crash. ``time_scale`` multiplies every wait, not the seconds that
    the log and the window name.
    """

    start_seconds: float = 6.0
    second_gateway_seconds: float = 2.0
    login_dialog_seconds: float = 60.0
    credentials: Credentials = Credentials.GOOD
    password_sha256: str = ""
    rate_limit_seconds: int = 20
    refusal: Refusal = Refusal.NONE
    refusal_text: str = ""
    twofa: TwoFa = TwoFa()
    twofa_seconds: float = 180.0
    twofa_devices: tuple[str, ...] = ()
    twofa_same_dialog: bool = False
    totp_key: str = ""
    slow_after_2fa: float = 0.0
    existing_session: ExistingSession = ExistingSession.NONE
    existing_session_seconds: float = 300.0
    configuration: Configuration = Configuration.APPLIED
    dialog: str = ""
    first_connect: FirstConnect = FirstConnect.NORMAL
    connect: Connect = Connect.NORMAL
    client_ids_in_use: frozenset[int] = frozenset()
    read_only: bool | None = None
    managed_accounts: bool = True
    accounts: tuple[str, ...] = ()
    server: Server = Server.UP
    sync_seconds: float = 0.0
    omit_executions_end: bool = False
    omit_account_download_end: bool = False
    crash_after: float | None = None
    no_login_window: LoginWindow = LoginWindow.SHOWN
    java_missing: bool = False
    token_refused: TokenRefused = TokenRefused.NO
    stale_autorestart: bool = False
    restart_command: RestartByCommand = RestartByCommand.ACCEPTED
    exit_code: int | None = None
    logout_seconds: float = 1.0
    stop_deaf_seconds: float = 0.0
    time_scale: float = 1.0
    seed: int = 1
    clock: ClockKind = ClockKind.REAL
    clock_start: datetime | None = None
    clock_speed: float = 1.0
    trading_hours: TradingHoursKind = TradingHoursKind.ALWAYS
    tape: Path | None = None
    latency_ms: int | None = None
    cancel_seconds: float = 0.0
    market_data: MarketDataAccess = MarketDataAccess.LIVE
    market_data_lines: int = 100
    master_client_id: int | None = None
    messages_per_second: int = 50
    historical_pacing: bool = False
    state_file: Path | None = None
    journal_file: Path | None = None
    faults: tuple[Rule, ...] = ()
    server_version: int = PROTOBUF_VERSION
    unknown_symbols: UnknownSymbols = UnknownSymbols.INVENT
    catalog: Path | None = None
    account_currency: AccountCurrency = AccountCurrency.USD

    def changed(self, key: str, value: str) -> Scenario:
        """Return the scenario with one key changed; ``key`` with or without the prefix, any case.

        Raises SettingsError for an unknown key or a value that the key does not take.
        """
        name = key.upper().removeprefix(PREFIX)
        parser = _PARSERS.get(name)
        if parser is None:
            raise SettingsError(
                f"{PREFIX}{name} is not a setting of the simulator; known are: {', '.join(sorted(_PARSERS))}"
            )
        try:
            parsed = parser(value.strip())
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} is {value!r}: {error}") from error
        changes: dict[str, Any] = {name.lower(): parsed}
        return replace(self, **changes)

    def as_text(self) -> dict[str, str]:
        """Return each key in upper case with its value as it would be written in a variable."""
        return {item.name.upper(): _as_text(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True)
class CommandServerSettings:
    """IBC's command server. ``address`` empty: it listens on every address."""

    port: int
    address: str = ""
    control_from: str = ""


@dataclass(frozen=True)
class GatewaySettings:
    """One gateway as the image's variables describe it.

    ``mode`` live or paper. ``read_only`` None: not set, the gateway keeps its setting. ``relogin``
    RELOGIN_AFTER_TWOFA_TIMEOUT. ``twofa_restart`` TWOFA_TIMEOUT_ACTION is restart. ``settings_path``
    where jts.ini and the autorestart file live; None: nowhere, nothing outlives the process. ``settings_last``
    False: it goes when the program ends, so keeping the trading's state in it would be work for nothing.
    ``master_client_id`` the client that receives the events of every client's orders, TWS_MASTER_CLIENT_ID.
    ``command_server`` IBC's, from the template of its configuration; None: it has none.
    """

    mode: str = "paper"
    user: str = ""
    password: str = field(default="", repr=False)
    read_only: bool | None = None
    relogin: bool = False
    twofa_restart: bool = False
    twofa_exit_interval: int = 60
    twofa_device: str = ""
    existing_session_action: str = "manual"
    auto_restart: time | None = None
    auto_logoff: time | None = None
    cold_restart: time | None = None
    settings_path: Path | None = None
    settings_last: bool = True
    master_client_id: int | None = None
    command_server: CommandServerSettings | None = None

    @property
    def native_port(self) -> int:
        """The port the gateway itself listens on."""
        return NATIVE_PORTS[self.mode]

    @property
    def relay_port(self) -> int:
        """The port of the relay, the one to publish."""
        return RELAY_PORTS[self.mode]


def read_scenario(environ: Mapping[str, str]) -> Scenario:
    """Read every variable with the simulator's prefix; an unknown one is a SettingsError."""
    scenario = Scenario()
    for name, value in environ.items():
        if name.startswith(PREFIX) and name != f"{PREFIX}CONTROL_PORT":
            scenario = scenario.changed(name, value)
    return scenario


def read_control_port(environ: Mapping[str, str]) -> int:
    """Read the port of the control interface, GATEWAY_SIMULATOR_CONTROL_PORT."""
    name = f"{PREFIX}CONTROL_PORT"
    value = environ.get(name, "")
    if not value:
        return CONTROL_PORT
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise SettingsError(f"{name} is {value!r}: it must be a port number from 1 to 65535")
    return int(value)


def read_secret(environ: Mapping[str, str], name: str) -> str:
    """Return the value of ``name`` or the content of the file ``name``_FILE without its last newlines.

    Both set is a SettingsError with the words of the image; so is a file that cannot be read.
    """
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and path:
        raise SettingsError(f"error: both {name} and {name}_FILE are set (but are exclusive)")
    if not path:
        return value
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE is {path!r}, which cannot be read: {error}") from error


def read_zone(environ: Mapping[str, str]) -> ZoneInfo:
    """Return the zone of TZ, or of TIME_ZONE where that is empty; UTC where both are."""
    for name in ("TZ", "TIME_ZONE"):
        if value := environ.get(name, ""):
            try:
                return ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise SettingsError(
                    f"{name} is {value!r}: there is no such time zone; write for example America/New_York"
                ) from error
    return ZoneInfo("UTC")


def trading_modes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modes to run, in the order the image starts them; SettingsError in its own words."""
    mode = environ.get("TRADING_MODE", "")
    if mode == "both":
        return ("live", "paper")
    if mode in NATIVE_PORTS:
        return (mode,)
    raise SettingsError(f".> Invalid TRADING_MODE: {mode}")


def settings_path(environ: Mapping[str, str], mode: str, *, dual: bool) -> Path | None:
    """Return the settings directory of one gateway; with TRADING_MODE=both each has its own suffix."""
    path = environ.get("TWS_SETTINGS_PATH", "") or environ.get("TWS_PATH", "")
    if not path:
        return None
    return Path(f"{path}_{mode}" if dual else path)


def read_command_server(template: str) -> CommandServerSettings | None:
    """Read the settings of IBC's command server from the template of its configuration; port 0 is none."""
    settings = dict(line.partition("=")[::2] for line in template.splitlines() if not line.startswith("#"))
    port = settings.get("CommandServerPort", "").strip() or "0"
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"CommandServerPort is {port!r}: it must be a port number, or 0")
    address, control_from = (settings.get(name, "").strip() for name in ("BindAddress", "ControlFrom"))
    return CommandServerSettings(int(port), address, control_from) if int(port) else None


def read_gateway(environ: Mapping[str, str], mode: str, *, dual: bool = False) -> GatewaySettings:
    """Read the settings of one gateway from the image's variables.

    With ``dual`` (TRADING_MODE=both) the paper gateway takes its credentials from the _PAPER variables.
    """
    half = "_PAPER" if dual and mode == "paper" else ""
    action = environ.get("EXISTING_SESSION_DETECTED_ACTION", "").lower() or "manual"
    if action not in ("primary", "primaryoverride", "secondary", "manual"):
        raise SettingsError(
            f"EXISTING_SESSION_DETECTED_ACTION is {action!r}: it must be primary, primaryoverride, secondary or manual"
        )
    twofa_action = environ.get("TWOFA_TIMEOUT_ACTION", "").lower() or "exit"
    if twofa_action not in ("exit", "restart"):
        raise SettingsError(f"TWOFA_TIMEOUT_ACTION is {twofa_action!r}: it must be exit or restart")
    interval = environ.get("TWOFA_EXIT_INTERVAL", "") or "60"
    if not interval.isascii() or not interval.isdigit():
        raise SettingsError(f"TWOFA_EXIT_INTERVAL is {interval!r}: it must be a whole number of seconds")
    auto_restart = _clock_time(environ, "AUTO_RESTART_TIME", "%I:%M %p", "12 hours, for example 02:00 AM")
    return GatewaySettings(
        mode=mode,
        user=environ.get(f"TWS_USERID{half}", ""),
        password=read_secret(environ, f"TWS_PASSWORD{half}"),
        read_only=_optional_yes_no(environ, "READ_ONLY_API"),
        relogin=_optional_yes_no(environ, "RELOGIN_AFTER_TWOFA_TIMEOUT") or False,
        twofa_restart=twofa_action == "restart",
        twofa_exit_interval=int(interval),
        twofa_device=environ.get("TWOFA_DEVICE", ""),
        existing_session_action=action,
        auto_restart=auto_restart,
        auto_logoff=None
        if auto_restart
        else _clock_time(environ, "AUTO_LOGOFF_TIME", "%I:%M %p", "12 hours, for example 11:45 PM"),
        cold_restart=_clock_time(environ, "TWS_COLD_RESTART", "%H:%M", "24 hours, for example 13:00"),
        settings_path=settings_path(environ, mode, dual=dual),
        master_client_id=_master_client_id(environ),
    )


def _master_client_id(environ: Mapping[str, str]) -> int | None:
    value = environ.get("TWS_MASTER_CLIENT_ID", "")
    try:
        return _optional_client_id(value)
    except ValueError as error:
        raise SettingsError(f"TWS_MASTER_CLIENT_ID is {value!r}: {error}") from error


def _clock_time(environ: Mapping[str, str], name: str, pattern: str, form: str) -> time | None:
    value = environ.get(name, "")
    if not value:
        return None
    try:
        # A time of day belongs to no zone until a day is chosen.
        return datetime.strptime(value, pattern).time()
    except ValueError as error:
        raise SettingsError(f"{name} is {value!r}: it must be a time of {form}") from error


def _optional_yes_no(environ: Mapping[str, str], name: str) -> bool | None:
    value = environ.get(name, "")
    if not value:
        return None
    try:
        return _yes_no(value)
    except ValueError as error:
        raise SettingsError(f"{name} is {value!r}: {error}") from error


def _yes_no(value: str) -> bool:
    words = {"yes": True, "true": True, "no": False, "false": False}
    if value.lower() not in words:
        raise ValueError("it must be yes or no")
    return words[value.lower()]


def _yes_no_unset(value: str) -> bool | None:
    return None if value in ("", "unset") else _yes_no(value)


def _seconds(value: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value, re.ASCII):
        raise ValueError("it must be a number of seconds, 0 or more")
    return float(value)


def _whole_seconds(value: str) -> int:
    if not re.fullmatch(r"\d{1,4}", value, re.ASCII) or int(value) >= 3600:
        raise ValueError("it must be a whole number of seconds under 3600")
    return int(value)


def _optional_seconds(value: str) -> float | None:
    return None if value in ("", "never") else _seconds(value)


def _scale(value: str) -> float:
    number = _seconds(value)
    if number <= 0:
        raise ValueError("it must be more than 0")
    return number


def _client_ids(value: str) -> frozenset[int]:
    if not re.fullmatch(r"(\d{1,9}(,\d{1,9})*)?", value, re.ASCII):
        raise ValueError("it must be client ids separated by commas, for example 1,9000")
    return frozenset(int(number) for number in value.split(",") if number)


def _accounts(value: str) -> tuple[str, ...]:
    if not re.fullmatch(r"([A-Z]{1,3}\d{3,10}(,[A-Z]{1,3}\d{3,10})*)?", value, re.ASCII):
        raise ValueError("it must be accounts separated by commas, for example DU1234567,DU7654321")
    return tuple(account for account in value.split(",") if account)


def _twofa(value: str) -> TwoFa:
    word, colon, seconds = value.partition(":")
    kind = next((item for item in TwoFaKind if item.value == word), None)
    if kind in TWOFA_TIMED and seconds:
        return TwoFa(kind, _seconds(seconds))
    if kind is not None and kind not in TWOFA_TIMED and not colon:
        return TwoFa(kind)
    raise ValueError(
        "it must be none, approve_after:SECONDS, close_after:SECONDS, never, code, device_unknown or device_unset"
    )


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it must be one line of text")
    return value


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in _one_line(value).split(",") if name.strip())


def _exit_code(value: str) -> int | None:
    if value in ("", "none"):
        return None
    if not re.fullmatch(r"\d{4}", value, re.ASCII) or not FIRST_EXIT_CODE <= int(value) <= LAST_EXIT_CODE:
        raise ValueError(f"it must be none or a number from {FIRST_EXIT_CODE} to {LAST_EXIT_CODE}")
    return int(value)


def _one_of(choices: type[Enum]) -> Callable[[str], Enum]:
    allowed = [item.value for item in choices]

    def parse(value: str) -> Enum:
        found = next((each for each in choices if each.value.lower() == value.lower()), None)
        if found is None:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return found

    return parse


def _token_refused(value: str) -> TokenRefused:
    words = {"true": TokenRefused.YES, "false": TokenRefused.NO, **{item.value: item for item in TokenRefused}}
    if value.lower() not in words:
        raise ValueError(f"it must be one of {', '.join(item.value for item in TokenRefused)}")
    return words[value.lower()]


def _number(largest: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,10}", value, re.ASCII) or int(value) > largest:
            raise ValueError(f"it must be a whole number from 0 to {largest}")
        return int(value)

    return parse


def _optional_number(largest: int) -> Callable[[str], int | None]:
    parse = _number(largest)
    return lambda value: parse(value) if value else None


_optional_client_id = _optional_number(2**31 - 1)


def _optional_path(value: str) -> Path | None:
    return Path(value) if value else None


def _clock_start(value: str) -> datetime | None:
    if value in ("", "now"):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("it must be now or a date with time, for example 2026-11-23T14:30:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _faults(value: str) -> tuple[Rule, ...]:
    try:
        return tuple(parse_rule(each.split(), REQUEST_NAMES) for each in value.split(";") if each.strip())
    except FaultError as error:
        raise ValueError(str(error)) from error


def _server_version(value: str) -> int:
    if value not in map(str, SERVER_VERSIONS):
        raise ValueError(f"it must be one of {', '.join(map(str, SERVER_VERSIONS))}")
    return int(value)


def _totp_key(value: str) -> str:
    if not re.fullmatch("(([0-9a-f]{2})*)", value):
        raise ValueError("it must be the key of the authenticator app, as hexadecimal digits")
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch("([0-9a-f]{64})?", value):
        raise ValueError("it must be the SHA-256 of a password, as 64 hexadecimal digits")
    return value


_PARSERS: dict[str, Callable[[str], object]] = {
    "START_SECONDS": _seconds,
    "SECOND_GATEWAY_SECONDS": _seconds,
    "LOGIN_DIALOG_SECONDS": _seconds,
    "CREDENTIALS": _one_of(Credentials),
    "PASSWORD_SHA256": _sha256,
    "RATE_LIMIT_SECONDS": _whole_seconds,
    "REFUSAL": _one_of(Refusal),
    "REFUSAL_TEXT": _one_line,
    "TWOFA": _twofa,
    "TWOFA_SECONDS": _seconds,
    "TWOFA_DEVICES": _names,
    "TWOFA_SAME_DIALOG": _yes_no,
    "TOTP_KEY": _totp_key,
    "SLOW_AFTER_2FA": _seconds,
    "EXISTING_SESSION": _one_of(ExistingSession),
    "EXISTING_SESSION_SECONDS": _seconds,
    "CONFIGURATION": _one_of(Configuration),
    "RESTART_COMMAND": _one_of(RestartByCommand),
    "DIALOG": _one_line,
    "FIRST_CONNECT": _one_of(FirstConnect),
    "CONNECT": _one_of(Connect),
    "CLIENT_IDS_IN_USE": _client_ids,
    "READ_ONLY": _yes_no_unset,
    "MANAGED_ACCOUNTS": _yes_no,
    "ACCOUNTS": _accounts,
    "SERVER": _one_of(Server),
    "SYNC_SECONDS": _seconds,
    "OMIT_EXECUTIONS_END": _yes_no,
    "OMIT_ACCOUNT_DOWNLOAD_END": _yes_no,
    "CRASH_AFTER": _optional_seconds,
    "NO_LOGIN_WINDOW": _one_of(LoginWindow),
    "JAVA_MISSING": _yes_no,
    "TOKEN_REFUSED": _token_refused,
    "STALE_AUTORESTART": _yes_no,
    "EXIT_CODE": _exit_code,
    "LOGOUT_SECONDS": _seconds,
    "STOP_DEAF_SECONDS": _seconds,
    "TIME_SCALE": _scale,
    "SEED": _number(2**31 - 1),
    "CLOCK": _one_of(ClockKind),
    "CLOCK_START": _clock_start,
    "CLOCK_SPEED": _scale,
    "TRADING_HOURS": _one_of(TradingHoursKind),
    "TAPE": _optional_path,
    "LATENCY_MS": _optional_number(60_000),
    "CANCEL_SECONDS": _seconds,
    "MARKET_DATA": _one_of(MarketDataAccess),
    "MARKET_DATA_LINES": _number(100_000),
    "MASTER_CLIENT_ID": _optional_client_id,
    "MESSAGES_PER_SECOND": _number(1_000_000),
    "HISTORICAL_PACING": _yes_no,
    "STATE_FILE": _optional_path,
    "JOURNAL_FILE": _optional_path,
    "FAULTS": _faults,
    "SERVER_VERSION": _server_version,
    "UNKNOWN_SYMBOLS": _one_of(UnknownSymbols),
    "CATALOG": _optional_path,
    "ACCOUNT_CURRENCY": _one_of(AccountCurrency),
}


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Enum():
            return str(value.value)
        case float():
            return f"{value:g}"
        case datetime():
            return value.isoformat()
        case (Rule(), *_):
            return "; ".join(map(str, value))
        case tuple():
            return ",".join(map(str, value))
        case frozenset():
            return ",".join(sorted(str(item) for item in value))
        case _:
            return str(value)
