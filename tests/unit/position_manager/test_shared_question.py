"""Questions to the broker that several share: never an answer that was under way before."""

from __future__ import annotations

import asyncio

import pytest

from position_manager.brokers.broker import BrokerError
from position_manager.brokers.shared_question import SharedQuestion

pytestmark = pytest.mark.asyncio


class Books:
    """A broker whose answer is what it knew when the question was sent, and comes when the test lets it."""

    def __init__(self) -> None:
        self.truth = "before"
        self.sent: list[asyncio.Future[str]] = []
        self.question = SharedQuestion(self._ask)

    async def _ask(self) -> str:
        known, answer = self.truth, asyncio.get_running_loop().create_future()
        self.sent.append(answer)
        await answer
        return known


async def rest() -> None:
    for _ in range(15):
        await asyncio.sleep(0)


async def test_one_answer_serves_all_who_asked_before_the_question_left() -> None:
    books = Books()
    asked = [asyncio.create_task(books.question.answer()) for _ in range(15)]
    await rest()
    assert len(books.sent) == 1
    books.sent[0].set_result("")
    assert await asyncio.gather(*asked) == ["before"] * 15


async def test_an_answer_that_was_under_way_when_the_second_asker_acted_does_not_count() -> None:
    books = Books()
    first = asyncio.create_task(books.question.answer())
    await rest()
    books.truth = "after"
    second = asyncio.create_task(books.question.answer())
    await rest()
    assert len(books.sent) == 1, "of a kind there is one question at a time"
    books.sent[0].set_result("")
    await rest()
    assert first.result() == "before"
    assert not second.done()
    books.sent[1].set_result("")
    assert await second == "after"


async def test_whoever_gives_up_does_not_take_the_answer_from_the_others() -> None:
    books = Books()
    first, second = (asyncio.create_task(books.question.answer()) for _ in range(2))
    await rest()
    first.cancel()
    await rest()
    books.sent[0].set_result("")
    assert await second == "before"


async def test_a_question_without_an_answer_is_raised_to_all_and_the_next_one_is_asked() -> None:
    books = Books()
    asked = [asyncio.create_task(books.question.answer()) for _ in range(2)]
    await rest()
    books.sent[0].set_exception(BrokerError("not answered"))
    for one in asked:
        with pytest.raises(BrokerError, match="not answered"):
            await one
    again = asyncio.create_task(books.question.answer())
    await rest()
    books.sent[1].set_result("")
    assert await again == "before"


async def test_who_got_an_answer_acts_on_it_before_the_next_question_leaves() -> None:
    books = Books()
    acted: list[int] = []

    async def asks_and_acts() -> None:
        await books.question.answer()
        acted.append(len(books.sent))

    first = asyncio.create_task(asks_and_acts())
    await rest()
    second = asyncio.create_task(books.question.answer())
    await rest()
    books.sent[0].set_result("")
    await first
    assert acted == [1]
    await rest()
    books.sent[1].set_result("")
    await second
