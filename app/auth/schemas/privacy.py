"""Erasure of an account."""

from datetime import datetime
from typing import Literal

from pydantic import (
    Field,
)

from app.auth.validators import (
    GivenPassword,
)
from app.core.types import RequestModel, ResponseModel


class AccountErasure(RequestModel):
    """Proof that it is the owner who erases the account."""

    password: GivenPassword = Field(repr=False, examples=["correct horse battery staple"])


class RemovedItem(ResponseModel):
    """Data that is gone."""

    store: Literal["postgresql", "redis"]
    what: str = Field(description="The table, or the kind of copy.")
    count: int


class ExpiringItem(ResponseModel):
    """Copies that could not be removed now."""

    store: Literal["redis"]
    what: str
    reason: str


class KeptItem(ResponseModel):
    """Data that stays."""

    store: Literal["postgresql"]
    what: str
    count: int
    reason: str


class ErasureReceipt(ResponseModel):
    """What became of everything that was held about an account."""

    erased_at: datetime
    removed: list[RemovedItem]
    expiring: list[ExpiringItem] = Field(description="Empty, unless Redis was away.")
    kept: list[KeptItem]
