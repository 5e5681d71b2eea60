"""Where the log goes, and in which form: one place for it, so that every module only asks for its own logger.

Modules write with `logging.getLogger(__name__)` and put the fields that a program may filter by into ``extra``
(``con_id``, ``intent``, ``account``, …). On a terminal the log is for people; anywhere else each line is a JSON object
with ``event``, ``level``, ``logger``, ``time`` and those fields. Account numbers are masked in all of it, whoever wrote
it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import IO, Any

from host_service.spared_imports import spared
from notifications.message import clean

# structlog.dev loads rich for tracebacks that are not used here: 5 MB.
with spared("rich"):
    import structlog
    from structlog.typing import EventDict, Processor, WrappedLogger

QUIET = ("ib_insync", "apprise", "urllib3", "asyncio")
"""Libraries that log too much, including secret addresses: only their warnings are retained."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def configure(stream: IO[str], environment: Mapping[str, str], level: int = logging.INFO) -> None:
    """Send the log of the whole process to a stream, and only there."""
    terminal = stream.isatty()
    # structlog's own way to show an exception would load much more than the service needs.
    rendered: tuple[Processor, ...] = (structlog.processors.format_exc_info, mask)
    if terminal:
        rendered += (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),)
    else:
        rendered += (structlog.processors.JSONRenderer(ensure_ascii=False, default=str),)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", key="timestamp" if terminal else "time"),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Prioritised(formatter) if is_journal(stream, environment) else formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: masks what must not be shown in every text, however deep."""
    return {name: _masked(value) for name, value in event.items()}


def _masked(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {_masked(name): _masked(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(inner) for inner in value]
        case bool() | int() | float() | None:
            return value
    return clean(str(value))


def is_journal(stream: IO[str], environment: Mapping[str, str]) -> bool:
    """Whether systemd has connected a stream to its journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Prioritised(logging.Formatter):
    """Puts before each line the priority that the journal reads from there (sd-daemon(3))."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>{self._inner.format(record)}"
