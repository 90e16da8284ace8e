"""Logging configuration: one JSON object per line, with the request id.

Tokens, passwords, API keys, message texts and query strings are never logged.
"""

import logging
import logging.config
from contextvars import ContextVar

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


def configure_logging(*, service: str, level: str, json_lines: bool, line_format: str) -> None:
    """Write all logs of the process, including those of Uvicorn, to standard error.

    `line_format` is a %-style format, used if `json_lines` is false.
    """
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
            "filters": {"request_id": {"()": RequestIdFilter}},
            "formatters": {"line": formatter},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]},
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
