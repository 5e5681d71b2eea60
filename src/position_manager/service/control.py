"""The control socket: how the command line talks to the running service.

A unix socket that only its owner and root may use. A request is one line of JSON, so is the answer, and then the
connection ends. What is asked for is done by an `Actions`; what that refuses comes back as its text.

A second socket answers with the status and does nothing else. Whoever can enter its directory may use it: that is the
owner, root, and the status page.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ib_connection.accounts import masked
from notifications.message import clean
from position_manager.refused import RefusedError
from position_manager.reports.status import Status

MOST_BYTES = 4096
"""A longer request is refused."""

REQUEST_SECONDS = 5.0
"""How long a client has, once connected, to send its request."""

_log = logging.getLogger(__name__)

_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_Text = Annotated[str, Field(min_length=1, max_length=200)]


class ControlError(Exception):
    """The service could not be asked, or did not answer as it should; the text states what to do."""


class NotRunningError(ControlError):
    """Nothing listens at the socket."""


class Actions(Protocol):
    """What can be asked of the service. Every method may raise RefusedError."""

    def status(self) -> Status: ...

    async def close(self, what: str, *, by: str, limit: Decimal | None) -> str:
        """Close a position now; what was started."""

    def release(self, what: str, *, by: str) -> str:
        """End a lock; what was done."""

    def rearm(self, what: str, *, by: str) -> str:
        """End account stops that have fired; what was done."""

    def accept_account(self, account: str, *, by: str) -> str:
        """Guard a new account of the session too; what was done."""

    def reload(self) -> str:
        """Read the configuration again; what was done."""

    def move_price(self, symbol: str, price: Decimal) -> str:
        """Move an underlying of the simulated market; what was done."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AskStatus(_Request):
    """The state of the service."""

    ask: Literal["status"] = "status"


class AskClose(_Request):
    """Close a position: by contract id, local symbol, or unit. ``limit``: a price that a person approves."""

    ask: Literal["close"] = "close"
    what: _Text
    by: _Text
    limit: Annotated[Decimal, Field(allow_inf_nan=False)] | None = None


class AskRelease(_Request):
    """End the lock of an instrument."""

    ask: Literal["release"] = "release"
    what: _Text
    by: _Text


class AskRearm(_Request):
    """End account stops that have fired."""

    ask: Literal["rearm"] = "rearm"
    what: _Text
    by: _Text


class AskAccept(_Request):
    """Guard a new account of the session too."""

    ask: Literal["accept-account"] = "accept-account"
    account: _Text
    by: _Text


class AskReload(_Request):
    """Read the configuration again."""

    ask: Literal["reload"] = "reload"


class AskPrice(_Request):
    """Move an underlying of the simulated market to a price."""

    ask: Literal["price"] = "price"
    symbol: _Text
    price: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


Request = AskStatus | AskClose | AskRelease | AskRearm | AskAccept | AskReload | AskPrice
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="ask")])


class Answer(_Request):
    """What came of a request. ``status`` only if it was asked for."""

    done: bool
    text: str = ""
    status: Status | None = None


