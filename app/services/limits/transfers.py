"""Limiter of exports, imports and copies per account."""

from app.config import Settings
from app.services.limits.concurrency import ConcurrencyLimiter


def new_transfer_limiter(settings: Settings) -> ConcurrencyLimiter:
    """Return a limiter of `TRANSFERS_PER_USER` transfers per account.

    A request gives its place back when its response begins, but an export reads and sends data for minutes.
    """
    return ConcurrencyLimiter(
        settings.TRANSFERS_PER_USER,
        code="too_many_transfers",
        detail="Too many exports, imports or copies are running.",
        retry_after=5,
    )
