"""Entry point of the worker: `python -m app.worker`. Any number of workers may run at the same time."""

import asyncio
import sys

from app.config import get_settings
from app.core.exceptions import StartupError
from app.observability.logging import configure_logging
from app.worker.lifespan import logger, run_worker


def main() -> int:
    """Run the worker until it is stopped; return the exit code."""
    settings = get_settings()
    configure_logging(
        service="worker", level=settings.LOG_LEVEL, json_lines=settings.LOG_JSON, line_format=settings.LOG_FORMAT
    )
    try:
        asyncio.run(run_worker(settings))
    except StartupError as error:
        logger.critical(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
