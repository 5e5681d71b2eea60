"""What the watch knows of one gateway instance: `<config root>/<name>/instance.json`, written by the deploy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway_watch.login_gate import QuietHours
from gateway_watch.session_calendar import SessionCalendar
from host_service import gateway_login

CONFIG_ROOT = Path("/etc/ib-gateway")
RUN_ROOT = Path("/run/ib-gateway")
DEFAULT_NAME = "ib-gateway"
REMEDY = "Run site.yml again: it writes this file from the inventory."

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_MODES = ("paper", "live", "both")


class InstanceError(ValueError):
    """instance.json is missing or wrong; the message names the file, every fault in it, and the remedy."""


@dataclass(frozen=True)
class Api:
    """One published API: `mode` (paper or live), where it is published, and the gateway's own port behind it."""

    mode: str
    host: str
    port: int
    native_port: int


@dataclass(frozen=True)
class Vnc:
    """Where the gateway's screen is published."""

    host: str
    port: int


@dataclass(frozen=True)
class Instance:
    """One gateway. Durations are in seconds unless the field's name contains minutes.

    `auto_restart_time` and `cold_restart_time` (Sundays only) are wall clock times in `timezone`, None for none.
    `watch_client_id` is that of the watch's own API session; `link_lost_minutes` after which people are notified of a
    lost connection to IBKR in a known window, `link_restart_minutes` after which a gateway that does not reconnect is
    restarted once (0 for never); `twofa_pushes_per_hour` unanswered approvals after which a person is waited for (0 for
    no limit), `twofa_quiet_hours` in which none is requested; `reminder_quiet_hours` in which no reminder is sent;
    `yield_minutes` that another session is left alone.
    `totp`: the secret of an authenticator app is there, so that the second factor is answered without a person.
    `soft_restart`: restarts keep the session where the login controller has a command for it.
    `metrics_port` is where metrics are served on 127.0.0.1, 0 for nowhere.
    `desupported_image_allowed`: a version that IB has ended is no fault. `twofa_timeout` is how long the 2FA dialog
    is open; `start_timeout` how long a start may take while nothing is waited for; `unanswering_minutes` after how many
    failed probes, one a minute, the API is taken for dead.
    """

    name: str
    container: str
    unit: str
    trading_mode: str
    apis: tuple[Api, ...]
    vnc: Vnc | None
    secrets_dir: Path
    state_dir: Path
    start_timeout: int
    timezone: ZoneInfo
    auto_restart_time: time | None
    cold_restart_time: time | None
    twofa_timeout: int
    expected_accounts: tuple[str, ...]
    client_id: int
    max_bad_logins: int
    unanswering_minutes: int
    watch_client_id: int
    read_only_api: bool
    link_lost_minutes: int
    link_restart_minutes: int
    twofa_pushes_per_hour: int
    twofa_quiet_hours: QuietHours | None
    reminder_quiet_hours: QuietHours | None
    yield_minutes: int
    image: str
    desupported_image_allowed: bool
    login_controller: str
    totp: bool
    soft_restart: bool
    metrics_port: int
    config_dir: Path

    @property
    def calendar(self) -> SessionCalendar:
        """When it restarts, and when its session ends."""
        return SessionCalendar(self.auto_restart_time, self.cold_restart_time, self.timezone)

    @property
    def credential_files(self) -> list[Path]:
        """What a person corrects when IBKR refuses the login; only their times can be read without privileges."""
        return [*self.login_files, self.config_dir / "container.env"]

    @property
    def login_files(self) -> list[Path]:
        """The user name and the password."""
        return [*sorted(self.secrets_dir.glob("tws_password*")), self.secrets_dir / "login.env"]

    @property
    def correctable_files(self) -> list[Path]:
        """What a person can correct about this instance at all."""
        return [*self.credential_files, self.config_dir / "instance.json"]

    def secret(self, name: str, environment: Mapping[str, str]) -> Path:
        """The file of a secret: systemd's credential in the unit, the instance's own file by hand."""
        credentials = environment.get("CREDENTIALS_DIRECTORY")
        return (Path(credentials) if credentials else self.secrets_dir) / name

    @property
    def login_file(self) -> Path:
        """Where the running watch reports the login and the connection to IBKR, readable for every user."""
        return RUN_ROOT / self.name / gateway_login.NAME

    @property
    def breaker_file(self) -> Path:
        return self.state_dir / "breaker.json"

    @property
    def session_file(self) -> Path:
        return self.state_dir / "session.json"

    @property
    def reminders_file(self) -> Path:
        return self.state_dir / "reminders.json"

    @property
    def outbox_file(self) -> Path:
        return self.state_dir / "notifications.sqlite3"

    @property
    def screenshots_dir(self) -> Path:
        return self.state_dir / "screenshots"


