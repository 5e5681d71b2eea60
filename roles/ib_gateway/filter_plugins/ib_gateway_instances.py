"""Resolve the instances of the ib_gateway role: every setting of every instance, and what follows from it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.loader import filter_loader

CONTROLLERS = Path(__file__).parents[1] / "files" / "controllers"
AUTO = "auto"
METRICS_ABOVE_API = 5400
PREVIEW = "ibc"  # what a check mode shows where the image is not on the host yet, and so no controller is detected
NATIVE_PORTS = {"live": 4001, "paper": 4002}
RELAY_PORTS = {"live": 4003, "paper": 4004}
SECRETS = ("userid", "password", "userid_paper", "password_paper", "vnc_password", "notify_urls", "totp_secret")
AUTHENTICATOR = "Mobile Authenticator app"  # how IBKR's list of second factors names it, by public reports


def modes_of(trading_mode: str) -> tuple[str, ...]:
    """The API modes that a TRADING_MODE opens, live before paper as the image starts them."""
    return {"live": ("live",), "paper": ("paper",), "both": ("live", "paper")}.get(trading_mode, ())


def controllers() -> dict[str, dict[str, Any]]:
    """The login controllers that the role knows, by the name of their file; ibc.yml documents the fields."""
    return {file.stem: _read(file) for file in sorted(CONTROLLERS.glob("*.yml"))}


@functools.cache
def _read(file: Path) -> dict[str, Any]:
    # Each task is a process of its own, so this runs often; the loader in C takes a tenth of the time.
    data: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return data


def controller_of(instance: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the instance's login controller."""
    data: dict[str, Any] = instance["controller"] or controllers()[PREVIEW]
    return data


