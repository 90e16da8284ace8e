"""The chat service with other time limits, for tests that run it as a process on a busy machine."""

import os

from app.core import shutdown
from tests.support.request_timeout import extend_request_timeout

# Before other modules import the values.
extend_request_timeout()
shutdown.SHUTDOWN_NOTICE = float(os.environ.get("TEST_NOTICE_SECONDS", "0.5"))
shutdown.LATE_REQUESTS = float(os.environ.get("TEST_LATE_SECONDS", "1.5"))

from app.main import app  # noqa: E402 - the limits go first

__all__ = ["app"]
