"""Resolve the instances of the position_manager role: every setting of every instance, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible.plugins.loader import filter_loader

SECRETS = ("discord_url", "heartbeat_url")
RESTART_KEYS = ("restart_time", "restart_timezone", "cold_restart_time")
# The kind of API that a mode needs; shadow and paper, live and shadow go together.
APIS = {"paper": ("paper",), "live": ("live",), "shadow": ("live", "paper")}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and where they have the same key the one above; mappings in it likewise."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            both[key] = merged(below[key], above[key])
    return both


def api_of(instance: Mapping[str, Any], gateways: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The API of its gateway that it connects to; None if there is none for its mode."""
    for gateway in gateways:
        if gateway["name"] == instance["gateway"]:
            for mode in APIS.get(instance["mode"], ()):
                for api in gateway["apis"]:
                    if api["mode"] == mode:
                        return {
                            **api,
                            "gateway_client_id": gateway["client_id"],
                            "accounts": _fitting(gateway, mode),
                            **_restart(gateway),
                        }
    return None


def _fitting(gateway: Mapping[str, Any], mode: str) -> list[str]:
    """The gateway's expected accounts of a kind; those of paper trading start with D."""
    return [account for account in gateway["expected_accounts"] if str(account).startswith("D") == (mode == "paper")]


def _restart(gateway: Mapping[str, Any]) -> dict[str, str]:
    """When the gateway restarts, daily and on Sundays, as the manager's configuration has it; the gateway's own form
    of the daily restart has 12 hours. What is malformed is left out: the preflight of the gateway's role reports it."""
    found = {}
    for key, setting, form in (
        ("restart_time", "auto_restart_time", "%I:%M %p"),
        ("cold_restart_time", "cold_restart_time", "%H:%M"),
    ):
        try:
            found[key] = f"{datetime.strptime(str(gateway[setting]), form):%H:%M}"
        except ValueError:
            continue
    return {**found, "restart_timezone": gateway["timezone"]} if found else {}


