"""The watch's own API session against the real simulator's API, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage
from gateway_watch.api_session import (
    MOST_REFUSALS,
    Answered,
    ApiEvent,
    ApiSession,
    Closed,
    Limits,
    Opened,
    SystemMessage,
)
from gateway_watch.ibkr_link import ApiLink, LinkState

QUICK = Limits(connect=5, quiet=0.05, answer=5)
ID = 9100


@asynccontextmanager
async def gateway(behaviour: ApiBehaviour | None = None) -> AsyncIterator[ApiServer]:
    server = ApiServer(sample_brokerage(), behaviour or ApiBehaviour())
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.stop()


async def until(session: ApiSession, link: ApiLink, wanted: LinkState) -> ApiLink:
    """The link once it is as wanted, from a session that is left open."""
    async with asyncio.timeout(10), aclosing(session.events()) as events:
        async for event in events:
            link = link.after(event)
            if link.state is wanted:
                return link
    raise AssertionError(f"never {wanted}: {link}")


async def everything(session: ApiSession) -> list[ApiEvent]:
    async with asyncio.timeout(10):
        return [event async for event in session.events()]


@pytest.mark.asyncio
async def test_a_session_sees_the_connection_and_takes_no_other_id() -> None:
    async with gateway() as server:
        session = ApiSession("127.0.0.1", server.port, ID, QUICK)
        clients: list[int] = []
        async with asyncio.timeout(10), aclosing(session.events()) as events:
            async for event in events:
                if isinstance(event, Answered):
                    clients = server.clients
                    break
        assert clients == [ID]
        assert (await until(session, ApiLink(), LinkState.CONNECTED)).farms == {
            "usfarm": True,
            "ushmds": True,
            "secdefnj": True,
        }


@pytest.mark.asyncio
async def test_it_receives_the_loss_and_the_return_of_the_connection() -> None:
    async with gateway() as server:
        session = ApiSession("127.0.0.1", server.port, ID, QUICK)
        link, states = ApiLink(), list[LinkState]()
        async with asyncio.timeout(10), aclosing(session.events()) as events:
            async for event in events:
                link = link.after(event)
                if states[-1:] == [link.state]:
                    continue
                states.append(link.state)
                if states == [LinkState.UNKNOWN, LinkState.CONNECTED]:
                    server.lose_connection()
                if link.state is LinkState.LOST:
                    server.restore_connection(data_lost=True)
                if len(states) == 4:
                    break
    assert states == [LinkState.UNKNOWN, LinkState.CONNECTED, LinkState.LOST, LinkState.CONNECTED]


@pytest.mark.asyncio
async def test_a_session_that_is_opened_during_the_outage_learns_of_it() -> None:
    async with gateway() as server:
        server.lose_connection()
        link = await until(ApiSession("127.0.0.1", server.port, ID, QUICK), ApiLink(), LinkState.LOST)
    assert "1100" in link.text


@pytest.mark.asyncio
async def test_it_asks_again_and_again_whether_the_gateway_answers() -> None:
    async with gateway() as server:
        answers = 0
        async with asyncio.timeout(10), aclosing(ApiSession("127.0.0.1", server.port, ID, QUICK).events()) as events:
            async for event in events:
                answers += isinstance(event, Answered)
                if answers == 3:
                    break
    assert answers == 3


@pytest.mark.asyncio
async def test_a_gateway_that_does_not_answer_the_question_ends_the_session() -> None:
    async with gateway(ApiBehaviour(connect=ConnectMode.SILENT_AFTER_VERSION)) as server:
        events = await everything(ApiSession("127.0.0.1", server.port, ID, Limits(connect=0.3)))
    assert [type(event) for event in events] == [Closed]
    assert "no answer within 0.3 s" in str(events[-1])

    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept the session as a gateway does, and answer nothing after it."""
        await reader.read(64)
        writer.write(b"\0\0\0\x1a176\x0020261123 01:10:50 UTC\0")
        await reader.read(64)
        writer.write(b"\0\0\0\x069\x001\x001\0")
        await reader.read()
        writer.close()

    frozen = await asyncio.start_server(freeze, "127.0.0.1", 0)
    async with frozen:
        port = frozen.sockets[0].getsockname()[1]
        events = await everything(ApiSession("127.0.0.1", port, ID, Limits(connect=5, quiet=5, answer=0.2)))
    assert [type(event) for event in events] == [Opened, Closed]
    assert "did not answer within 0.2 s" in str(events[-1])


@pytest.mark.asyncio
async def test_a_taken_client_id_is_named() -> None:
    async with gateway(ApiBehaviour(client_ids_in_use={ID})) as server:
        events = await everything(ApiSession("127.0.0.1", server.port, ID, QUICK))
    assert [event.code for event in events if isinstance(event, SystemMessage)] == [326]
    assert isinstance(events[-1], Closed)
    assert events[-1].client_id_in_use


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    async with gateway() as server:
        port = server.port
    events = await everything(ApiSession("127.0.0.1", port, ID, QUICK))
    assert [type(event) for event in events] == [Closed]


@pytest.mark.asyncio
async def test_close_frees_the_client_id() -> None:
    async with gateway() as server:
        session = ApiSession("127.0.0.1", server.port, ID, QUICK)
        kinds: list[type[ApiEvent]] = []
        async with asyncio.timeout(10), aclosing(session.events()) as events:
            async for event in events:
                kinds.append(type(event))
                if isinstance(event, Opened):
                    await session.close()
        assert kinds[-1] is Closed
        again = await until(ApiSession("127.0.0.1", server.port, ID, QUICK), ApiLink(), LinkState.CONNECTED)
        assert again.open


@pytest.mark.asyncio
async def test_a_refusal_before_the_settings_are_applied_is_asked_again() -> None:
    behaviour = ApiBehaviour(read_only=True)
    async with gateway(behaviour) as server:
        session = ApiSession("127.0.0.1", server.port, ID, QUICK, ask_orders=True)
        link, seen = ApiLink(), list[bool | None]()
        async with asyncio.timeout(10), aclosing(session.events()) as events:
            async for event in events:
                link = link.after(event)
                if link.orders_refused:
                    behaviour.read_only = False
                seen.append(link.orders_refused)
                if seen[-1] is False:
                    break
    assert True in seen


@pytest.mark.asyncio
async def test_a_read_only_api_is_not_asked_for_ever() -> None:
    async with gateway(ApiBehaviour(read_only=True)) as server:
        session = ApiSession("127.0.0.1", server.port, ID, QUICK, ask_orders=True)
        refusals = answers = 0
        async with asyncio.timeout(10), aclosing(session.events()) as events:
            async for event in events:
                refusals += isinstance(event, SystemMessage) and event.code == 321
                answers += isinstance(event, Answered)
                if answers == MOST_REFUSALS + 3:
                    break
    assert refusals == MOST_REFUSALS
