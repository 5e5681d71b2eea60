"""Probes of all published APIs, and whether a gateway that does not answer them is restarted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway_watch.decision import Answers, End
from gateway_watch.instance import Api
from gateway_watch.metrics.recorder import Recorder
from ib_connection.probe import probe


@dataclass(frozen=True)
class Probed:
    """All published APIs have been queried for their version."""

    answered: bool
    detail: str
    seconds: Mapping[str, float]
    """How long each API that answered took, by its mode."""


class ApiProbes:
    """Probes the APIs every ``seconds``; ``limit`` probes in a row without an answer end the run. ``spares`` is whether
    a gateway is left running in spite of them."""

    def __init__(
        self,
        apis: Sequence[Api],
        seconds: float,
        limit: int,
        spares: Callable[[Answers, int], bool],
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
        recorder: Recorder,
    ) -> None:
        self._apis = apis
        self._seconds = seconds
        self._limit = limit
        self._spares = spares
        self._say = say
        self._sleep = sleep
        self._recorder = recorder
        self._answers = Answers()

    async def results(self) -> AsyncGenerator[Probed, None]:
        """The results, one after the other, without an end."""
        while True:
            await self._sleep(self._seconds)
            results = [await probe(api.host, api.port) for api in self._apis]
            silent = [result.detail for result in results if not result.answered]
            answers = zip(self._apis, results, strict=True)
            seconds = {api.mode: result.elapsed for api, result in answers if result.answered}
            yield Probed(not silent, "; ".join(silent), seconds)

    def evaluate(self, probed: Probed, *, excused: bool) -> End | None:
        """Count a result; ``excused`` if a restart, or a login that is not done, explains that nothing answers."""
        if excused:
            self._answers = Answers()
            return None
        self._answers = self._answers.after(probed.answered, probed.detail)
        failures = self._answers.failures
        self._recorder.on_probe(probed.seconds, failures)
        if failures:
            self._say(f"gateway-watch: no answer from the API ({failures} of {self._limit}): {probed.detail}")
        # A client that works is not ended for one that could not connect.
        return None if self._spares(self._answers, self._limit) else self._answers.end(self._limit)
