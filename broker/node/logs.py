"""Logs: one line an event on standard error, JSON for machines or aligned columns for people.

structlog is the only writer; the standard library's logging (grpc, uvicorn, asyncio) and `warnings` are routed through
the same processors, so that every line has the same shape: timestamp (UTC, ISO 8601), level, logger, event, fields.

Never: message bodies or credentials in a log line. Tracebacks are therefore printed without local variables.
"""

import logging
import sys

import structlog
from structlog.types import Processor


def configure_logs(level: str = "info", log_format: str = "auto") -> None:
    """Sets up logging for this process; may be called again, the last call counts.

    `level`: debug, info, warning or error. `log_format`: json, console, or auto (console if standard error is a
    terminal).
    """
    console = sys.stderr.isatty() if log_format == "auto" else log_format == "console"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    logging.getLogger("uvicorn").setLevel(max(threshold, logging.WARNING))  # the node itself says when it serves
    logging.captureWarnings(capture=True)
