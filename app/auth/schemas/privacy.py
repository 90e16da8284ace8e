"""Schemas of account erasure."""

from datetime import datetime
from typing import Literal

from pydantic import (
    Field,
)

from app.auth.validators import (
    SubmittedPassword,
)
from app.core.schema_types import RequestModel, ResponseModel


class AccountErasure(RequestModel):
    """Password confirmation of an erasure."""

    password: SubmittedPassword = Field(
        repr=False,
        examples=["correct horse battery staple"],
        description="The password of the account, as a confirmation.",
    )


class RemovedItem(ResponseModel):
    """Data that was deleted."""

    store: Literal["postgresql", "redis"] = Field(description="Store of the items.")
    what: str = Field(description="Name of the table or of the kind of copy.")
    count: int = Field(description="Number of items.")


class ExpiringItem(ResponseModel):
    """Copies that could not be deleted and will expire."""

    store: Literal["redis"] = Field(description="Store of the items.")
    what: str = Field(description="Kind of the items.")
    reason: str = Field(description="Why it is not deleted at once.")


class KeptItem(ResponseModel):
    """Data that is retained."""

    store: Literal["postgresql"] = Field(description="Store of the items.")
    what: str = Field(description="Kind of the items.")
    count: int = Field(description="Number of items.")
    reason: str = Field(description="Why they remain.")


class ErasureReceipt(ResponseModel):
    """Deleted, expiring and retained data of an erased account."""

    erased_at: datetime = Field(description="Time of the erasure.")
    removed: list[RemovedItem] = Field(description="Items that were deleted, by kind.")
    expiring: list[ExpiringItem] = Field(description="Empty unless Redis was unavailable.")
    kept: list[KeptItem] = Field(description="Items that remain, and why.")
