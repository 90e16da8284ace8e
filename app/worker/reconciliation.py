"""Keeps the sums true to the ledger, whatever has happened to them."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.usage.reconciliation import Reconciler, TimeWindow

logger = logging.getLogger(__name__)

_PASS_INTERVAL = timedelta(days=1)
"""Between two passes over the whole ledger."""
_RUN_SECONDS = 1.0


class UsageReconciliation:
    """Compares sums with the ledger, again and again, a little at a time."""

    def __init__(self, database: Database, walk: Reconciler, *, round_seconds: float = _RUN_SECONDS) -> None:
        """Begin no other stretch in a round after so many seconds."""
        self._database = database
        self._walk = walk
        self._round_seconds = round_seconds

    async def compare_some(self) -> int:
        """Make one round. Return how many sums were mended."""
        deadline = time.monotonic() + self._round_seconds
        mended: Counter[str] = Counter()
        is_expected = True
        async with self._database.transaction() as transaction:
            await self._walk.prepare(transaction)
        while compared := await self._compare():
            place, differing = compared
            mended.update(differing)
            is_expected = is_expected and place.is_first_pass
            if time.monotonic() > deadline:
                break
        if mended:
            level = logging.INFO if is_expected else logging.WARNING
            logger.log(level, "sums differed from the ledger", extra={"mended": dict(mended)})
        return mended.total()

    async def _compare(self) -> tuple[TimeWindow, Mapping[str, int]] | None:
        place = None
        try:
            async with self._database.transaction() as transaction:
                place = await self._walk.find_place(transaction, pause=_PASS_INTERVAL)
                if place is None:
                    return None
                differing = await self._walk.mend(transaction, place)
                await self._walk.go_on(transaction, place)
        except DatabaseUnavailableError:
            if place is None:
                raise
            # Too much happened in it for the time a statement has. The others do not wait for it.
            async with self._database.transaction() as transaction:
                await self._walk.pass_over(transaction, place)
            logger.warning("sums were not compared", extra={"begins": place.begins.isoformat()})
            return place, {}
        return place, differing
