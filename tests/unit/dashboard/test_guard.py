"""Which requests are answered."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from dashboard.guard import objection


def asked(method: str = "GET", query: bytes = b"", **headers: str) -> int | None:
    given = {"host": "127.0.0.1:8765"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    found = objection(method, Headers(raw=raw), query)
    return None if found is None else found[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "127.0.0.1", "localhost:1", "LOCALHOST:80", "[::1]:8765"])
def test_the_page_answers_at_its_own_addresses_through_a_tunnel_too(host: str) -> None:
    assert asked(host=host) is None
    assert asked(host=host, origin=f"http://{host}") is None
    assert asked("HEAD", host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "127.0.0.1:8765@x", "", "10.0.0.1"]
)
def test_another_name_that_leads_here_is_refused(host: str) -> None:
    assert asked(host=host) == 421


def test_no_host_or_two_are_refused() -> None:
    assert objection("GET", Headers(raw=[]), b"") is not None
    two = Headers(raw=[(b"host", b"127.0.0.1"), (b"host", b"evil.example")])
    assert objection("GET", two, b"") is not None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:9999"])
def test_another_origin_is_refused(origin: str) -> None:
    assert asked(origin=origin) == 403


@pytest.mark.parametrize(
    ("site", "status"), [("none", None), ("same-origin", None), ("cross-site", 403), ("same-site", 403)]
)
def test_a_request_from_another_site_is_refused(site: str, status: int | None) -> None:
    assert asked(sec_fetch_site=site) == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_but_reading_is_allowed(method: str) -> None:
    assert asked(method) == 405


def test_a_long_query_is_refused() -> None:
    assert asked(query=b"a" * 2001) == 414
