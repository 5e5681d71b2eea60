"""What every request must fulfil, and what every answer carries. A page of somebody else must not read this one, nor a
name of somebody else's that resolves to 127.0.0.1 (DNS rebinding)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD")
LONGEST_QUERY = 2000

# Any port: a tunnel has one of its own.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
)


def objection(method: str, headers: Headers, query: bytes) -> tuple[int, str] | None:
    """Why a request is not answered, as status and text; None if it is."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        return 421, "This page answers at 127.0.0.1 or localhost only. Use the address that dashboard.yml printed."
    if method not in METHODS:
        return 405, "This page is read-only: GET and HEAD only."
    if any(origin.lower() != f"http://{hosts[0]}".lower() for origin in headers.getlist("origin")):
        return 403, "Another page may not read this one."
    # Sent by browsers; "none" is an address that a person typed or a bookmark.
    if any(site not in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")):
        return 403, "Another page may not read this one. Open its address in a new tab."
    if len(query) > LONGEST_QUERY:
        return 414, f"A query has at most {LONGEST_QUERY} bytes."
    return None


class Guard:
    """Checks each request before anything else sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["type"] != "http":
            # Nothing here speaks WebSocket.
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = objection(scope["method"], Headers(scope=scope), scope["query_string"])
        if refused is None:
            await self._app(scope, receive, with_headers)
            return
        status, text = refused
        allow = {"Allow": ", ".join(METHODS)} if status == 405 else None
        await JSONResponse({"error": text}, status, allow)(scope, receive, with_headers)
