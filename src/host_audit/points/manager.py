"""Each position manager: its mode, its journal, and what live trading needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gateway_watch.instance import Instance
from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should

SENDING = ("paper", "live")
CONFIG = must("manager-config", "Position manager's configuration", "valid", "position-manager check-config", LIVE)
MODE = must(
    "manager-mode",
    "Mode and gateway",
    "the mode of the manager fits the trading mode of its gateway",
    "Correct position_manager_mode or ib_gateway_trading_mode.",
    LIVE,
)
ACCOUNTS = must(
    "manager-accounts", "Manager's expected accounts", "set for live", "Set position_manager_expected_accounts.", LIVE
)
JOURNAL = must(
    "manager-journal", "Journal", "present and undamaged (PRAGMA quick_check)", "Restore it from a backup.", LIVE
)
HALT = should(
    "manager-halt", "Halt", "sending is not halted", "position-manager resume, once its reason is resolved.", LIVE
)
HEARTBEAT = should(
    "heartbeat", "Dead man's switch", "set for live trading", "Set position_manager_heartbeat_url.", LIVE
)
RULES = must("rules", "Rules", "at least one stop", "Add a stop to position_manager_config.", LIVE)


def names(host: Host) -> list[str]:
    return [path.stem for path in host.matching("/etc/position-manager", "*.yml")]


def sending_through(host: Host, instance: Instance) -> list[str]:
    """The managers that send orders through a gateway."""
    ports = {api.port for api in instance.apis}
    found = []
    for name in names(host):
        try:
            document = _document(host, name)
        except UnreadableError:
            continue
        if document.get("mode") in SENDING and _port(document) in ports:
            found.append(name)
    return found


def check(host: Host) -> Iterator[Point]:
    for name in names(host):
        try:
            document = _document(host, name)
        except UnreadableError as error:
            yield CONFIG.failed(str(error), name)
            continue
        mode = str(document.get("mode"))
        yield _config(host, name)
        yield _mode(host, name, mode, _port(document))
        if mode == "live":
            yield ACCOUNTS.of([] if document.get("expected_accounts") else ["none"], "set", name)
            yield HEARTBEAT.of([] if document.get("heartbeat") else ["not set"], "set", name)
        else:
            yield ACCOUNTS.skipped(f"mode {mode}", name)
            yield HEARTBEAT.skipped(f"mode {mode}", name)
        yield RULES.of([] if _has_stop(document) else ["no stop anywhere"], "a stop is set", name)
        yield _journal(host, name, mode)
        state = Path("/var/lib/position-manager") / name
        halted = [file for file in ("HALT", "halt.json") if host.exists(state / file)]
        yield HALT.of([f"halted by {file}" for file in halted], "not halted", name)


def _document(host: Host, name: str) -> dict[str, Any]:
    text = host.read(f"/etc/position-manager/{name}.yml")
    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise UnreadableError(f"/etc/position-manager/{name}.yml is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UnreadableError(f"/etc/position-manager/{name}.yml is no mapping")
    return document


def _port(document: dict[str, Any]) -> object:
    gateway = document.get("gateway")
    return gateway.get("port") if isinstance(gateway, dict) else None


def _config(host: Host, name: str) -> Point:
    from position_manager.config.errors import ConfigError
    from position_manager.config.loading import load

    try:
        load(host.path(f"/etc/position-manager/{name}.yml"))
    except ConfigError as error:
        return CONFIG.failed(" ".join(str(error).split()), name)
    return CONFIG.passed("valid", name)


def _mode(host: Host, name: str, mode: str, port: object) -> Point:
    if mode not in SENDING:
        return MODE.skipped(f"mode {mode} sends no orders", name)
    for path in host.matching("/etc/ib-gateway", "*/instance.json"):
        try:
            apis = host.read_json(path).get("apis", ())
        except UnreadableError as error:
            return MODE.unknown(str(error), name)
        for api in apis:
            if api.get("port") == port:
                fits = api.get("mode") == mode
                text = f"manager {mode}, gateway {api.get('mode')} at port {port}"
                return MODE.of([] if fits else [text], text, name)
    return MODE.failed(f"no gateway of this host publishes port {port}", name)


def _has_stop(value: object) -> bool:
    """Whether a stop, trailing or time rule is set anywhere in the document."""
    if isinstance(value, dict):
        return any(
            (key in ("stop", "trailing", "time", "delta") and entry not in (None, "off")) or _has_stop(entry)
            for key, entry in value.items()
        )
    return isinstance(value, list) and any(_has_stop(entry) for entry in value)


def _journal(host: Host, name: str, mode: str) -> Point:
    path = host.path(f"/var/lib/position-manager/{name}/journal-{mode}.db")
    if not path.exists():
        return JOURNAL.failed(f"journal-{mode}.db does not exist", name, "Start the manager once, or restore it.")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return JOURNAL.failed(str(error), name)
    return JOURNAL.of([] if verdict == "ok" else [str(verdict)], f"{path.stat().st_size >> 10} KB, undamaged", name)
