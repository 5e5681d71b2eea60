"""When attempts follow each other: the decision alone, and the driver on a clock that only sleeping moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from tests.unit.ib_connection.servers import simulated_api

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from ib_connection import causes
from ib_connection.accounts import AccountKind
from ib_connection.causes import CAUSES, Cause
from ib_connection.handshake import HandshakeResult, Target
from ib_connection.probe import Outcome, ProbeResult
from ib_connection.retry import Attempt, Next, RetryPolicy, after, attempts, first

POLICY = RetryPolicy()
TARGET = Target("127.0.0.1", 4002, AccountKind.PAPER)


def ended(cause: Cause | None, client_id: int = 7) -> HandshakeResult:
    return HandshakeResult(client_id, cause, "", 0.0)


def test_defaults_are_those_of_the_user() -> None:
    assert (POLICY.retries, POLICY.delay, POLICY.timeout) == (5, 5.0, 10.0)


def test_success_ends() -> None:
    assert after(first(7, 0), ended(None), POLICY, 1.0) is None


@pytest.mark.parametrize("cause", [causes.WRONG_ACCOUNT_KIND, causes.UNEXPECTED_ACCOUNT, causes.READ_ONLY])
def test_what_waiting_cannot_fix_ends(cause: Cause) -> None:
    assert after(first(7, 0), ended(cause), POLICY, 1.0) is None


def test_only_those_three_end_at_once() -> None:
    hopeless = {cause.id for cause in CAUSES.values() if after(first(7, 0), ended(cause), POLICY, 1.0) is None}
    assert hopeless == {"wrong_account_kind", "unexpected_account", "read_only"}


def test_client_id_in_use_takes_the_next_one_at_once() -> None:
    assert after(first(7, 0), ended(causes.CLIENT_ID_IN_USE), POLICY, 3.0) == Next(2, 8, 3.0, probing=False)


def test_not_ready_waits_and_probes() -> None:
    assert after(first(7, 0), ended(causes.REFUSED), POLICY, 3.0) == Next(2, 7, 8.0, probing=True)


def test_a_fault_behind_the_probe_waits_without_probing() -> None:
    assert after(first(7, 0), ended(causes.SYNC_INCOMPLETE), POLICY, 3.0) == Next(2, 7, 8.0, probing=False)


def test_last_attempt_ends() -> None:
    assert after(Next(5, 7, 0, probing=True), ended(causes.REFUSED), POLICY, 3.0) is None
    assert after(Next(4, 7, 0, probing=True), ended(causes.REFUSED), POLICY, 3.0) is not None


@pytest.mark.parametrize(
    ("setting", "value"), [("retries", 0), ("delay", -1), ("timeout", 0), ("probe_interval", 0), ("probe_timeout", -1)]
)
def test_policy_that_is_none_is_refused(setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=setting):
        RetryPolicy(**{setting: value})


@dataclass
class Bench:
    """A driver's surroundings: a clock that sleeping moves, scripted attempts, an answer from a moment on."""

    results: list[Cause | None]
    answers_from: float = float("inf")
    now: float = 100.0
    begun: list[tuple[float, int]] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def attempt(self, client_id: int) -> HandshakeResult:
        self.begun.append((self.now, client_id))
        return ended(self.results[len(self.begun) - 1], client_id)

    async def probe_port(self) -> ProbeResult:
        self.probes.append(self.now)
        ready = self.now >= self.answers_from
        return ProbeResult(Outcome.ANSWERED if ready else Outcome.REFUSED, 0.0, "")

    def run(self, policy: RetryPolicy = POLICY, start: Next | None = None) -> list[Attempt]:
        async def drive() -> list[Attempt]:
            return [
                attempt
                async for attempt in attempts(
                    TARGET,
                    policy,
                    start or first(7, self.now),
                    clock=self.clock,
                    sleep=self.sleep,
                    attempt=self.attempt,
                    probe_port=self.probe_port,
                )
            ]

        return asyncio.run(drive())


