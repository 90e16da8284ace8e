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

    password: SubmittedPassword = Field(repr=False, examples=["correct horse battery staple"])


class RemovedItem(ResponseModel):
    """Data that was deleted."""

    store: Literal["postgresql", "redis"]
    what: str = Field(description="Name of the table or of the kind of copy.")
    count: int


class ExpiringItem(ResponseModel):
    """Copies that could not be deleted and will expire."""

    store: Literal["redis"]
    what: str
    reason: str


class KeptItem(ResponseModel):
    """Data that is retained."""

    store: Literal["postgresql"]
    what: str
    count: int
    reason: str


class ErasureReceipt(ResponseModel):
    """Deleted, expiring and retained data of an erased account."""

    erased_at: datetime
    removed: list[RemovedItem]
    expiring: list[ExpiringItem] = Field(description="Empty unless Redis was unavailable.")
    kept: list[KeptItem]
