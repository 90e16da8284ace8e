"""Conditions for rows with an email address or a user name, in any spelling."""

from typing import Any

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from app.core.identity import canonical_email, canonical_username, is_address
from app.database.models import Invitation, OutgoingMail, User


def account_has_login(login: str) -> ColumnElement[bool]:
    """Return the condition for the account with an address or user name. Two rows match only if accounts collide."""
    if is_address(login):
        return account_has_email(login)
    return _is(User.username_canonical, canonical_username(login), User.username, login)


def account_has_email(address: str) -> ColumnElement[bool]:
    """Return the condition for the account of an address. Two rows match only if accounts collide."""
    return _is(User.email_canonical, canonical_email(address), User.email, address)


def invitation_has_email(address: str) -> ColumnElement[bool]:
    """Return the condition for the invitation of an address."""
    return _is(Invitation.email_canonical, canonical_email(address), Invitation.email, address)


def mail_has_recipient(address: str) -> ColumnElement[bool]:
    """Return the condition for emails to an address."""
    return _is(OutgoingMail.recipient_canonical, canonical_email(address), OutgoingMail.recipient, address)


EXACT_ACCOUNT_FIRST: ColumnElement[Any] = and_(User.email_canonical.is_not(None), User.username_canonical.is_not(None))
"""Order of accounts that collide: the one without a canonical form is found by exactly its stored spelling."""


def _is(
    canonical_column: InstrumentedAttribute[str | None], canonical: str, column: InstrumentedAttribute[str], text: str
) -> ColumnElement[bool]:
    return or_(canonical_column == canonical, and_(canonical_column.is_(None), column == text))