def load(name: str, config_root: Path = CONFIG_ROOT) -> Instance:
    """The instance called `name`. Raises `InstanceError`."""
    if not _NAME.fullmatch(name):
        raise InstanceError(f"{name!r} is no instance name: letters, digits, dot, dash and underscore only.")
    path = config_root / name / "instance.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        there = sorted(found.parent.name for found in config_root.glob("*/instance.json"))
        known = f"Instances here: {', '.join(there)}." if there else f"There is no instance in {config_root}."
        raise InstanceError(f"{path} does not exist. {known} Deploy it with site.yml, or correct the name.") from error
    except PermissionError as error:
        raise InstanceError(f"{path} may be read by root only: run this with sudo.") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InstanceError(f"{path} is no JSON: {error}. {REMEDY}") from error
    instance = parse(document, path)
    if instance.name != name:
        raise InstanceError(f"{path} describes {instance.name!r}, but lies in the directory of {name!r}. {REMEDY}")
    return instance


def parse(document: object, path: Path) -> Instance:
    """The instance in `document` (decoded JSON); `path` is where it was read. Raises `InstanceError`."""
    if not isinstance(document, Mapping):
        raise InstanceError(f"{path} must hold one JSON object, not {type(document).__name__}. {REMEDY}")
    reader = _Reader(document)
    values: dict[str, Any] = {
        "name": reader.take("name", _name),
        "container": reader.take("container", _name),
        "unit": reader.take("unit", _unit),
        "trading_mode": reader.take("trading_mode", _trading_mode),
        "apis": reader.take("apis", _apis),
        "vnc": reader.take("vnc", _vnc),
        "secrets_dir": reader.take("secrets_dir", _directory),
        "state_dir": reader.take("state_dir", _directory),
        "start_timeout": reader.take("start_timeout", _positive),
        "timezone": reader.take("timezone", _zone),
        "auto_restart_time": reader.take("auto_restart_time", _time("%I:%M %p", "12-hour time such as 02:00 AM")),
        "cold_restart_time": reader.take("cold_restart_time", _time("%H:%M", "24-hour time such as 13:00")),
        "twofa_timeout": reader.take("twofa_timeout", _positive),
        "expected_accounts": reader.take("expected_accounts", _texts),
        "client_id": reader.take("client_id", _count),
        "max_bad_logins": reader.take("max_bad_logins", _positive),
        "unanswering_minutes": reader.take("unanswering_minutes", _positive),
        "watch_client_id": reader.take("watch_client_id", _count),
        "read_only_api": reader.take("read_only_api", _flag),
        "link_lost_minutes": reader.take("link_lost_minutes", _positive),
        "link_restart_minutes": reader.take("link_restart_minutes", _count),
        "twofa_pushes_per_hour": reader.take("twofa_pushes_per_hour", _count),
        "twofa_quiet_hours": reader.take("twofa_quiet_hours", _quiet_hours(document.get("timezone"))),
        "reminder_quiet_hours": reader.take("reminder_quiet_hours", _quiet_hours(document.get("timezone"))),
        "yield_minutes": reader.take("yield_minutes", _count),
        "image": reader.take("image", _text),
        "desupported_image_allowed": reader.take("desupported_image_allowed", _flag),
        "login_controller": reader.take("login_controller", _text),
        "totp": reader.take("totp", _flag),
        "soft_restart": reader.take("soft_restart", _flag),
        # Not in the file of an earlier release.
        "metrics_port": reader.take("metrics_port", _port_or_none) if "metrics_port" in document else 0,
    }
    faults = reader.faults + [f"{key}: nobody knows this setting" for key in sorted(document.keys() - values.keys())]
    if not faults:
        modes = sorted(api.mode for api in values["apis"])
        wanted = sorted(("live", "paper") if values["trading_mode"] == "both" else (values["trading_mode"],))
        if modes != wanted:
            faults.append(f"apis: trading_mode {values['trading_mode']} needs {', '.join(wanted)}, not {modes}")
    if faults:
        raise InstanceError(f"{path} is wrong: {'; '.join(faults)}. {REMEDY}")
    return Instance(**values, config_dir=path.parent)


