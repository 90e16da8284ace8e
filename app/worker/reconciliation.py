"""Reconciliation job: compares usage roll-ups with the ledger and repairs differences."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from app.core.exceptions import StatementTimeoutError
from app.database.connection import Database
from app.database.repositories.usage.reconciliation import Reconciler, TimeWindow

logger = logging.getLogger(__name__)

_PASS_INTERVAL = timedelta(days=1)
"""Pause between two passes over the whole ledger."""
_RUN_SECONDS = 1.0
"""Duration in seconds after which a run starts no further window."""


class UsageReconciliation:
    """Job that compares roll-ups with the ledger, a few time windows in each run."""

    def __init__(self, database: Database, reconciler: Reconciler, *, run_seconds: float = _RUN_SECONDS) -> None:
        """Take the reconciler of one granularity, and the seconds after which a run starts no further window."""
        self._database = database
        self._reconciler = reconciler
        self._run_seconds = run_seconds

    async def reconcile_windows(self) -> int:
        """Compare the next windows; return the number of roll-up rows repaired.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable, or rows stayed locked. The next run repeats the window.

        """
        deadline = time.monotonic() + self._run_seconds
        repaired: Counter[str] = Counter()
        is_expected = True
        async with self._database.transaction() as transaction:
            await self._reconciler.create_progress(transaction)
        while compared := await self._reconcile_window():
            window, differences = compared
            repaired.update(differences)
            is_expected = is_expected and window.is_first_pass
            if time.monotonic() > deadline:
                break
        if repaired:
            level = logging.INFO if is_expected else logging.WARNING
            logger.log(level, "roll-ups differed from the ledger", extra={"mended": dict(repaired)})
        return repaired.total()

    async def _reconcile_window(self) -> tuple[TimeWindow, Mapping[str, int]] | None:
        """Return the next window and the repaired rows by table; None if there is no window to compare."""
        window = None
        try:
            async with self._database.transaction() as transaction:
                window = await self._reconciler.claim_window(transaction, pause=_PASS_INTERVAL)
                if window is None:
                    return None
                differences = await self._reconciler.repair(transaction, window)
                await self._reconciler.advance(transaction, window)
        except StatementTimeoutError:
            if window is None:
                raise
            # The window may hold too many rows for the statement timeout. Skip it, so that later windows are compared.
            async with self._database.transaction() as transaction:
                await self._reconciler.skip(transaction, window)
            logger.warning("reconciliation window skipped", extra={"begins": window.start.isoformat()})
            return window, {}
        return window, differences
