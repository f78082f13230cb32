"""Logging: JSON lines on stdout, for people when it is a terminal. Ids and names only, never a body or a secret."""

import logging
import sys
from typing import Any

import structlog

REASON_CHARACTERS_MAX = 300
_QUIET = ("aiokafka", "kafka", "motor", "pymongo", "httpx", "httpcore", "uvicorn", "asyncio", "opentelemetry")


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
        return line | {"service": service, "role": role}

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
    logging.root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def reason(error: BaseException) -> str:
    """What went wrong, on one short line: MongoDB's errors repeat themselves at length."""
    text = str(error).partition(", full error:")[0]
    return f"{type(error).__name__}: {text[:REASON_CHARACTERS_MAX]}"
