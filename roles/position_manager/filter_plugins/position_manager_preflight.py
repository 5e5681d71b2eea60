"""What is wrong with the settings of the position_manager role, found before the first change to a host.

Each problem names the variable, the value (never a secret one), and the remedy. The rules are checked by
the very code that the release to be installed holds.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.yaml.dumper import AnsibleDumper

SOURCES = Path(__file__).resolve().parents[3] / "src"
NAME = re.compile(r"position-manager(-[a-z0-9][a-z0-9-]{0,30})?")
MODES = ("sim", "shadow", "paper", "live")
DISCORD_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#]\S*")
HEARTBEAT_URL = re.compile(r"https?://[^\s/?#]\S*")
OWNED_KEYS = {
    ("mode",): "mode",
    ("live_confirmed",): "live_confirmed",
    ("expected_accounts",): "expected_accounts",
    ("gateway", "host"): "gateway",
    ("gateway", "port"): "gateway",
    ("gateway", "restart_time"): "gateway",
    ("gateway", "restart_timezone"): "gateway",
    ("gateway", "cold_restart_time"): "gateway",
    ("notifications", "discord_url_file"): "discord_url",
    ("heartbeat", "url_file"): "heartbeat_url",
    ("metrics", "port"): "metrics_port",
}
TEXT_KEYS = ("symbol", "local_symbol", "account")
CLOCK_KEYS = ("at", "before_close")
CLIENT_ID = 100  # what the configuration has without one


def _variable(instance: Mapping[str, Any], setting: str) -> str:
    return f"position_manager_{setting} (instance {instance['name']})"


def _name(instance: Mapping[str, Any]) -> Iterator[str]:
    if not NAME.fullmatch(instance["name"]):
        yield (
            f"position_manager_instances has the name {instance['name']!r}, which names a unit: use position-manager, "
            "or position-manager- with lower-case letters, digits and hyphens behind it."
        )


def _mode(instance: Mapping[str, Any], gateways: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    mode, gateway = instance["mode"], instance["gateway"]
    if mode not in MODES:
        yield f"{_variable(instance, 'mode')} is {mode!r}. Use one of: {', '.join(MODES)}."
    elif mode == "sim":
        return
    elif gateway not in gateways:
        yield (
            f"{_variable(instance, 'gateway')} is {gateway!r}, which ib_gateway_instances does not name. "
            f"It names: {', '.join(gateways) or 'none'}."
        )
    elif instance["api"] is None:
        yield (
            f"{_variable(instance, 'mode')} is {mode!r}, and the gateway {gateway} trades in "
            f"{gateways[gateway]['trading_mode']!r} only. Choose a mode or a gateway that fit each other, or set "
            "position_manager_enabled: false."
        )


def _live(instance: Mapping[str, Any]) -> Iterator[str]:
    """In words of the role; the configuration itself would name its own keys."""
    if instance["mode"] == "live" and instance["live_confirmed"] is not True:
        yield (
            f"{_variable(instance, 'mode')} is 'live', which sends orders with real money, and "
            f"position_manager_live_confirmed is {instance['live_confirmed']!r}. "
            "Set it to true to confirm it."
        )
    elif instance["mode"] == "live" and not instance["expected_accounts"]:
        yield (
            f"{_variable(instance, 'expected_accounts')} is empty, and mode live needs to know its accounts. "
            "Name them there or in ib_gateway_expected_accounts."
        )
    elif instance["mode"] != "live" and instance["live_confirmed"]:
        yield (
            f"{_variable(instance, 'live_confirmed')} is true, and the mode is {instance['mode']!r}. "
            "It goes with mode live only; remove it or set the mode."
        )


def address_fault(url: str) -> str | None:
    """Why the host could not use an address, found by the code that uses it there; None if it could."""
    if str(SOURCES) not in sys.path:
        sys.path.insert(0, str(SOURCES))
    from notifications.delivery import usable_targets

    _, faults = usable_targets([url])
    return faults[0].partition(" for notifications ")[2] if faults else None


def _urls(instance: Mapping[str, Any]) -> Iterator[str]:
    for setting, form, example in (
        ("discord_url", DISCORD_URL, "https://discord.com/api/webhooks/ID/TOKEN or discord://ID/TOKEN"),
        ("heartbeat_url", HEARTBEAT_URL, "https://hc-ping.com/UUID"),
    ):
        value = instance[setting]
        if value and not (isinstance(value, str) and form.fullmatch(value)):
            yield (
                f"{_variable(instance, setting)} is no address (it is secret, and not shown). "
                f"Write for example {example}, without spaces or a line break."
            )
        elif value and setting == "discord_url" and (fault := address_fault(value)):
            yield f"{_variable(instance, setting)} (it is secret, and not shown) {fault}"


def _owned_keys(instance: Mapping[str, Any]) -> Iterator[str]:
    for path, setting in OWNED_KEYS.items():
        section: Any = instance["config"]
        for part in path[:-1]:
            section = section.get(part) if isinstance(section, Mapping) else None
        if isinstance(section, Mapping) and path[-1] in section:
            yield (
                f"{_variable(instance, 'config')} sets {'.'.join(path)}. "
                f"Set position_manager_{setting} instead: one value, in one place."
            )


def _port(instance: Mapping[str, Any]) -> Iterator[str]:
    port = instance["metrics_port"]
    if isinstance(port, bool) or not isinstance(port, int) or not (port == 0 or 1024 <= port <= 65535):
        yield f"{_variable(instance, 'metrics_port')} is {port!r}. Use a port from 1024 to 65535, or 0 for none."


def as_yaml(document: Mapping[str, Any]) -> str:
    """The configuration as it is written to the host."""
    return str(yaml.dump(document, Dumper=AnsibleDumper, default_flow_style=False, sort_keys=False, allow_unicode=True))


def _yaml_types(value: Any, path: str = "config") -> Iterator[str]:
    """What the YAML of inventories, 1.1, has changed in the rules before anybody could see it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, bool | int | float):
                yield f'{path} has the key {_as_yaml_reads(key)}. Write it in quotes, for example "{_likely(key)}".'
            elif key in TEXT_KEYS and isinstance(inner, bool | int | float):
                example = f'{key}: "{_likely(inner)}"'
                yield f"{path}.{key} is {_as_yaml_reads(inner)}. Write it in quotes, for example {example}."
            elif key in CLOCK_KEYS and isinstance(inner, int) and not isinstance(inner, bool):
                time = f"{inner // 60:02}:{inner % 60:02}" if inner < 24 * 60 else "15:45"
                yield f'{path}.{key} is {_as_yaml_reads(inner)}. Write the time in quotes, for example {key}: "{time}".'
            else:
                yield from _yaml_types(inner, f"{path}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from _yaml_types(inner, f"{path}[{index}]")


def _as_yaml_reads(value: bool | int | float) -> str:
    if isinstance(value, bool):
        return f"{str(value).lower()}: YAML reads {'on, yes and true' if value else 'off, no and false'} as booleans"
    return f"the number {value}: YAML reads 15:45 as 945 and 0700 as 448"


def _likely(value: bool | int | float) -> str:
    return ("ON" if value else "OFF") if isinstance(value, bool) else str(value)


def _changed_by_yaml(instance: Mapping[str, Any]) -> Iterator[str]:
    for problem in _yaml_types(instance["config"]):
        yield f"{_variable(instance, 'config')}: {problem}"


def _rules(instance: Mapping[str, Any]) -> Iterator[str]:
    """Return the result of the position manager's own check."""
    if str(SOURCES) not in sys.path:
        sys.path.insert(0, str(SOURCES))
    from position_manager.config.errors import ConfigError
    from position_manager.config.loading import load
    from position_manager.rules.rule_set import RULE_NAMES

    # A file of the owner's only, and gone at once: it holds account numbers.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".yml") as file:
        file.write(as_yaml(instance["document"]))
        file.flush()
        try:
            load(Path(file.name))
        except ConfigError as error:
            for fault in error.faults:
                # A bare off is false in the YAML of inventories.
                off = fault.key.rpartition(".")[2] in RULE_NAMES and fault.text.startswith("must be keys with values")
                hint = ' To end an inherited rule write "off", in quotes.' if off else ""
                yield f"{_variable(instance, 'config')}: {fault.key} {fault.text}.{hint}"


def _clashes(instances: Sequence[Mapping[str, Any]], gateways: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What only one of several may have: a port of the host, a client id at a gateway."""
    ports = {api["port"]: f"the API of {gateway['name']}" for gateway in gateways.values() for api in gateway["apis"]}
    ports |= {gateway["vnc_port"]: f"the screen of {gateway['name']}" for gateway in gateways.values()}
    ports |= {gateway["metrics_port"]: f"the metrics of {gateway['name']}" for gateway in gateways.values()}
    clients = {
        (api["port"], gateway["client_id"]): f"the verification of {gateway['name']}"
        for gateway in gateways.values()
        for api in gateway["apis"]
    } | {
        (api["port"], gateway["watch_client_id"]): f"the supervisor of {gateway['name']}"
        for gateway in gateways.values()
        for api in gateway["apis"]
    }
    for instance in instances:
        port = instance["metrics_port"]
        if port and port in ports:
            yield (
                f"{_variable(instance, 'metrics_port')} is {port}, which {ports[port]} uses too. "
                "Give each its own port."
            )
        ports.setdefault(port, f"instance {instance['name']}")
        if instance["api"] is None:
            continue
        section = instance["document"].get("gateway")
        client = section.get("client_id", CLIENT_ID) if isinstance(section, Mapping) else CLIENT_ID
        key = (instance["api"]["port"], client)
        if key in clients:
            yield (
                f"{_variable(instance, 'config')} has gateway.client_id {client}, which {clients[key]} uses too "
                f"at port {key[0]}. Give each its own client id."
            )
        clients.setdefault(key, f"instance {instance['name']}")


def _removed(instances: Sequence[Mapping[str, Any]], removed: Sequence[str]) -> Iterator[str]:
    names = {instance["name"] for instance in instances}
    for name in removed:
        if name in names:
            yield (
                f"position_manager_removed_instances names {name}, as position_manager_instances does. "
                "Leave it in one of them."
            )
        elif not NAME.fullmatch(str(name)):
            yield f"position_manager_removed_instances has {name!r}, which can be no instance's name."


def problems(
    instances: Sequence[Mapping[str, Any]], gateways: Sequence[Mapping[str, Any]] = (), removed: Sequence[str] = ()
) -> list[str]:
    """Return all problems of the resolved settings; needs no host. Empty when a deploy may start."""
    by_name = {gateway["name"]: gateway for gateway in gateways}
    found: list[str] = []
    for instance in instances:
        if not isinstance(instance["config"], Mapping):
            found.append(f"{_variable(instance, 'config')} is no mapping. Write keys with values, as in example.yml.")
            continue
        own = [
            *_name(instance),
            *_mode(instance, by_name),
            *_live(instance),
            *_urls(instance),
            *_owned_keys(instance),
            *_port(instance),
            *_changed_by_yaml(instance),
        ]
        # Correcting these changes the configuration, so its own check follows after them.
        found += own or _rules(instance)
    found.extend(_clashes(instances, by_name))
    found.extend(_removed(instances, removed))
    return found


class FilterModule:
    """Preflight filters of the position_manager role."""

    def filters(self) -> dict[str, Any]:
        return {"position_manager_problems": problems, "position_manager_yaml": as_yaml}
