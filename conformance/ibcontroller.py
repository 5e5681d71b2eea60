"""The controller py-ib-controller ("ibcontroller"), run by its own command as the image does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance import gateway, interpreter
from conformance.controller import TIME, Launch, Line
from conformance.flow import Flow, Image, Settings

__all__ = ["Ibcontroller", "IbcontrollerSettings"]

_MASKS = (
    (re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "), f"{TIME} "),
    (re.compile(r"\bpid=\d+"), "pid=<pid>"),
    # The order in which the JVM's options are listed is of no use, and they name the machine.
    (re.compile(r"(launch command for \S+: ).*"), r"\1<command>"),
)
# The agent in the gateway's process writes beside the controller, so where its lines come is chance.
_AGENT = re.compile(r"^[A-Z][a-z]{2} \d\d, \d{4} |^(?:INFO|WARNING|SEVERE): |^\tat |^java\.")
# What depends on the version of Python: tracebacks, boxes around them, asyncio's complaints at the end.
_PYTHON = re.compile(r"^[│╭╰]|^Traceback |^ +|^Exception ignored in: |^RuntimeError: Event loop is closed|^$")
_ENVIRONMENT = re.compile(r"^IBController > (?:env|config) ")


@dataclass(frozen=True)
class IbcontrollerSettings(Settings):
    """Settings with further variables; a variable without a value is left out."""

    extra: tuple[tuple[str, str | None], ...] = ()


class Ibcontroller:
    """py-ib-controller 0.1.4 from its wheel, with the Java agent in it."""

    name = "ibcontroller"
    version = "py-ib-controller 0.1.4"

    def __init__(self) -> None:
        self._python: interpreter.Python | None = None

    def prepare(self) -> None:
        """Fetch Python and the packages, and compile the stand-in."""
        interpreter.packages(self.python(), self.name)
        gateway.jar()

    def python(self) -> interpreter.Python:
        """The Python that runs it. Raises `UnavailableError`."""
        if self._python is None:
            self._python = interpreter.find()
        return self._python

    def launch(self, flow: Flow, folder: Path, display: str) -> Launch:
        """Install the stand-in and write the password, which the image gets as a file."""
        python = self.python()
        site = interpreter.packages(python, self.name)
        installation = gateway.install(folder / "Jts", flow.image)
        program = installation.root / "ibgateway" / gateway.VERSION
        (program / ".install4j" / "i4jparams.conf").write_text('<variable name="channel" value="stable"/>\n')
        # The gateway's own start script, which the controller moves aside.
        (program / "ibgateway").touch()
        settings, script, password = folder / "settings", folder / "script", folder / "password"
        settings.mkdir()
        gateway.write_script(flow, script)
        gateway.leave_behind(flow.left_behind, settings)
        password.touch(mode=0o600)
        password.write_text(flow.settings.password)
        environment = gateway.environment(script, display, Image.COMPLETE, folder) | {
            "PYTHONPATH": str(site),
            "PYTHONUNBUFFERED": "1",
            "IBC_APP_DIR": str(folder / "app"),
            "IBC_PROGRAM": "gateway",
            "IBC_TWS_PATH": str(installation.root),
            "IBC_TWS_SETTINGS_PATH": str(settings),
            "IBC_PASSWORD_FILE": str(password),
            **_variables(flow.settings),
        }
        if isinstance(flow.settings, IbcontrollerSettings):
            for name, value in flow.settings.extra:
                environment.pop(name, None)
                if value is not None:
                    environment[name] = value.format(folder=folder)
        masks = (
            (str(settings), "<settings>"),
            (str(folder), "<home>"),
            (str(site), "<ibcontroller>"),
            (str(installation.java_home), "<java>"),
        )
        return Launch((str(python.program), "-m", "ibcontroller.cli", "run"), environment, folder, masks)

    def mask(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Leave out the agent's lines, tracebacks and the list of the variables; mask the times and the machine."""
        for line in lines:
            if any(pattern.search(line.text) for pattern in (_AGENT, _PYTHON, _ENVIRONMENT)):
                continue
            text = line.text
            for pattern, replacement in _MASKS:
                text = pattern.sub(replacement, text)
            yield Line(line.at, text)


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as the image passes them on; without an empty one, which is another thing than none."""
    # The role gives the approval and the login after it one limit, which the controller counts from the button.
    limit = settings.twofa_seconds + settings.twofa_exit_interval
    values = {
        "IBC_USERID": settings.user,
        "IBC_TRADING_MODE": settings.trading_mode,
        "IBC_READ_ONLY_API": settings.read_only_api,
        "IBC_MFA_TIMEOUT_ACTION": settings.twofa_timeout_action,
        "IBC_MFA_TIMEOUT": str(limit),
        "IBC_MFA_EXIT_INTERVAL": str(settings.twofa_exit_interval),
        "IBC_RELOGIN_AFTER_MFA_TIMEOUT": settings.relogin_after_twofa_timeout,
        "IBC_EXISTING_SESSION_ACTION": settings.existing_session_detected_action,
        "IBC_AUTO_RESTART_TIME": settings.auto_restart_time,
        "IBC_COLD_RESTART_TIME": settings.cold_restart_time,
        "IBC_LOGIN_DIALOG_DISPLAY_TIMEOUT": str(settings.login_window_seconds),
    }
    return {name: value for name, value in values.items() if value}