class _Reader:
    """Reads values from a mapping and collects the faults in them."""

    def __init__(self, document: Mapping[str, Any], prefix: str = "") -> None:
        self._document = document
        self._prefix = prefix
        self.faults: list[str] = []

    def take(self, key: str, convert: Callable[[Any], Any]) -> Any:
        if key not in self._document:
            self.faults.append(f"{self._prefix}{key}: missing")
            return None
        try:
            return convert(self._document[key])
        except ValueError as error:
            self.faults.append(f"{self._prefix}{key}: {error}")
            return None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text that is not empty, not {value!r}")
    return value


def _name(value: object) -> str:
    if not _NAME.fullmatch(_text(value)):
        raise ValueError(f"{value!r} may hold letters, digits, dot, dash and underscore only")
    return str(value)


def _unit(value: object) -> str:
    if not _name(value).endswith(".service"):
        raise ValueError(f"{value!r} must end in .service")
    return str(value)


def _trading_mode(value: object) -> str:
    if value not in _MODES:
        raise ValueError(f"{value!r} is none of {', '.join(_MODES)}")
    return str(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"must be a whole number of at least 0, not {value!r}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def _positive(value: object) -> int:
    if _count(value) == 0:
        raise ValueError("must be at least 1")
    return _count(value)


def _port(value: object) -> int:
    if not 1 <= _count(value) <= 65535:
        raise ValueError(f"must be a port from 1 to 65535, not {value!r}")
    return _count(value)


def _port_or_none(value: object) -> int:
    return 0 if _count(value) == 0 else _port(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(_text(entry) for entry in value)


def _directory(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, not {value!r}")
    return path


def _zone(value: object) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone that this host knows (package tzdata)") from error


def _time(form: str, words: str) -> Callable[[object], time | None]:
    def convert(value: object) -> time | None:
        if value is None or value == "":
            return None
        try:
            return datetime.strptime(_text(value), form).time()
        except ValueError as error:
            raise ValueError(f"must be a {words}, not {value!r}") from error

    return convert


def _quiet_hours(timezone: object) -> Callable[[object], QuietHours | None]:
    def convert(value: object) -> QuietHours | None:
        if value is None or value == "":
            return None
        begin, _, end = _text(value).partition("-")
        moments = [_time("%H:%M", "time span such as 23:00-07:00")(part.strip()) for part in (begin, end)]
        if moments[0] is None or moments[1] is None or moments[0] == moments[1]:
            raise ValueError(f"must be a time span such as 23:00-07:00, not {value!r}")
        return QuietHours(moments[0], moments[1], _zone(timezone))

    return convert


def _part(value: object, fields: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be an object with {', '.join(fields)}, not {value!r}")
    reader = _Reader(value)
    found = {key: reader.take(key, convert) for key, convert in fields.items()}
    if reader.faults:
        raise ValueError(", ".join(reader.faults))
    return found


def _api_mode(value: object) -> str:
    if value not in ("paper", "live"):
        raise ValueError(f"{value!r} is neither paper nor live")
    return str(value)


def _apis(value: object) -> tuple[Api, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of at least one API")
    fields = {"mode": _api_mode, "host": _text, "port": _port, "native_port": _port}
    return tuple(Api(**_part(entry, fields)) for entry in value)


def _vnc(value: object) -> Vnc | None:
    return None if value is None else Vnc(**_part(value, {"host": _text, "port": _port}))
