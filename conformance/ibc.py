"""The controller IBC, from the jar and the start script in the wheel of ibc2."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance import gateway
from conformance.controller import TIME, Launch, Line
from conformance.fetch import wheel
from conformance.flow import Flow, Settings

__all__ = ["Ibc"]

_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}")
_MASKS = (
    (re.compile(r"(?<= on )\d{4}-\d\d-\d\d at \d\d:\d\d:\d\d$"), TIME),
    (re.compile(r"(?<=Gateway will be cold restarted at )\d{4}/\d\d/\d\d"), "<date>"),
    (
        re.compile(
            r"(?<=[Aa]uto-restart time to )\d\d:\d\d [AP]M|(?<=Auto restart time set to )(?!02:00 AM)\d\d:\d\d [AP]M"
        ),
        "<next minute>",
    ),
    (re.compile(r"^Operating system: .*"), "Operating system: <system>"),
    (re.compile(r"^( *java\.runtime\.version = ).*"), r"\1<version>"),
)
# Bash writes the last one if SIGTERM comes at the moment at which the gateway's process ends.
_LEFT_OUT = (
    "Classpath=",
    "Java VM Options=",
    '"<java>/bin/java" ',
    "System Properties",
    "<ibc>/scripts/ibcstart.sh: line ",
)
_RULE = "-" * 60
_BLOCKS = {"IBC Settings:": "End IBC Settings", _RULE: _RULE}
"""First and last line of the blocks that are left out: the settings, and the properties of the JVM."""


class Ibc:
    """IBC 3.25.0, started by its own script as the image does it."""

    name = "ibc"
    version = "IBC 3.25.0 (ibc2 0.1.0)"

    def prepare(self) -> None:
        """Fetch the wheel and compile the stand-in."""
        self._program()
        gateway.jar()

    @staticmethod
    def _program() -> Path:
        return wheel("ibc2") / "ibc2" / "_ibc"

    def launch(self, flow: Flow, folder: Path, display: str) -> Launch:
        """Install the stand-in, write config.ini and the script of windows."""
        program = self._program()
        installation = gateway.install(folder / "Jts", flow.image)
        settings, script = folder / "settings", folder / "script"
        settings.mkdir()
        gateway.write_script(flow, script)
        gateway.leave_behind(flow.left_behind, settings)
        config = folder / "config.ini"
        config.touch(mode=0o600)
        port = _free_port() if flow.command is not None else None
        config.write_text(_config(flow.settings, port), encoding="utf-8")
        command = (
            str(program / "scripts" / "ibcstart.sh"),
            gateway.VERSION,
            "-g",
            f"--tws-path={installation.root}",
            f"--ibc-path={program}",
            f"--ibc-ini={config}",
            f"--on2fatimeout={flow.settings.twofa_timeout_action}",
            f"--tws-settings-path={settings}",
        )
        environment = gateway.environment(script, display, flow.image, folder)
        masks = (
            (str(settings), "<settings>"),
            (str(folder), "<home>"),
            (str(program), "<ibc>"),
            (str(installation.java_home), "<java>"),
            *(((f"port {port}", "port 7462"), (f"port: {port}", "port: 7462")) if port else ()),
        )
        return Launch(command, environment, folder, masks, port)

    def mask(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Leave out the JVM's properties, the settings and the long commands; mask the times and the machine."""
        block_end = None
        for line in lines:
            if block_end is not None:
                if line.text == block_end:
                    block_end = None
                continue
            if line.text in _BLOCKS:
                block_end = _BLOCKS[line.text]
                continue
            text = _STAMP.sub(TIME, line.text)
            for pattern, replacement in _MASKS:
                text = pattern.sub(replacement, text)
            if not text.startswith(_LEFT_OUT):
                yield Line(line.at, text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _config(settings: Settings, command_port: int | None) -> str:
    """config.ini with the settings that the image's template sets."""
    local = "127.0.0.1" if command_port else ""
    values = {
        "FIX": "no",
        "IbLoginId": settings.user,
        "IbPassword": settings.password,
        "FIXLoginId": "",
        "FIXPassword": "",
        "SecondFactorDevice": settings.twofa_device,
        "ReloginAfterSecondFactorAuthenticationTimeout": settings.relogin_after_twofa_timeout,
        "SecondFactorAuthenticationExitInterval": settings.twofa_exit_interval,
        "SecondFactorAuthenticationTimeout": settings.twofa_seconds,
        "ExitAfterSecondFactorAuthenticationTimeout": "no",
        "TradingMode": settings.trading_mode,
        "AcceptNonBrokerageAccountWarning": "yes",
        "LoginDialogDisplayTimeout": settings.login_window_seconds,
        "IbDir": "",
        "StoreSettingsOnServer": "",
        "MinimizeMainWindow": "no",
        "ExistingSessionDetectedAction": settings.existing_session_detected_action,
        "OverrideTwsApiPort": "",
        "OverrideTwsMasterClientID": "",
        "ReadOnlyLogin": "no",
        "ReadOnlyApi": settings.read_only_api,
        "BypassOrderPrecautions": settings.bypass_warning,
        "AcceptBidAskLastSizeDisplayUpdateNotification": "accept",
        "SendMarketDataInLotsForUSstocks": "",
        "TrustedTwsApiClientIPs": "",
        "ResetOrderIdsAtStart": "",
        "ConfirmOrderIdReset": "",
        "AutoLogoffTime": "",
        "AutoRestartTime": settings.auto_restart_time,
        "ColdRestartTime": settings.cold_restart_time,
        "ClosedownAt": "",
        "AcceptIncomingConnectionAction": "accept",
        "AllowBlindTrading": "",
        "SaveTwsSettingsAt": "",
        "ConfirmCryptoCurrencyOrders": "transmit",
        "DismissPasswordExpiryWarning": settings.dismiss_password_notice,
        "DismissNSEComplianceNotice": "yes",
        "CommandServerPort": command_port or 0,
        "ControlFrom": local,
        "BindAddress": local,
        "CommandPrompt": "",
        "SuppressInfoMessages": "yes",
        "LogStructureScope": "known",
        "LogStructureWhen": "never",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())