def test_five_attempts_five_seconds_apart() -> None:
    bench = Bench([causes.REFUSED] * 6)
    made = bench.run()
    assert [at for at, _ in bench.begun] == [100, 105, 110, 115, 120]
    assert [attempt.number for attempt in made] == [1, 2, 3, 4, 5]
    assert made[-1].next is None


def test_next_attempt_starts_as_soon_as_the_gateway_answers() -> None:
    bench = Bench([causes.CLOSED_BY_PEER, None], answers_from=102.5)
    bench.run()
    assert bench.probes == [101, 102, 103]
    assert [at for at, _ in bench.begun] == [100, 103]


def test_no_probe_where_it_shows_nothing() -> None:
    bench = Bench([causes.NO_MANAGED_ACCOUNTS, None], answers_from=0)
    bench.run()
    assert bench.probes == []
    assert [at for at, _ in bench.begun] == [100, 105]


def test_client_ids_go_up() -> None:
    bench = Bench([causes.CLIENT_ID_IN_USE, causes.CLIENT_ID_IN_USE, None])
    bench.run()
    assert bench.begun == [(100, 7), (100, 8), (100, 9)]


def test_goes_on_where_an_earlier_call_stopped() -> None:
    bench = Bench([None])
    made = bench.run(start=Next(3, 9, 102.5, probing=False))
    assert bench.begun == [(102.5, 9)]
    assert made[0].number == 3


def test_clock_that_was_set_back_costs_one_delay_at_most() -> None:
    bench = Bench([None])
    bench.run(start=Next(2, 7, 999_999.0, probing=False))
    assert bench.begun == [(105, 7)]


def against(behaviour: ApiBehaviour, policy: RetryPolicy) -> list[Attempt]:
    """All attempts at the simulator, in real time."""

    async def drive() -> list[Attempt]:
        async with simulated_api(behaviour) as server:
            target = Target("127.0.0.1", server.port, AccountKind.PAPER)
            now: Callable[[], float] = asyncio.get_running_loop().time
            return [attempt async for attempt in attempts(target, policy, first(7, now()), clock=now)]

    return asyncio.run(drive())


def test_first_connection_silent_then_verified_without_the_delay() -> None:
    policy = RetryPolicy(delay=30, probe_timeout=0.3, probe_interval=0.1)
    made = against(ApiBehaviour(connect=ConnectMode.SILENT_ONCE), policy)
    assert [attempt.result.cause for attempt in made] == [causes.SILENT_BEFORE_VERSION, None]


def test_busy_client_ids_are_passed_by() -> None:
    made = against(ApiBehaviour(client_ids_in_use={7, 8}), RetryPolicy(delay=30))
    assert [attempt.result.client_id for attempt in made] == [7, 8, 9]
    assert made[-1].result.ok


def test_gateway_that_becomes_ready_during_the_delay() -> None:
    behaviour = ApiBehaviour(connect=ConnectMode.ACCEPT_AND_CLOSE)

    async def drive() -> list[Attempt]:
        async with simulated_api(behaviour) as server:
            target = Target("127.0.0.1", server.port, AccountKind.PAPER)
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, setattr, behaviour, "connect", ConnectMode.NORMAL)
            policy = RetryPolicy(delay=30, probe_interval=0.1)
            return [attempt async for attempt in attempts(target, policy, first(7, loop.time()), clock=loop.time)]

    made = asyncio.run(asyncio.wait_for(drive(), 5))
    assert [attempt.result.cause for attempt in made] == [causes.CLOSED_BY_PEER, None]


def test_the_caller_may_keep_the_connection() -> None:
    seen: list[int] = []

    async def own(client_id: int) -> HandshakeResult:
        seen.append(client_id)
        return ended(None, client_id)

    attempt: Callable[[int], Awaitable[HandshakeResult]] = own

    async def drive() -> list[Attempt]:
        return [each async for each in attempts(TARGET, POLICY, first(7, 0), clock=lambda: 0.0, attempt=attempt)]

    assert asyncio.run(drive())[0].result.ok
    assert seen == [7]
