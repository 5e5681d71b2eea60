"""The login controller's command server: its configuration, and commands over a real socket."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway_watch import command_server
from gateway_watch.command_server import LABEL, TEMPLATE, CommandError, TemplateError, enabled, options, send
from gateway_watch.engine import Container, Engine, EngineError, parse_container
from gateway_watch.signatures import CommandServer, load

_OF_IBC = load("ibc").command_server
assert _OF_IBC is not None
SERVER: CommandServer = _OF_IBC

CONTENT = """\
IbLoginId=${TWS_USERID}
#CommandServerPort=7462
CommandServerPort=0
ControlFrom=
  BindAddress =
CommandPrompt=
"""


def container(variables: Sequence[str], labels: dict[str, str] | None = None) -> Container:
    never = "0001-01-01T00:00:00Z"
    return parse_container(
        {
            "Id": "1" * 64,
            "Name": "/ib-gateway",
            "Config": {"Image": "image", "Env": list(variables), "Labels": labels},
            "State": {"Status": "created", "ExitCode": 0, "StartedAt": never, "FinishedAt": never},
        }
    )


class InsideEngine(Engine):
    """Runs what is executed in the container on this machine, and copies a file out of a folder."""

    def __init__(self, inside: Container, folder: Path | None = None) -> None:
        super().__init__()
        self.inside, self.folder = inside, folder
        self.executed: list[tuple[str, ...]] = []

    async def inspect(self, name: str) -> Container:
        return self.inside

    async def run(self, *arguments: str) -> str:
        self.executed.append(arguments)
        if arguments[0] == "cp":
            source, target = arguments[2].partition(":")[2], arguments[3]
            if self.folder is None:
                raise EngineError("could not find the file")
            shutil.copy(self.folder / source.rpartition("/")[2], target)
            return ""
        process = await asyncio.create_subprocess_exec(
            *arguments[2:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise EngineError(errors.decode())
        return output.decode()


def test_settings_of_the_template_are_replaced_and_nothing_else() -> None:
    changed = enabled(CONTENT, SERVER).splitlines()
    assert changed == [
        "IbLoginId=${TWS_USERID}",
        "#CommandServerPort=7462",
        "CommandServerPort=7462",
        "ControlFrom=127.0.0.1",
        "BindAddress=127.0.0.1",
        "CommandPrompt=",
    ]


def test_template_without_a_setting_is_rejected() -> None:
    with pytest.raises(TemplateError, match="no setting ControlFrom"):
        enabled(CONTENT.replace("ControlFrom", "Other"), SERVER)


def test_container_gets_the_changed_template_and_no_published_port(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "config.ini.tmpl").write_text(CONTENT)
    engine = InsideEngine(container(["IBC_INI_TMPL=/home/u/ibc/config.ini.tmpl"]), tmp_path / "image")
    added = asyncio.run(options(engine, "ib-gateway", SERVER, tmp_path))
    file = tmp_path / TEMPLATE
    assert added == ["--label", f"{LABEL}=7462", "--volume", f"{file}:/home/u/ibc/config.ini.tmpl:ro"]
    assert file.read_text() == enabled(CONTENT, SERVER)
    # The gateway's user reads it.
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ([], "names no template"),
        (["IBC_INI_TMPL=relative"], "names no template"),
        (["IBC_INI_TMPL=/a:/b"], "names no template"),
        (["IBC_INI_TMPL=/t", "CUSTOM_CONFIG=yes"], "CUSTOM_CONFIG is yes"),
        (["IBC_INI_TMPL=/t"], "cannot be read"),
    ],
)
def test_image_without_a_usable_template_gets_no_server(tmp_path: Path, variables: list[str], reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        asyncio.run(options(InsideEngine(container(variables)), "ib-gateway", SERVER, tmp_path))


def test_server_is_known_by_the_label_of_the_container() -> None:
    assert command_server.runs_in(container([], {LABEL: "7462"}))
    assert not command_server.runs_in(container([], None))
    assert not command_server.runs_in(None)


@contextmanager
def answering(answer: bytes, *, closes: bool = True) -> Iterator[tuple[CommandServer, list[bytes]]]:
    """A server that reads one line and sends an answer."""
    received: list[bytes] = []
    release = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                received.append(lines.readline())
                connection.sendall(answer)
                if not closes:
                    release.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield replace(SERVER, port=port), received
        finally:
            release.set()
            thread.join(5)


def _send(server: CommandServer, command: str) -> str:
    return asyncio.run(send(InsideEngine(container([])), "ib-gateway", server, command))


def test_acknowledged_command_returns_the_last_acknowledgement() -> None:
    with answering(b"OK RESTART in progress\nOK RESTART at 02:31 PM\n") as (server, received):
        assert _send(server, "RESTART") == "OK RESTART at 02:31 PM"
    assert received == [b"RESTART\n"]


def test_line_ends_of_another_system_are_understood() -> None:
    with answering(b"OK PAUSE in progress\r\nOK PAUSE at 02:31 PM\r\n") as (server, _):
        assert _send(server, "PAUSE") == "OK PAUSE at 02:31 PM"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"ERROR RESTART already in progress\n", "refused it: RESTART already in progress"),
        (b"OK RESTART in progress\nERROR null\n", "refused it: null"),
        (b"ERROR Command invalid\n", "refused it: Command invalid"),
        (b"OK Goodbye\n", "did not acknowledge it: it answered 'OK Goodbye'"),
        (b"", "it answered nothing"),
    ],
)
def test_command_that_is_not_acknowledged_is_an_error(answer: bytes, reason: str) -> None:
    with answering(answer) as (server, _), pytest.raises(CommandError, match=reason):
        _send(server, "RESTART")


def test_open_connection_without_a_further_line_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_server, "ANSWER_SECONDS", 1)
    with answering(b"OK RESTART in progress\n", closes=False) as (server, _):
        assert _send(server, "RESTART") == "OK RESTART in progress"


def test_server_that_does_not_listen_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = replace(SERVER, port=listener.getsockname()[1])
    with pytest.raises(CommandError, match="cannot be reached"):
        _send(server, "RESTART")
