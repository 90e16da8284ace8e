"""Tables of the search index: documents, the queue of changed texts, counters, and progress of the first indexing."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class SearchDocument(IdMixin, Base):
    """Indexed text of a message, or of the title of a session. Deleting its source deletes it."""

    __tablename__ = "search_documents"

    session_id: Mapped[int] = mapped_column(BigInteger)
    """Session of the message or title. Without a foreign key, whose check would lock the session of a running turn."""
    message_id: Mapped[int | None] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), unique=True)
    """Message; null for a title. Deleting the message deletes the row."""
    title_of_id: Mapped[int | None] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    """Session whose title it is; null for a message. Deleting the session deletes the row."""
    terms: Mapped[str] = mapped_column(TSVECTOR)
    """Lexemes with their positions.

    Each begins with the owner and the chunk of the document: the documents of a user are numbered, and 4096 consecutive
    numbers are a chunk.
    """
    created_at: Mapped[datetime]
    """Time of the message; for a title, the time of the creation of its session."""

    __table_args__ = (
        CheckConstraint("(message_id IS NULL) <> (title_of_id IS NULL)", name="one_source"),
        Index(
            "uq_search_documents_title_of_id",
            "title_of_id",
            unique=True,
            postgresql_where=text("title_of_id IS NOT NULL"),
        ),
        # Without a pending list, which every search would have to read, including the texts of other users.
        Index("ix_search_documents_terms", "terms", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    )


class SearchPending(IdMixin, CreatedMixin, Base):
    """Message or title that was written and is not indexed yet. Triggers insert rows.

    The worker deletes them once it has indexed the text, and so does a search of the owner.

    Without foreign keys: rows of deleted messages are discarded.
    """

    __tablename__ = "search_pending"

    session_id: Mapped[int] = mapped_column(BigInteger, index=True)
    """Session. Without a foreign key: rows of deleted texts are discarded."""
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    """Message. Null: the title of the session."""


class SearchOwner(Base):
    """Number of documents of a user that were numbered, including deleted ones. It determines their chunks."""

    __tablename__ = "search_owners"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    """Account; deleted with it."""
    documents: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of documents that were numbered, including deleted ones. It determines the chunk of the next document."""

    __table_args__ = (CheckConstraint("documents >= 0", name="documents"),)


class SearchBackfill(Base):
    """Progress of queueing the texts that were stored before the index existed, one row for each table."""

    __tablename__ = "search_backfill"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """1: messages, 2: titles."""
    after_id: Mapped[int] = mapped_column(BigInteger)
    """Key of the last queued row."""
    last_id: Mapped[int] = mapped_column(BigInteger)
    """Key of the last row to queue."""

    __table_args__ = (CheckConstraint("id IN (1, 2)", name="known"),)
