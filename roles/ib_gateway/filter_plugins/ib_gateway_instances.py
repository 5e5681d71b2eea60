"""Resolve the instances of the ib_gateway role: every setting of every instance, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

NATIVE_PORTS = {"live": 4001, "paper": 4002}
RELAY_PORTS = {"live": 4003, "paper": 4004}
SECRETS = ("userid", "password", "userid_paper", "password_paper", "vnc_password", "notify_urls")
IMAGE_HEAP_MB = 768  # what the image uses when JAVA_HEAP_SIZE is not set


def modes_of(trading_mode: str) -> tuple[str, ...]:
    """The API modes that a TRADING_MODE opens, live before paper as the image starts them."""
    return {"live": ("live",), "paper": ("paper",), "both": ("live", "paper")}.get(trading_mode, ())


def escape_property(secret: str) -> str:
    """A secret as a Java properties file must hold it: the login controller copies it into one unescaped."""
    return secret.replace("\\", "\\\\")


def yes_no(value: object) -> str:
    return "yes" if value else "no"


def environment(instance: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables that are no secret (the user name is one, and is not here)."""
    variables = {
        "TRADING_MODE": instance["trading_mode"],
        "READ_ONLY_API": yes_no(instance["read_only_api"]),
        "TWS_PASSWORD_FILE": "/run/secrets/tws_password",
        "VNC_SERVER_PASSWORD_FILE": "/run/secrets/vnc_password",
        "TWOFA_TIMEOUT_ACTION": instance["twofa_timeout_action"],
        "TWOFA_EXIT_INTERVAL": str(instance["twofa_exit_interval"]),
        "RELOGIN_AFTER_TWOFA_TIMEOUT": yes_no(instance["relogin_after_twofa_timeout"]),
        "EXISTING_SESSION_DETECTED_ACTION": instance["existing_session_action"],
        "AUTO_RESTART_TIME": instance["auto_restart_time"],
        "TWS_COLD_RESTART": instance["cold_restart_time"],
        "TIME_ZONE": instance["timezone"],
        "TZ": instance["timezone"],
        "TWS_SETTINGS_PATH": "/home/ibgateway/settings/tws",
    }
    if instance["trading_mode"] == "both":
        variables["TWS_PASSWORD_PAPER_FILE"] = "/run/secrets/tws_password_paper"  # noqa: S105 - a path
    if instance["twofa_device"]:
        variables["TWOFA_DEVICE"] = instance["twofa_device"]
    if instance["java_heap_mb"] != IMAGE_HEAP_MB:
        variables["JAVA_HEAP_SIZE"] = str(instance["java_heap_mb"])
    if instance["read_only_root"]:
        # The login controller writes its configuration, password included: into memory instead of the layer.
        variables["IBC_INI"] = "/run/ibc/config.ini"
    variables.update({key: str(value) for key, value in instance["extra_environment"].items()})
    return variables


def apis(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "mode": mode,
            "host": "127.0.0.1",
            "port": instance[f"api_port_{mode}"],
            "native_port": NATIVE_PORTS[mode],
            "relay_port": RELAY_PORTS[mode],
        }
        for mode in modes_of(instance["trading_mode"])
    ]


def health_command(instance: Mapping[str, Any]) -> str:
    """A passive look for a LISTEN on each native port: a connect would open and drop an API socket each time."""
    probes = [
        f'grep -qE "^ *[0-9]+: [0-9A-F]+:{api["native_port"]:04X} [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6'
        for api in apis(instance)
    ]
    return " && ".join(probes)


def resolve(instances: object, shared: Mapping[str, Any], secrets: bool = False) -> list[dict[str, Any]]:
    """Instances as a list of flat mappings: shared settings, overridden, with what is derived from them.

    Without `secrets` the secret settings are left out, so that a loop over the result shows none of them.
    Raises AnsibleFilterError for a map of the wrong shape or an unknown setting: both are typing errors
    that would otherwise be ignored in silence.
    """
    if not isinstance(instances, Mapping) or not instances:
        raise AnsibleFilterError(
            "ib_gateway_instances must map instance names to their settings, for example {ib-gateway: {}}; "
            f"got {type(instances).__name__}"
        )
    resolved = []
    for name, overrides in instances.items():
        own = {} if overrides is None else overrides
        if not isinstance(own, Mapping):
            raise AnsibleFilterError(
                f"ib_gateway_instances.{name} must be a mapping of settings, got {type(own).__name__}"
            )
        unknown = sorted(set(own) - set(shared))
        if unknown:
            raise AnsibleFilterError(
                f"ib_gateway_instances.{name} has unknown settings: {', '.join(unknown)}; "
                f"allowed are: {', '.join(sorted(shared))}"
            )
        instance = {**shared, **own, "name": str(name), "unit": f"{name}.service"}
        instance["apis"] = apis(instance)
        instance["notifies"] = bool(instance["notify_urls"])
        instance["config_dir"] = f"/etc/ib-gateway/{name}"
        instance["secrets_dir"] = f"/etc/ib-gateway/{name}/secrets"
        instance["data_dir"] = f"/var/lib/ib-gateway/{name}"
        instance["state_dir"] = f"/var/lib/ib-gateway/{name}/state"
        instance["settings_dir"] = f"/var/lib/ib-gateway/{name}/settings"
        if not secrets:
            for secret in SECRETS:
                del instance[secret]
        resolved.append(instance)
    return resolved


