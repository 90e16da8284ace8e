"""Generator of conversations: fills PostgreSQL in bulk with the sessions and messages of many users.

`python -m benchmarks.conversation_data URL` fills a migrated database without rows. `URL` belongs to a superuser, because
foreign keys and triggers are not executed. `BENCH_SESSIONS` is the number of sessions, with ten messages on average.
"""

import io
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg2

from app.services.search.documents import CHUNK_SIZE, lexeme_prefix
from benchmarks.conversation_texts import SampleText, sample_texts

HEAVY_MESSAGES: Final = 100_000
"""Number of messages of the user who has the most."""
RARE_WORD: Final = "zyxwvut"
"""Word of a single message of the heavy user."""
_MESSAGES_PER_SESSION: Final = (2, 4, 6, 8, 8, 10, 10, 12, 16, 24)
_SESSIONS_PER_USER: Final = 50
_TEXTS: Final = 20_000
_BATCH: Final = 2000
"""Number of sessions that are written at once."""
_SPAN: Final = timedelta(days=365)
_PREFIX: Final = "\x01"
"""Placeholder of the lexeme prefix in rendered terms."""

_SESSION_COLUMNS = (
    "id, uuid, user_id, title, last_seq, message_count, last_message_preview, last_message_at, created_at, updated_at"
)
_MESSAGE_COLUMNS = "id, uuid, session_id, seq, parent_id, role, content, status, created_at, updated_at"
_DOCUMENT_COLUMNS = "session_id, message_id, title_of_id, terms, created_at"