class Server:
    """Listens at a path while it is open (``async with``).

    Raises ControlError on entering if another service listens there, or if the path cannot be used.
    """

    def __init__(self, path: Path, actions: Actions, status_path: Path | None = None) -> None:
        self._path = path
        self._actions = actions
        self._status_path = status_path
        self._servers: list[asyncio.Server] = []
        self._bound: list[Path] = []

    async def __aenter__(self) -> Server:
        await self._listen(self._path, 0o600, self._serve)
        if self._status_path is not None:
            try:
                await self._listen(self._status_path, 0o666, self._serve_status)
            except (ControlError, OSError) as error:
                # Nothing but the page needs it.
                _log.error("the status page cannot be served: %s", error)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for path in self._bound:
            path.unlink(missing_ok=True)

    async def _listen(self, path: Path, mode: int, serve: _Serve) -> None:
        channel = _bound(path, mode)
        self._bound.append(path)
        self._servers.append(await asyncio.start_unix_server(serve, sock=channel, limit=MOST_BYTES))

    async def _serve_status(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write the status and end; what a client sends is not read."""
        try:
            answer = await self._result(AskStatus())
            writer.write(answer.model_dump_json().encode() + b"\n")
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError) as error:
            _log.info("a client of the status socket went away: %s", type(error).__name__)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await _line(reader)
            answer = Answer(done=False, text=f"a request has at most {MOST_BYTES} bytes")
            if line is not None:
                answer = await self._answer(line)
            writer.write(answer.model_dump_json().encode() + b"\n")
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError) as error:
            _log.info("a client of the control socket went away: %s", type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = _REQUEST.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the request"
            return Answer(done=False, text=f"not understood: {place}: {first['msg']}")
        return await self._result(request)

    async def _result(self, request: Request) -> Answer:
        try:
            return await self._do(request)
        except RefusedError as error:
            return Answer(done=False, text=clean(str(error)))

    async def _do(self, request: Request) -> Answer:
        actions = self._actions
        match request:
            case AskStatus():
                return Answer(done=True, status=actions.status())
            case AskClose():
                _log.warning("%s asks to close %s", request.by, request.what)
                return Answer(done=True, text=await actions.close(request.what, by=request.by, limit=request.limit))
            case AskRelease():
                _log.warning("%s asks to release %s", request.by, request.what)
                return Answer(done=True, text=actions.release(request.what, by=request.by))
            case AskRearm():
                _log.warning("%s asks to rearm %s", request.by, request.what)
                return Answer(done=True, text=actions.rearm(request.what, by=request.by))
            case AskAccept():
                _log.warning("%s accepts account %s", request.by, masked(request.account))
                return Answer(done=True, text=actions.accept_account(request.account, by=request.by))
            case AskReload():
                return Answer(done=True, text=actions.reload())
            case AskPrice():
                return Answer(done=True, text=actions.move_price(request.symbol, request.price))


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """What was asked; None if it is too long."""
    try:
        return await reader.readline()
    except ValueError:
        return None


def _bound(path: Path, mode: int = 0o600) -> socket.socket:
    """A socket at a path, for its owner only unless `mode` differs. One that a dead process left is replaced."""
    try:
        _clear(path)
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # From its first moment on: a change of mode afterwards would come too late.
            before = os.umask(0o777 & ~mode)
            try:
                channel.bind(str(path))
            finally:
                os.umask(before)
        except OSError:
            channel.close()
            raise
    except OSError as error:
        raise ControlError(f"the control socket {path} cannot be created: {error.strerror or error}") from error
    return channel


def _clear(path: Path) -> None:
    """Remove a socket that no process listens at any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"the control socket {path} cannot be created: something else is there. Remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(REQUEST_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ControlError(f"another position manager listens at {path}. Stop that one first, or name another directory.")


def ask(path: Path, request: Request, seconds: float = 30.0) -> Answer:
    """Ask the service that listens at a path. Raises NotRunningError if none does, ControlError if it does not answer
    within the timeout, and RefusedError with the service's own text."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(seconds)
            channel.connect(str(path))
            channel.sendall(request.model_dump_json().encode() + b"\n")
            with channel.makefile("rb") as file:
                line = file.readline()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError(f"the position manager does not run: nothing listens at {path}") from error
    except PermissionError as error:
        raise ControlError(f"{path} may be used by the service's own user and by root only: use sudo") from error
    except TimeoutError as error:
        raise ControlError(f"the position manager did not answer within {seconds:g} s; check its log") from error
    except OSError as error:
        raise ControlError(f"the position manager could not be asked at {path}: {error.strerror or error}") from error
    if not line:
        raise ControlError("the position manager ended the connection without an answer; check its log")
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError as error:
        raise ControlError(
            f"what answered at {path} is not understood: is the service of another release? Restart it."
        ) from error
    if not answer.done:
        raise RefusedError(answer.text)
    return answer