def secret_files(instances: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The secret files of all instances: instance, path, content, owner (uid), mode."""
    files: list[dict[str, str]] = []
    for instance in instances:
        users = [f"TWS_USERID={instance['userid']}"]
        container_secrets = {
            "tws_password": escape_property(instance["password"]),
            "vnc_password": instance["vnc_password"],
        }
        if instance["trading_mode"] == "both":
            users.append(f"TWS_USERID_PAPER={instance['userid_paper']}")
            container_secrets["tws_password_paper"] = escape_property(instance["password_paper"])
        base = {"instance": instance["name"]}
        # The addresses' file is there without any, too: so one that was taken away does not stay on the host.
        root_secrets = {"login.env": users, "notify_urls": instance["notify_urls"]}
        files.extend(
            {
                **base,
                "path": f"{instance['secrets_dir']}/{name}",
                "content": "".join(f"{line}\n" for line in lines),
                "owner": "0",
                "mode": "0600",
            }
            for name, lines in root_secrets.items()
        )
        files.extend(
            {
                **base,
                "path": f"{instance['secrets_dir']}/{name}",
                "content": content,
                "owner": "1000",
                "mode": "0400",
            }
            for name, content in container_secrets.items()
        )
    return files


def config_files(instances: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The templated files of all instances: instance (whole), src, dest, mode."""
    files: list[dict[str, Any]] = []
    for instance in instances:
        files += [
            {
                "instance": instance,
                "src": "container.env.j2",
                "dest": f"{instance['config_dir']}/container.env",
                "mode": "0600",
            },
            {
                "instance": instance,
                "src": "instance.json.j2",
                "dest": f"{instance['config_dir']}/instance.json",
                "mode": "0600",
            },
            {
                "instance": instance,
                "src": "ib-gateway.service.j2",
                "dest": f"/etc/systemd/system/{instance['unit']}",
                "mode": "0644",
            },
        ]
    return files


def directories(instances: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Directories to make, parents first: path, owner (uid), mode."""
    root_only = {"owner": "0", "mode": "0700"}
    made = [
        {"path": "/etc/ib-gateway", **root_only},
        {"path": "/var/lib/ib-gateway", "owner": "0", "mode": "0711"},
    ]
    for instance in instances:
        made += [
            {"path": instance["config_dir"], **root_only},
            {"path": instance["secrets_dir"], **root_only},
            {"path": instance["data_dir"], "owner": "0", "mode": "0711"},
            {"path": instance["state_dir"], **root_only},
            {"path": instance["settings_dir"], "owner": "1000", "mode": "0700"},
        ]
    return made


def instance_file(instance: Mapping[str, Any]) -> dict[str, Any]:
    """What gateway-watch reads about an instance (its schema is gateway_watch.instance)."""
    return {
        "name": instance["name"],
        "container": instance["name"],
        "unit": instance["unit"],
        "trading_mode": instance["trading_mode"],
        "apis": [{key: api[key] for key in ("mode", "host", "port", "native_port")} for api in instance["apis"]],
        "vnc": {"host": "127.0.0.1", "port": instance["vnc_port"]},
        "secrets_dir": instance["secrets_dir"],
        "state_dir": instance["state_dir"],
        "start_timeout": instance["start_timeout"],
        "timezone": instance["timezone"],
        "auto_restart_time": instance["auto_restart_time"],
        "cold_restart_time": instance["cold_restart_time"],
        "twofa_timeout": instance["twofa_seconds"],
        "expected_accounts": instance["expected_accounts"],
        "client_id": instance["client_id"],
        "max_bad_logins": instance["max_bad_logins"],
        "unanswering_minutes": instance["unanswering_minutes"],
        "watch_client_id": instance["watch_client_id"],
        "read_only_api": yes_no(instance["read_only_api"]) == "yes",
        "link_lost_minutes": instance["link_lost_minutes"],
        "link_restart_minutes": instance["link_restart_minutes"],
        "twofa_pushes_per_hour": instance["twofa_pushes_per_hour"],
        "twofa_quiet_hours": instance["twofa_quiet_hours"],
        "yield_minutes": instance["yield_minutes"],
        "image": instance["image"],
        "login_controller": instance["login_controller"],
    }


class FilterModule:
    """Filters of the ib_gateway role."""

    def filters(self) -> dict[str, Any]:
        return {
            "ib_gateway_resolve": resolve,
            "ib_gateway_environment": environment,
            "ib_gateway_health_command": health_command,
            "ib_gateway_secret_files": secret_files,
            "ib_gateway_config_files": config_files,
            "ib_gateway_directories": directories,
            "ib_gateway_instance_file": instance_file,
        }
