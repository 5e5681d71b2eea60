"""The page's addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dashboard import logs, static_files
from dashboard.document import published
from dashboard.guard import Guard
from dashboard.hub import FullError, Hub
from dashboard.logs import LogError
from dashboard.outboxes import UnreadableError
from dashboard.screens import ScreenError, Screens
from position_manager.reports.explain import NotFoundError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[A-Za-z0-9]{1,40}")

MOST_LOGS = 4
"""At a time: each is a process within the memory of the service."""

Endpoint = Callable[[Request], Awaitable[Response]]


class QueryError(Exception):
    """A query that cannot be answered: its status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Page:
    """The endpoints."""

    def __init__(self, hub: Hub, screens: Screens, journalctl: str = "journalctl") -> None:
        self._hub = hub
        self._screens = screens
        self._journalctl = journalctl
        self._reading = asyncio.Semaphore(MOST_LOGS)

    async def snapshot(self, _request: Request) -> Response:
        return JSONResponse(await self._hub.present())

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        stream = self._hub.events()
        try:
            first = await anext(stream)
        except FullError:
            return JSONResponse({"error": "Too many pages are open. Close one of them."}, 503)

        async def all_of_it() -> AsyncIterator[bytes]:
            try:
                yield first
                async for each in stream:
                    yield each
            finally:
                with suppress(RuntimeError):
                    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator

        return StreamingResponse(all_of_it(), media_type="text/event-stream")

    async def profit(self, request: Request) -> Response:
        name = _named(request, "manager")
        return JSONResponse(await self._hub.call(lambda collector: collector.curves(name)))

    async def orders(self, request: Request) -> Response:
        name, before = _named(request, "manager"), request.query_params.get("before")
        if before is not None and not _ID.fullmatch(before):
            raise QueryError(400, "before is no id of an order.")
        orders, more = await self._hub.call(lambda collector: collector.orders(name, before))
        return JSONResponse({"orders": orders, "more": more})

    async def explain(self, request: Request) -> Response:
        name = _named(request, "manager")
        order, contract = (request.query_params.get(key) for key in ("order", "contract"))
        what = order if order is not None else contract
        if (order is None) is (contract is None) or what is None or not _ID.fullmatch(what):
            raise QueryError(400, "Give either order=ID or contract=NUMBER.")
        if contract is not None:
            what = f"contract:{contract}"
        return JSONResponse({"text": await self._hub.call(lambda collector: collector.explained(name, what))})

    async def screen(self, request: Request) -> Response:
        name = _named(request, "gateway")
        if name not in (await self._hub.snapshot())["gateways"]:
            raise QueryError(404, f"There is no gateway {name}.")
        picture = await self._screens.take(name)
        headers = {"X-Taken-At": picture.taken_at, "X-Fresh": str(int(picture.fresh))}
        return Response(picture.png, 200, headers, "image/png")

    async def logs(self, request: Request) -> Response:
        source, lines = _named(request, "source"), request.query_params.get("lines", "200")
        if source not in (await self._hub.snapshot())["logs"]:
            raise QueryError(404, f"There is no log {source}.")
        if not lines.isdecimal() or not 1 <= int(lines) <= logs.MOST_LINES:
            raise QueryError(400, f"lines is a number from 1 to {logs.MOST_LINES}.")
        if self._reading.locked():
            raise LogError("Several logs are read at this moment. Try again.")
        async with self._reading:
            found = await logs.read(source, int(lines), self._journalctl)
        return JSONResponse(published({"source": source, "lines": found}))

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"ok": True})


def _named(request: Request, key: str) -> str:
    value = request.query_params.get(key, "")
    if not _NAME.fullmatch(value):
        raise QueryError(400, f"Give {key}=NAME.")
    return value


def answered(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors are answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except QueryError as error:
            return _error(error.status, str(error))
        except KeyError as error:
            return _error(404, f"There is no {error.args[0]}.")
        except NotFoundError as error:
            return _error(404, str(error))
        except (UnreadableError, ScreenError, LogError) as error:
            return _error(503, str(error))

    return answer


def _error(status: int, text: str) -> Response:
    return JSONResponse(published({"error": text}), status)


def application(
    hub: Hub,
    screens: Screens,
    *,
    ready: Callable[[], None] = lambda: None,
    journalctl: str = "journalctl",
    static: Path = static_files.DIRECTORY,
) -> Starlette:
    """The whole page."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.run(), name="collector")
        ready()
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await hub.close()

    page, files = Page(hub, screens, journalctl), static_files.StaticFiles(static)
    endpoints: dict[str, Endpoint] = {
        "/api/snapshot": page.snapshot,
        "/api/events": page.events,
        "/api/profit": page.profit,
        "/api/orders": page.orders,
        "/api/explain": page.explain,
        "/api/screen": page.screen,
        "/api/logs": page.logs,
        "/api/health": page.health,
    }
    routes = [Route(path, answered(endpoint), methods=["GET"]) for path, endpoint in endpoints.items()]
    routes.append(Route("/{path:path}", files.serve, methods=["GET"]))
    return Starlette(routes=routes, middleware=[Middleware(Guard)], lifespan=lifespan)
