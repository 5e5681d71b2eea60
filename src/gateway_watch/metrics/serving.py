"""Serves the metrics of one gateway beside its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager

from gateway_watch.clock_error import ClockError, read_clock_error
from gateway_watch.instance import Instance
from gateway_watch.metrics.collecting import Source, collect
from gateway_watch.metrics.recorder import FILE, Recorder
from host_service.metrics_server import MetricsError, served

CLOCK_SECONDS = 60.0


@contextmanager
def recorded(
    instance: Instance, notified: Callable[[], Mapping[str, int]], say: Callable[[str], None]
) -> Iterator[Recorder]:
    """What the runs report to, and served while the context lasts. A port that is taken is reported, and does not end
    the gateway."""
    recorder = Recorder(instance.state_dir / FILE, say)
    source = Source(instance, lambda: recorder.view, notified)
    with ExitStack() as stack:
        try:
            stack.enter_context(served(instance.metrics_port or None, lambda: collect(source)))
        except MetricsError as error:
            say(f"gateway-watch: {error}. Choose another ib_gateway_metrics_port and deploy again.")
        yield recorder


@asynccontextmanager
async def clock_watched(
    recorder: Recorder,
    *,
    read: Callable[[], Awaitable[ClockError]] = read_clock_error,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """The clock's error is measured each minute while the context lasts."""

    async def watch() -> None:
        while True:
            try:
                error = await read()
            except OSError as fault:
                error = ClockError(None, f"the clock's error could not be measured: {fault}")
            recorder.on_clock(error)
            await sleep(CLOCK_SECONDS)

    task = asyncio.create_task(watch(), name="the clock's error")
    try:
        yield
    finally:
        task.cancel()
        # Whatever it has ended with, the exit status is that of the gateway.
        await asyncio.gather(task, return_exceptions=True)
