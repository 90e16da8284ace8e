"""Logs: one JSON object a line, each with the id of the request it belongs to.

Never logged: tokens, passwords, keys, the text of a message, query strings.
"""

import logging
import logging.config
from contextvars import ContextVar

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request being served; tasks started by a request inherit it."""


class RequestIdFilter(logging.Filter):
    """Puts the current request id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        record.request_id = request_id_var.get()
        # The server's message once more, for terminals.
        record.__dict__.pop("color_message", None)
        return True


def configure_logging(*, service: str, level: str, json_lines: bool, line_format: str) -> None:
    """Send all logs of the process, the server's included, to standard error.

    `line_format` is a %-format, used when `json_lines` is false.
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
                # The server configured its own handlers before the application was imported.
                "uvicorn": {"level": level, "handlers": [], "propagate": True},
                "uvicorn.error": {"level": level, "handlers": [], "propagate": True},
                # `app.http.middleware` logs requests, with their ids and without their query strings.
                "uvicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
                # At DEBUG these log headers and bodies: keys and messages.
                "openai": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "httpx2": {"level": "WARNING"},
                "httpcore2": {"level": "WARNING"},
                "langgraph": {"level": "WARNING"},
            },
        }
    )