def derived(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the configuration that the role's own settings define."""
    document: dict[str, Any] = {"mode": instance["mode"]}
    if instance["live_confirmed"]:
        document["live_confirmed"] = True
    if instance["expected_accounts"]:
        document["expected_accounts"] = list(instance["expected_accounts"])
    if instance["api"] is not None:
        document["gateway"] = {
            "host": instance["api"]["host"],
            "port": instance["api"]["port"],
            # Written by the service that watches the gateway.
            "login_file": f"/run/ib-gateway/{instance['gateway']}/login.json",
            **{key: instance["api"][key] for key in RESTART_KEYS if key in instance["api"]},
        }
    if instance["discord_url"]:
        document["notifications"] = {"discord_url_file": f"{instance['credentials_dir']}/discord_url"}
    if instance["heartbeat_url"]:
        document["heartbeat"] = {"url_file": f"{instance['credentials_dir']}/heartbeat_url"}
    if instance["metrics_port"]:
        document["metrics"] = {"port": instance["metrics_port"]}
    return document


def resolve(
    instances: object, shared: Mapping[str, Any], gateways: Sequence[Mapping[str, Any]] = (), secrets: bool = False
) -> list[dict[str, Any]]:
    """Instances as a list of flat mappings: shared settings, overridden, with what is derived from them.

    Without `secrets` the secret settings are left out, so that a loop over the result shows none of them.
    Raises AnsibleFilterError for a map of the wrong shape or an unknown setting: both are typing errors
    that would otherwise be ignored in silence.
    """
    # Here, since the loader would otherwise load this very file again.
    overridden = filter_loader.get("overridden_instances").j2_function
    resolved: list[dict[str, Any]] = overridden(
        instances, shared, "position_manager_instances", "position-manager", required=False
    )
    for instance in resolved:
        name = instance["name"]
        instance["api"] = api_of(instance, gateways)
        if not instance["expected_accounts"] and instance["api"] is not None:
            instance["expected_accounts"] = instance["api"]["accounts"]
        instance["notifies"] = bool(instance["discord_url"] or instance["heartbeat_url"])
        instance["config_file"] = f"/etc/position-manager/{name}.yml"
        instance["secrets_dir"] = f"/etc/position-manager/secrets/{name}"
        instance["state_dir"] = f"/var/lib/position-manager/{name}"
        instance["runtime_dir"] = f"/run/position-manager/{name}"
        instance["socket"] = f"{instance['runtime_dir']}/control.sock"
        instance["credentials_dir"] = f"/run/credentials/{instance['unit']}"
        instance["document"] = (
            merged(derived(instance), instance["config"]) if isinstance(instance["config"], Mapping) else {}
        )
        if not secrets:
            for secret in SECRETS:
                del instance[secret]
    return resolved


ROOT_ONLY = {"owner": "root", "group": "root", "mode": "0600"}


def secret_files(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The secret files of all instances, as host_resources takes them. They are there without a secret too, as the unit
    names them, and so that one that was taken away does not stay on the host."""
    return [
        {
            "path": f"{instance['secrets_dir']}/{secret}",
            "content": f"{instance[secret]}\n" if instance[secret] else "",
            "secret": True,
            **ROOT_ONLY,
        }
        for instance in instances
        for secret in SECRETS
    ]


def config_files(instances: Iterable[Mapping[str, Any]], user: str, release: str) -> list[dict[str, Any]]:
    """The configuration, which the release validates, and the unit of each instance, as host_resources takes them."""
    files: list[dict[str, Any]] = []
    for instance in instances:
        item = {"vars": {"item": instance}}
        files += [
            {
                "path": instance["config_file"],
                "template": "position-manager.yml.j2",
                "owner": "root",
                "group": user,
                "mode": "0640",
                "validate": f"{release}/bin/position-manager check-config %s",
                **item,
            },
            {
                "path": f"/etc/systemd/system/{instance['unit']}",
                "template": "position-manager.service.j2",
                **ROOT_ONLY,
                "mode": "0644",
                **item,
            },
        ]
    return files


def directories(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Directories to create, parents first, as host_resources takes them. systemd creates those that the unit itself
    writes to."""
    root = {"owner": "root", "group": "root"}
    return [
        {"path": "/etc/position-manager", **root, "mode": "0755"},
        {"path": "/etc/position-manager/secrets", **root, "mode": "0700"},
        *({"path": instance["secrets_dir"], **root, "mode": "0700"} for instance in instances),
    ]


def services(instances: Iterable[Mapping[str, Any]], release: str) -> list[dict[str, Any]]:
    """The units of all instances, as host_resources takes them."""
    return [
        {
            "name": instance["unit"],
            "enabled": True,
            "state": "started",
            # The next tasks follow the start and report why it fails.
            "block": False,
            "inputs": [f"/etc/systemd/system/{instance['unit']}", instance["secrets_dir"]],
            "program": release,
            "reload_inputs": [instance["config_file"]],
            "loaded": f"{instance['runtime_dir']}/loaded",
        }
        for instance in instances
    ]


def status_commands(instances: Iterable[Mapping[str, Any]], release: str, output: str) -> list[dict[str, Any]]:
    """The programs that show the status of the instances, as host_commands takes them."""
    deployed = 'systemctl cat "$0" > /dev/null 2>&1 || exit 3; exec "$@"'
    form = ["--json"] if output == "json" else []
    return [
        {
            "name": f"manager {instance['name']}",
            "argv": [
                *("sh", "-c", deployed, instance["unit"]),
                *(f"{release}/bin/position-manager", "status", "--instance", instance["name"], *form),
            ],
            # 1: not healthy, which is a valid status. 3: not deployed.
            "accepted": [0, 1, 3],
        }
        for instance in instances
    ]


class FilterModule:
    """Filters of the position_manager role."""

    def filters(self) -> dict[str, Any]:
        return {
            "position_manager_resolve": resolve,
            "position_manager_secret_files": secret_files,
            "position_manager_config_files": config_files,
            "position_manager_directories": directories,
            "position_manager_services": services,
            "position_manager_status_commands": status_commands,
        }