def detection(instances: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of the module gateway_controller: images with the controllers that the settings name, and how
    each controller shows."""
    pairs = dict.fromkeys((str(instance["image"]), instance["login_controller"]) for instance in instances)
    return {
        "images": [{"name": image, "controller": controller} for image, controller in pairs],
        "controllers": {name: data["detect"] for name, data in controllers().items()},
    }


def password_content(password: str, controller: Mapping[str, Any]) -> str:
    """A password as its file must hold it: IBC copies it unescaped into a Java properties file."""
    return password.replace("\\", "\\\\") if controller["passwords"] == "properties" else password


def yes_no(value: object) -> str:
    return "yes" if value else "no"


def environment(instance: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables that are no secret (the user name is one, and is not here)."""
    controller = controller_of(instance)
    settings = {name: yes_no(value) if isinstance(value, bool) else value for name, value in instance.items()}
    settings["twofa_wait"] = instance["twofa_seconds"] + instance["twofa_exit_interval"]
    if instance["totp"] and not instance["twofa_device"]:
        settings["twofa_device"] = AUTHENTICATOR
    templates = dict(controller["variables"])
    if instance["trading_mode"] == "both":
        templates |= controller["both"]
    if instance["read_only_root"]:
        templates |= controller["read_only_root"]
    for variable, default in controller["unless_default"].items():
        if instance[default["setting"]] == default["value"]:
            del templates[variable]
    variables = {name: template.format_map(settings) for name, template in templates.items()}
    # Set to nothing is not unset, so only a person may ask for it.
    own = {name: value for name, value in variables.items() if value}
    return own | {name: str(value) for name, value in instance["extra_environment"].items()}


def tmpfs(instance: Mapping[str, Any]) -> list[str]:
    """Directories in memory, as docker create takes them."""
    directories = controller_of(instance)["tmpfs"]
    return [*(directories["read_only_root"] if instance["read_only_root"] else ()), *directories["always"]]


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


def metrics_port(instance: Mapping[str, Any]) -> Any:
    """The port of the instance's metrics, 0 for none; what is no number remains for the preflight to report."""
    value = instance["metrics_port"]
    if value == AUTO:
        ports = [api["port"] for api in apis(instance)]
        # The preflight reports a wrong API port, and nothing that follows from it.
        return min(ports, default=0) + METRICS_ABOVE_API if all(isinstance(port, int) for port in ports) else 0
    return int(value) if isinstance(value, str) and value.isdecimal() else value


LISTENED = "/tmp/.ib-gateway-listened"  # noqa: S108 - in the container, where nobody else has a shell
"""Exists in the container once a check that waits has seen the gateway listen."""


def health_command(instance: Mapping[str, Any], waits: bool = False) -> str:
    """A passive check for a LISTEN on each native port: a connect would open and drop an API socket each time.

    With `waits`, for an engine without a start interval: a check waits for the port, at most nearly the interval, and
    succeeds as soon as it opens. A check after one that succeeded waits first. With a pause of one second between two
    checks, each takes as long as the interval, as without `waits`.
    """
    probes = [
        f'grep -qE "^ *[0-9]+: [0-9A-F]+:{api["native_port"]:04X} [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6'
        for api in apis(instance)
    ]
    listens = " && ".join(probes)
    if not waits:
        return listens
    seconds = max(0, int(instance["health_interval"]) - 1)
    return (
        f"listens() {{ {listens}; }}; "
        f"if test -e {LISTENED}; then sleep {seconds}; listens && exit 0; rm -f {LISTENED}; exit 1; fi; "
        f"left={5 * seconds}; until listens; do test $left -gt 0 || exit 1; left=$((left - 1)); sleep 0.2; done; "
        f"touch {LISTENED} || true"
    )


def resolve(
    instances: object,
    shared: Mapping[str, Any],
    secrets: bool = False,
    detected: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Instances as a list of flat mappings: shared settings, overridden, with what is derived from them.

    `images` replaces the images of the instances that it names, as a rollback does.
    `detected` maps images to their login controllers; login_controller stays "auto" where it is not detected yet.
    Without `secrets` the secret settings are left out, so that a loop over the result shows none of them.
    Raises AnsibleFilterError for a map of the wrong shape or an unknown setting: both are typing errors
    that would otherwise be ignored in silence.
    """
    # Here, since the loader would otherwise load this very file again.
    overridden = filter_loader.get("overridden_instances").j2_function
    resolved: list[dict[str, Any]] = overridden(instances, shared, "ib_gateway_instances", "ib-gateway")
    for instance in resolved:
        name = instance["name"]
        instance["image"] = (images or {}).get(str(name)) or instance["image"]
        if instance["login_controller"] == AUTO:
            instance["login_controller"] = (detected or {}).get(str(instance["image"]), AUTO)
        instance["signatures"] = PREVIEW if instance["login_controller"] == AUTO else instance["login_controller"]
        instance["known_controllers"] = controllers()
        # None while it is not detected, and for an unknown one, which the preflight reports.
        instance["controller"] = controllers().get(instance["login_controller"])
        instance["apis"] = apis(instance)
        instance["metrics_port"] = metrics_port(instance)
        instance["totp"] = bool(instance["totp_secret"])
        instance["notifies"] = bool(instance["notify_urls"])
        instance["config_dir"] = f"/etc/ib-gateway/{name}"
        instance["secrets_dir"] = f"/etc/ib-gateway/{name}/secrets"
        instance["data_dir"] = f"/var/lib/ib-gateway/{name}"
        instance["state_dir"] = f"/var/lib/ib-gateway/{name}/state"
        instance["settings_dir"] = f"/var/lib/ib-gateway/{name}/settings"
        if not secrets:
            for secret in SECRETS:
                del instance[secret]
    return resolved


def secret_files(instances: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The secret files of all instances, as host_resources takes them."""
    files: list[dict[str, Any]] = []
    for instance in instances:
        controller = controller_of(instance)
        users = [f"{controller['userid']}={instance['userid']}"]
        container_secrets = {
            "tws_password": password_content(instance["password"], controller),
            "vnc_password": instance["vnc_password"],
        }
        if instance["trading_mode"] == "both":
            users.append(f"{controller['userid_paper']}={instance['userid_paper']}")
            container_secrets["tws_password_paper"] = password_content(instance["password_paper"], controller)
        # Some files are there without any content, too: so a secret that was taken away does not stay on the host.
        root_secrets = {
            "login.env": users,
            "notify_urls": instance["notify_urls"],
            "totp_secret": [instance["totp_secret"]] if instance["totp"] else [],
        }
        files.extend(
            {
                "path": f"{instance['secrets_dir']}/{name}",
                "content": "".join(f"{line}\n" for line in lines),
                "owner": "0",
                "group": "0",
                "mode": "0600",
                "secret": True,
            }
            for name, lines in root_secrets.items()
        )
        files.extend(
            {
                "path": f"{instance['secrets_dir']}/{name}",
                "content": content,
                "owner": "1000",
                "group": "1000",
                "mode": "0400",
                "secret": True,
            }
            for name, content in container_secrets.items()
        )
    return files


def config_files(instances: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The templated files of all instances, as host_resources takes them."""
    files = [
        {"path": path, "template": template, "mode": mode, "vars": {"item": {"instance": instance}}}
        for instance in instances
        for template, path, mode in (
            ("container.env.j2", f"{instance['config_dir']}/container.env", "0600"),
            ("instance.json.j2", f"{instance['config_dir']}/instance.json", "0600"),
            ("ib-gateway.service.j2", f"/etc/systemd/system/{instance['unit']}", "0644"),
        )
    ]
    return [{**file, "owner": "0", "group": "0"} for file in files]


def services(instances: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The units of all instances, as host_resources takes them."""
    return [
        {
            "name": instance["unit"],
            "enabled": True,
            "state": "started",
            # The next tasks follow the start and report why it fails.
            "block": False,
            "inputs": [f"/etc/systemd/system/{instance['unit']}", instance["config_dir"]],
            # What a restart costs is reported before it; also a first start may need an approval.
            "outdated": "leave",
        }
        for instance in instances
    ]


def directories(instances: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Directories to create, parents first, as host_resources takes them."""
    root_only = {"owner": "0", "group": "0", "mode": "0700"}
    found = [
        {"path": "/etc/ib-gateway", **root_only},
        {"path": "/var/lib/ib-gateway", "owner": "0", "group": "0", "mode": "0711"},
    ]
    for instance in instances:
        found += [
            {"path": instance["config_dir"], **root_only},
            {"path": instance["secrets_dir"], **root_only},
            {"path": instance["data_dir"], "owner": "0", "group": "0", "mode": "0711"},
            {"path": instance["state_dir"], **root_only},
            {"path": instance["settings_dir"], "owner": "1000", "group": "1000", "mode": "0700"},
        ]
    return found


def status_commands(instances: list[Mapping[str, Any]], release: str, output: str, check: bool) -> list[dict[str, Any]]:
    """The programs that show the status of the instances, as host_commands takes them."""
    form = ["--json"] if output == "json" else []
    return [
        {
            "name": f"gateway {instance['name']}",
            "argv": [f"{release}/bin/gateway-watch", "status", "--tiers", "--instance", instance["name"], *form],
            # 127: not installed, as in check mode before the first deploy. 2: neither is the instance.
            "accepted": [0, 1, 2, 127] if check else [0, 1],
        }
        for instance in instances
    ]


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
        # Hours without requests are hours without reminders of them.
        "reminder_quiet_hours": instance["reminder_quiet_hours"] or instance["twofa_quiet_hours"],
        "yield_minutes": instance["yield_minutes"],
        "image": instance["image"],
        "desupported_image_allowed": yes_no(instance["desupported_image_allowed"]) == "yes",
        "login_controller": instance["signatures"],
        "totp": instance["totp"],
        "soft_restart": yes_no(instance["soft_restart"]) == "yes",
        "metrics_port": instance["metrics_port"],
    }


class FilterModule:
    """Filters of the ib_gateway role."""

    def filters(self) -> dict[str, Any]:
        return {
            "ib_gateway_resolve": resolve,
            "ib_gateway_detection": detection,
            "ib_gateway_environment": environment,
            "ib_gateway_tmpfs": tmpfs,
            "ib_gateway_health_command": health_command,
            "ib_gateway_secret_files": secret_files,
            "ib_gateway_config_files": config_files,
            "ib_gateway_directories": directories,
            "ib_gateway_services": services,
            "ib_gateway_status_commands": status_commands,
            "ib_gateway_instance_file": instance_file,
        }
