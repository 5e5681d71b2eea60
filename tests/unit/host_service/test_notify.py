"""Messages to systemd, received by a real datagram socket."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from host_service.notify import STATUS_BYTES, Notifier


def receive(address: str, send: Callable[[], None]) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(5)
        send()
        return receiver.recv(4096).decode()


@pytest.mark.parametrize(
    ("send", "message"),
    [
        (Notifier.ready, "READY=1"),
        (Notifier.watchdog, "WATCHDOG=1"),
        (Notifier.stopping, "STOPPING=1"),
        (lambda notifier: notifier.extend_timeout(60.5), "EXTEND_TIMEOUT_USEC=60500000"),
        (lambda notifier: notifier.status("two\nlines: ü"), "STATUS=two lines: ü"),
    ],
)
def test_the_messages(send: Callable[[Notifier], None], message: str, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    assert receive(address, lambda: send(notifier)) == message


@pytest.mark.parametrize("text", ["x" * 5000, "ü€" * 3000, "a" * 1023 + "ü"])
def test_a_long_status_is_cut_below_what_systemd_drops(text: str, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    message = receive(address, lambda: Notifier(address).status(text))
    assert len(message.encode()) <= STATUS_BYTES + len("STATUS=")
    assert message.endswith("…")
    assert text.startswith(message.removeprefix("STATUS=").removesuffix("…"))


def test_a_status_at_the_limit_is_whole(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    text = "x" * STATUS_BYTES
    assert receive(address, lambda: Notifier(address).status(text)) == f"STATUS={text}"


def test_an_abstract_socket() -> None:
    name = f"gateway-watch-{uuid.uuid4().hex}"
    assert receive(f"\0{name}", Notifier(f"@{name}").ready) == "READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_nobody_to_notify(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    Notifier.from_environment(environment).ready()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="NOTIFY_SOCKET 'vsock:2:1' is neither"):
        Notifier("vsock:2:1")
