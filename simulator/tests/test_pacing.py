"""Pacing counts messages and requests for history by the times it is given."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from ib_insync import Option
from simulator.tests.api_client import running_server
from simulator.tests.insync_client import Client

from gateway_simulator.api import session
from gateway_simulator.api.pacing import HistoryAsked, HistoryPacer, MessagePacer, Verdict


def test_a_burst_of_the_limit_is_served_and_the_bucket_refills_at_the_limit() -> None:
    pacer = MessagePacer()
    verdicts = [pacer.judge(0, 5) for _ in range(8)]
    assert verdicts == [Verdict.SERVE] * 5 + [Verdict.WARN, Verdict.REJECT, Verdict.REJECT]
    assert pacer.received == 8
    assert pacer.judge(0.21, 5) is Verdict.SERVE  # a fifth of a second refills one
    assert pacer.judge(0.22, 5) is Verdict.REJECT
    assert [pacer.judge(9, 5) for _ in range(6)] == [Verdict.SERVE] * 5 + [Verdict.WARN]


@pytest.mark.parametrize("burst", [1, 5, 45])
def test_a_client_that_throttles_itself_below_the_limit_is_never_refused(burst: int) -> None:
    pacer = MessagePacer()
    moments = (number // burst * burst / 45 for number in range(2000))
    assert {pacer.judge(moment, 50) for moment in moments} == {Verdict.SERVE}


def test_the_count_is_that_of_the_messages_received_within_a_second() -> None:
    pacer = MessagePacer()
    for number in range(120):
        pacer.judge(number / 100, 50)
    assert pacer.received == 100


def test_the_third_breach_disconnects() -> None:
    pacer = MessagePacer()
    breaches = []
    for second in (0.0, 2.0, 4.0):
        assert pacer.judge(second, 1) is Verdict.SERVE
        breaches.append(pacer.judge(second + 0.1, 1))
    assert breaches == [Verdict.WARN, Verdict.WARN, Verdict.DISCONNECT]
    assert pacer.breaches == 3


def test_no_limit_serves_everything() -> None:
    pacer = MessagePacer()
    assert {pacer.judge(0, 0) for _ in range(1000)} == {Verdict.SERVE}


def test_history_refuses_the_same_request_within_15_seconds() -> None:
    pacer = HistoryPacer()
    assert not pacer.violation(HistoryAsked(0, "A", "a"))
    assert "same request" in pacer.violation(HistoryAsked(14.9, "A", "a"))
    assert not pacer.violation(HistoryAsked(15, "A", "a"))


def test_history_refuses_the_sixth_request_for_a_contract_within_2_seconds() -> None:
    pacer = HistoryPacer()
    for number in range(5):
        assert not pacer.violation(HistoryAsked(0.1 * number, number, "a"))
    assert not pacer.violation(HistoryAsked(0.6, "other", "b"))
    assert "one contract" in pacer.violation(HistoryAsked(0.7, 6, "a"))
    assert not pacer.violation(HistoryAsked(2.1, 6, "a"))


def test_history_refuses_the_61st_request_within_10_minutes() -> None:
    pacer = HistoryPacer()
    for number in range(60):
        assert not pacer.violation(HistoryAsked(number * 3.0, number, number))
    assert "60 requests" in pacer.violation(HistoryAsked(180.0, "one", "more"))
    assert not pacer.violation(HistoryAsked(600.0, "one", "more"))


FASTER = 5
"""Both ends have a clock that runs so much faster: a client's own waiting is no part of the test."""


@asynccontextmanager
async def asking(
    per_second: int, monkeypatch: pytest.MonkeyPatch, faster: int = 1
) -> AsyncIterator[tuple[Client, list[Option]]]:
    """An ib_insync client with a throttle of its own, and options to ask for."""
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: time.monotonic() * faster))
    async with running_server() as server, Client() as client:
        assert server.behaviour.messages_per_second == 50
        ib = await client.connect(server)
        ib.client.MaxRequests = per_second
        vars(ib.client)["RequestsInterval"] = 1 / faster
        chain = (await ib.reqSecDefOptParamsAsync("AAPL", "", "STK", 265598))[0]
        terms = itertools.product(chain.expirations, chain.strikes, "CP")
        yield client, [Option("AAPL", expiry, strike, right, "SMART") for expiry, strike, right in terms]


@pytest.mark.asyncio
async def test_a_thousand_options_are_qualified_under_the_default_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(45, monkeypatch, FASTER) as (client, options):
        found = await client.ib.qualifyContractsAsync(*options[:1000])
        assert len({each.conId for each in found}) == 1000
        assert not {100, 200} & set(client.codes)


@pytest.mark.asyncio
async def test_a_client_that_asks_for_them_faster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(1000, monkeypatch) as (client, options):
        asked = asyncio.ensure_future(client.ib.qualifyContractsAsync(*options[:400]))
        await client.until(lambda: 100 in client.codes)
        asked.cancel()
