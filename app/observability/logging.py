"""Logging configuration: one JSON object per line, or lines of `LOG_FORMAT`; records have the request id.

Tokens, passwords, API keys, message texts, row values and query strings are never logged.
"""

import logging
import logging.config
from contextvars import ContextVar

from app.observability.exception_text import format_exception, install_excepthook, without_details

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the current request. Tasks that a request starts inherit it."""


class RequestIdFilter(logging.Filter):
    """Adds the current request id to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id; return True, which keeps the record."""
        record.request_id = request_id_var.get()
        # Uvicorn's copy of the message with terminal colours.
        record.__dict__.pop("color_message", None)
        return True


class RedactionFilter(logging.Filter):
    """Removes row values from exceptions of database drivers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Format the exception here instead of in the formatter; return True, which keeps the record."""
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = format_exception(record.exc_info[1])
            record.exc_info = None
        message = record.getMessage()
        if (redacted := without_details(message)) != message:
            record.msg, record.args = redacted, None
        return True


def configure_logging(*, service: str, level: str, json_lines: bool, line_format: str) -> None:
    """Write all logs of the process, including those of Uvicorn, to standard error.

    `line_format` is a %-style format, used if `json_lines` is false.
    """
    install_excepthook()
    formatter = (
        {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(levelname)s %(name)s %(message)s %(request_id)s",
            "rename_fields": {"levelname": "level", "name": "logger"},
            "static_fields": {"service": service},
            "timestamp": True,
        }
        if json_lines
        else {"format": line_format}
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": RequestIdFilter}, "redaction": {"()": RedactionFilter}},
            "formatters": {"line": formatter},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["request_id", "redaction"],
                },
            },
            "root": {"level": level, "handlers": ["stderr"]},
            "loggers": {
                # Uvicorn installed its own handlers before it imported the application.
                "uvicorn": {"level": level, "handlers": [], "propagate": True},
                "uvicorn.error": {"level": level, "handlers": [], "propagate": True},
                # `app.http.middleware` writes the access log, without query strings.
                "uvicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
                # At DEBUG these log headers and bodies, which contain keys and messages.
                "openai": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "httpx2": {"level": "WARNING"},
                "httpcore2": {"level": "WARNING"},
                "langgraph": {"level": "WARNING"},
                # It warns of each malformed form, with parts of its content. The client gets a 400.
                "python_multipart": {"level": "ERROR"},
            },
        }
    )
