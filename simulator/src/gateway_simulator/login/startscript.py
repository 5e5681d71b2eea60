"""IBC's start script: what it logs before the first run and after each one, and whether it starts another."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath

from gateway_simulator.login.steps import RunEnd
from gateway_simulator.settings import GatewaySettings

IBC_VERSION = "3.24.1"
GATEWAY_VERSION = "10.50.1f"

EXIT_TWOFA_LOGIN_TIMED_OUT = 1111
EXIT_NO_LOGIN_DIALOG = 1112


def launch_lines(settings: GatewaySettings, autorestart_path: str | None, moment: datetime) -> list[str]:
    """Return what the script logs before the first run of the gateway.

    The version is empty in the image: nothing sets the variable that the script prints there.
    """
    return [
        "Parsing arguments",
        "",
        "=" * 80,
        "",
        f"Starting IBC version  on {moment:%Y-%m-%d} at {moment:%H:%M:%S}",
        "",
        "Arguments:",
        "",
        f"TWS version = {GATEWAY_VERSION}",
        "Program = Gateway",
        "Entry point = ibcalpha.ibc.IbcGateway",
        f"--tws-settings-path = {settings.settings_path or ''}",
        f"--mode = {settings.mode}",
        "--user =",
        "--pw =",
        "",
        *autorestart_lines(autorestart_path),
        "Determining the location of java executable",
        "",
    ]


def java_missing_lines() -> list[str]:
    """Return what the script logs, on its standard error, about an image without Java."""
    return [
        "",
        "=========================== An error has occurred =============================",
        "",
        "",
        "",
        r"Error: Can\'t find suitable Java installation",
    ]


def autorestart_lines(path: str | None) -> list[str]:
    """Return what the script logs when it has searched for the autorestart file."""
    if path is None:
        return ["Finding autorestart file", "autorestart file not found: full authentication will be required", ""]
    return [
        "Finding autorestart file",
        f"autorestart file found at {path}: authentication will not be required",
        f"AUTORESTART_OPTION is -Drestart={PurePath(path).parent.name}",
    ]


def after_run(end: RunEnd, settings: GatewaySettings, autorestart_path: str | None) -> tuple[list[str], bool]:
    """Return what the script logs after a run, and whether it starts the gateway again."""
    lines = [f"IBC returned exit status {end.code % 256}"]
    if end.code == EXIT_NO_LOGIN_DIALOG:
        again = True
    elif end.cold_restart:
        lines.append("IBC will cold-restart shortly")
        again = True
    else:
        lines += autorestart_lines(autorestart_path)
        if autorestart_path is not None and end.paused:
            return [*lines, "IBC is paused", "Gateway finished", ""], False
        again = autorestart_path is not None or (end.code == EXIT_TWOFA_LOGIN_TIMED_OUT and settings.twofa_restart)
    return [*lines, *(["IBC will restart shortly", "", "sleep 2"] if again else ["Gateway finished", ""])], again