@dataclass(frozen=True, slots=True)
class DataSize:
    """Amount of conversations."""

    sessions: int
    heavy_messages: int = HEAVY_MESSAGES

    @property
    def users(self) -> int:
        """Number of users, including the heavy one, who is the first."""
        return max(self.sessions // _SESSIONS_PER_USER, 2)


@dataclass(frozen=True, slots=True)
class _Template:
    content: str
    terms: str


class ConversationWriter:
    """Writes sessions in the order of their time. Those of the heavy user are spread evenly among them."""

    def __init__(self, connection: Any, size: DataSize, *, seed: int = 1) -> None:  # noqa: ANN401 - psycopg2 has no types
        """`connection`: of a superuser, in autocommit mode."""
        self._connection = connection
        self._size = size
        self._source = random.Random(seed)  # noqa: S311 - not a secret
        self._templates = [_template(sample) for sample in sample_texts(_TEXTS)]
        self._documents: Counter[int] = Counter()
        self._message_id = 0
        self._heavy_messages = 0
        self._start = datetime.now(UTC) - _SPAN

    def fill(self) -> None:
        """Fill the empty tables of accounts, sessions, messages and the search index."""
        _execute(self._connection, "SET session_replication_role = replica")
        self._write_users()
        _execute(self._connection, "DROP INDEX ix_search_documents_terms")
        for first in range(1, self._size.sessions + 1, _BATCH):
            self._write_batch(first, min(first + _BATCH, self._size.sessions + 1))
        self._write_owners()
        self._synchronize_sequences()
        _execute(self._connection, "SET maintenance_work_mem = '1GB'")
        _execute(
            self._connection,
            "CREATE INDEX ix_search_documents_terms ON search_documents USING gin (terms) WITH (fastupdate = off)",
        )
        _execute(self._connection, "SET session_replication_role = origin")
        _execute(self._connection, "VACUUM ANALYZE")

    def _write_users(self) -> None:
        _execute(
            self._connection,
            "INSERT INTO users (uuid, email, username, password_hash)"
            " SELECT gen_random_uuid(), 'user' || n || '@example.com', 'user' || n, '' FROM generate_series(1, %s) AS n",
            [self._size.users],
        )

    def _write_batch(self, first: int, end: int) -> None:
        sessions, messages, documents = io.StringIO(), io.StringIO(), io.StringIO()
        for session_id in range(first, end):
            self._write_session(session_id, sessions, messages, documents)
        for table, columns, rows in (
            ("chat_sessions", _SESSION_COLUMNS, sessions),
            ("chat_messages", _MESSAGE_COLUMNS, messages),
            ("search_documents", _DOCUMENT_COLUMNS, documents),
        ):
            rows.seek(0)
            with self._connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", rows)

    def _write_session(
        self, session_id: int, sessions: io.StringIO, messages: io.StringIO, documents: io.StringIO
    ) -> None:
        begun = self._start + _SPAN * session_id / self._size.sessions
        user_id = self._owner(session_id)
        count = self._source.choice(_MESSAGES_PER_SESSION)
        title = self._source.choice(self._templates)
        terms = self._terms(user_id, title)
        marker = f"'{lexeme_prefix(user_id, self._documents[user_id] // CHUNK_SIZE)}!' "
        self._documents[user_id] += 1
        documents.write(f"{session_id}\t\\N\t{session_id}\t{marker}{terms}\t{begun}\n")
        question = ""
        for seq in range(1, count + 1):
            self._message_id += 1
            template = self._source.choice(self._templates)
            content, terms = template.content, self._terms(user_id, template)
            if user_id == 1:
                self._heavy_messages += 1
                if self._heavy_messages == self._size.heavy_messages // 3:
                    content += f" {RARE_WORD}"
                    prefix = lexeme_prefix(user_id, self._documents[user_id] // CHUNK_SIZE)
                    terms += f" '{prefix}/{RARE_WORD}':40"
            self._documents[user_id] += 1
            at = begun + timedelta(minutes=seq)
            uuid = _uuid(self._message_id, at, self._source)
            parent, role = (question, "assistant") if seq % 2 == 0 else ("\\N", "user")
            question = str(self._message_id)
            messages.write(
                f"{self._message_id}\t{uuid}\t{session_id}\t{seq}\t{parent}\t{role}\t{content}\tcomplete\t{at}\t{at}\n"
            )
            documents.write(f"{session_id}\t{self._message_id}\t\\N\t{terms}\t{at}\n")
        ended = begun + timedelta(minutes=count)
        sessions.write(
            f"{session_id}\t{_uuid(session_id, begun, self._source)}\t{user_id}\t{title.content}\t{count}\t{count}\t"
            f"{content[:100]}\t{ended}\t{begun}\t{ended}\n"
        )

    def _owner(self, session_id: int) -> int:
        # The number of the heavy user's messages grows in proportion to the time.
        if self._heavy_messages < self._size.heavy_messages * session_id / self._size.sessions:
            return 1
        return 2 + int((self._size.users - 1) * self._source.random() ** 2)

    def _terms(self, user_id: int, template: _Template) -> str:
        return template.terms.replace(_PREFIX, lexeme_prefix(user_id, self._documents[user_id] // CHUNK_SIZE))

    def _write_owners(self) -> None:
        rows = io.StringIO("".join(f"{user_id}\t{count}\n" for user_id, count in self._documents.items()))
        with self._connection.cursor() as cursor:
            cursor.copy_expert("COPY search_owners (user_id, documents) FROM STDIN", rows)

    def _synchronize_sequences(self) -> None:
        for table in ("chat_sessions", "chat_messages"):
            _execute(self._connection, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")


def _template(sample: SampleText) -> _Template:
    return _Template(_escape(sample.text), _escape(sample.terms.render(_PREFIX)))


def _escape(text: str) -> str:
    """Return a text for the text format of COPY."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _uuid(number: int, at: datetime, source: random.Random) -> str:
    """Return a UUID of version 7 of a given time, as the services create them."""
    milliseconds = int(at.timestamp() * 1000)
    digits = f"{milliseconds:012x}7{number & 0xFFF:03x}{0x8000 | source.getrandbits(14):04x}{number:012x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _execute(connection: Any, statement: str, parameters: Any = ()) -> None:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def main() -> int:
    """Fill the database of the URL on the command line."""
    connection = psycopg2.connect(sys.argv[1])
    connection.autocommit = True
    size = DataSize(int(os.environ.get("BENCH_SESSIONS", "1000000")))
    started = time.monotonic()
    writer = ConversationWriter(connection, size)
    writer.fill()
    print(f"{size.sessions:,} sessions in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
