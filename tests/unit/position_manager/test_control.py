"""The control socket, over a real one: what is asked, what is refused, and who may not ask."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager import status_samples as samples
from tests.unit.position_manager.control_service import Service, served

from position_manager.refused import RefusedError
from position_manager.service import control
from position_manager.service.control import (
    Answer,
    AskClose,
    AskPrice,
    AskRelease,
    AskReload,
    AskStatus,
    ControlError,
    NotRunningError,
    Request,
    ask,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_the_status_arrives_as_it_is(path: Path) -> None:
    assert served(path, lambda: ask(path, AskStatus())).status == samples.READY


@pytest.mark.parametrize(
    ("request_", "heard", "text"),
    [
        (AskClose(what="AAPL", by="anna"), ("close", "AAPL", "anna", None), "AAPL is being closed"),
        (AskClose(what="9", by="a", limit=Decimal("1.10")), ("close", "9", "a", Decimal("1.10")), "9 is being closed"),
        (AskRelease(what="AAPL", by="anna"), ("release", "AAPL", "anna"), "AAPL is released"),
        (AskPrice(symbol="SPY", price=Decimal(430)), ("price", "SPY", Decimal(430)), "SPY is at 430"),
    ],
)
def test_what_is_asked_is_done(path: Path, request_: Request, heard: tuple[object, ...], text: str) -> None:
    service = Service()
    assert served(path, lambda: ask(path, request_), service).text == text
    assert service.heard == [heard]


def test_a_refusal_comes_back_in_words_without_account_numbers(path: Path) -> None:
    def client() -> tuple[str, str]:
        with pytest.raises(RefusedError) as release:
            ask(path, AskRelease(what="unknown", by="anna"))
        with pytest.raises(RefusedError) as reload:
            ask(path, AskReload())
        return str(release.value), str(reload.value)

    release, reload = served(path, client)
    assert release == "Nothing in DU*****67 is called unknown."
    assert reload == "pm.yml:3: mode: must be one of sim, shadow, paper, live"


def raw(path: Path, sent: bytes, *, end: bool = True) -> Answer:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(str(path))
        channel.sendall(sent)
        if end:
            channel.shutdown(socket.SHUT_WR)
        with channel.makefile("rb") as file:
            return Answer.model_validate_json(file.readline())


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"\n", "not understood: the request: Invalid JSON"),
        (b'{"ask": "dance"}\n', "not understood: the request: Input tag 'dance'"),
        (b'{"ask": "close"}\n', "not understood: close.what: Field required"),
        (b'{"ask": "close", "what": "A", "by": "b", "limit": "NaN"}\n', "not understood: close.limit: Input should be"),
        (b'{"ask": "status", "verbose": true}\n', "not understood: status.verbose: Extra inputs"),
        (b'{"ask": "close", "what": "%s", "by": "b"}\n' % (b"A" * 201), "not understood: close.what: String should"),
        (b"A" * 100_000 + b"\n", "a request has at most 4096 bytes"),
    ],
)
def test_what_is_no_request_is_refused(path: Path, sent: bytes, text: str) -> None:
    service = Service()
    answer = served(path, lambda: raw(path, sent, end=False), service)
    assert not answer.done and answer.text.startswith(text)
    assert service.heard == []


def test_one_who_sends_nothing_is_sent_away_and_holds_up_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.05)

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(path))
            assert ask(path, AskStatus()).done
            silent.settimeout(5)
            return silent.recv(10)

    assert served(path, client) == b"", "the connection was ended"


def test_only_its_owner_may_use_the_socket(path: Path) -> None:
    before = os.umask(0)
    try:
        assert stat.S_IMODE(served(path, path.stat).st_mode) == 0o600
    finally:
        os.umask(before)


def test_nothing_listens(path: Path) -> None:
    with pytest.raises(NotRunningError, match=f"does not run: nothing listens at {path}"):
        ask(path, AskStatus())
    served(path, lambda: None)
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunningError, match="does not run"):
        ask(path, AskStatus())


def test_a_socket_that_a_dead_process_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert served(path, lambda: ask(path, AskStatus())).done


def test_a_second_service_is_refused_and_the_first_goes_on(path: Path) -> None:
    def client() -> Answer:
        with pytest.raises(ControlError, match=f"another position manager listens at {path}"):
            served(path, lambda: None)
        return ask(path, AskStatus())

    assert served(path, client).done


def test_a_file_at_the_sockets_place_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ControlError, match="something else is there"):
        served(path, lambda: None)
    assert path.read_text() == "mine"


def answered_by(path: Path, answer: bytes | None, client: Callable[[], None]) -> None:
    """A listener that is no position manager; without an answer it waits for the client to go."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            channel, _ = listener.accept()
            with channel:
                channel.recv(4096)
                if answer is None:
                    channel.recv(4096)
                else:
                    channel.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client()
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "ended the connection without an answer"),
        (b'{"other": 1}\n', "is the service of another release"),
        (None, "did not answer within 0.1 s"),
    ],
)
def test_an_answer_that_cannot_be_used(path: Path, answer: bytes | None, text: str) -> None:
    def client() -> None:
        with pytest.raises(ControlError, match=text):
            ask(path, AskStatus(), 0.1 if answer is None else 5)

    answered_by(path, answer, client)


def read_all(path: Path, sent: bytes = b"") -> bytes:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(str(path))
        if sent:
            channel.sendall(sent)
        with channel.makefile("rb") as file:
            return file.readline()


def test_the_status_socket_shows_the_status_to_whoever_can_enter_its_directory(path: Path) -> None:
    status = path.with_name("status.sock")

    def client() -> tuple[Answer, int, int]:
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, status)]
        return Answer.model_validate_json(read_all(status)), modes[0], modes[1]

    answer, control_mode, status_mode = served(path, client, status=status)
    assert answer.status == samples.READY
    assert (control_mode, status_mode) == (0o600, 0o666)
    assert not status.exists()


def test_the_status_socket_does_nothing_that_is_asked(path: Path) -> None:
    status, service = path.with_name("status.sock"), Service()

    def client() -> None:
        # A client that writes may see its connection reset instead of an answer.
        with contextlib.suppress(ConnectionError):
            read_all(status, b'{"ask": "close", "what": "AAPL", "by": "x"}\n')

    served(path, client, service, status)
    assert service.heard == []


def test_a_status_socket_that_cannot_be_created_does_not_stop_the_service(path: Path) -> None:
    occupied = path.with_name("status.sock")
    occupied.write_text("something else")
    assert served(path, lambda: ask(path, AskStatus()), status=occupied).status == samples.READY
    assert occupied.read_text() == "something else"
