"""Logging: JSON lines on stdout, for people when it is a terminal. Ids and names only, never a body or a secret."""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import structlog

REASON_CHARACTERS_MAX = 300
_QUIET = ("aiokafka", "kafka", "motor", "pymongo", "aiohttp", "uvicorn", "asyncio", "opentelemetry")


def setup(service: str, role: str, level: str) -> None:
    """Log everything of this process, libraries included (from WARNING on), in one form to stdout."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stdout.isatty()
    plain = structlog.dev.plain_traceback  # the default shows the values of locals: keys, tokens, bodies
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if terminal else structlog.processors.JSONRenderer()
    )
    traceback: list[Any] = [] if terminal else [structlog.processors.format_exc_info]

    def who(_logger: Any, _method: str, line: Any) -> Any:
        return line | _Direct.who

    _Direct.who = {"service": service, "role": role}

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            who,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, who], processors=[remove_meta, *traceback, renderer]
        )
    )
    logging.root.handlers = [handler]
    _Direct.handler = None if terminal else handler
    logging.root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class Steps:
    """The lines of what was done with each event, timer and vendor call: a request's id finds them all.

    There are thousands a second. A line of structlog's costs 30 us, half of what handling an event in a batch does;
    these are written together, in the same form, for a tenth of that.
    """

    def __init__(self, kind: str) -> None:
        """Of one `kind`: what the lines are called."""
        self._kind = kind
        self._waiting: list[dict[str, Any]] = []

    def add(self, **step: str | None) -> None:
        """One step, if what it belongs to is committed."""
        self._waiting.append(step)

    def drop(self) -> None:
        """It is not: what was added does not count."""
        self._waiting.clear()

    def write(self) -> None:
        """It is: write what was added."""
        steps, self._waiting = self._waiting, []
        if not steps:
            return
        if _Direct.handler is None:
            for step in steps:
                _steps.info(self._kind, **step)
        elif logging.root.isEnabledFor(logging.INFO):
            end = {**_STAMP(None, "info", {"event": self._kind, "level": "info"}), **_Direct.who}
            text = "".join(json.dumps(step | end) + "\n" for step in steps)
            with _Direct.handler.lock or nullcontext():
                _Direct.handler.stream.write(text)
                _Direct.handler.flush()


class _Direct:
    """Where lines are JSON, and who writes them."""

    handler: "logging.StreamHandler[Any] | None" = None
    who: Mapping[str, str] = {}


_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
_steps = structlog.get_logger("chassis.steps")


def reason(error: BaseException) -> str:
    """What went wrong, on one short line: MongoDB's errors repeat themselves at length."""
    text = str(error).partition(", full error:")[0]
    return f"{type(error).__name__}: {text[:REASON_CHARACTERS_MAX]}"
