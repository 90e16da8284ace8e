"""The services that export, import and copy sessions."""

from dataclasses import dataclass
from typing import Self

from app.chat.idempotency.service import IdempotencyService
from app.chat.transfer.copies import SessionCopyService
from app.chat.transfer.export import ExportService
from app.chat.transfer.imports import ImportService
from app.http.dependencies import Resources
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.transfers import new_transfer_limiter


@dataclass(frozen=True, slots=True)
class TransferServices:
    """Services that move whole sessions."""

    exports: ExportService
    imports: ImportService
    copies: SessionCopyService
    user_limiter: ConcurrencyLimiter
    """Exports, imports and copies per account."""

    @classmethod
    def open(cls, resources: Resources, idempotency: IdempotencyService) -> Self:
        """Return the services. Running imports must be drained at the end."""
        settings, database = resources.settings, resources.database
        user_limiter = new_transfer_limiter(settings)
        upload_limiter = ConcurrencyLimiter(
            settings.IMPORTS_PER_PROCESS,
            code="too_many_imports",
            detail="Too many imports are running.",
            retry_after=15,
        )
        imports = ImportService(database, user_limiter, upload_limiter)
        resources.heartbeat.add_stats("imports", lambda: imports.running_count)
        return cls(
            exports=ExportService(database),
            imports=imports,
            copies=SessionCopyService(database, idempotency, user_limiter),
            user_limiter=user_limiter,
        )
