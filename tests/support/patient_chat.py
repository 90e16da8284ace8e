"""The chat service with other time limits, for tests that run it as a process on a busy machine."""

import os

from app.core import shutdown
from app.database import connection

# Before other modules import them.
connection.REQUEST_TIMEOUT = 10.0
shutdown.SHUTDOWN_NOTICE = float(os.environ.get("TEST_NOTICE_SECONDS", "0.5"))

from app.main import app  # noqa: E402 - the limits go first

__all__ = ["app"]
