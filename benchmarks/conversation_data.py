"""Generator of conversations: fills PostgreSQL in bulk with the sessions and messages of many users.

`python -m benchmarks.conversation_data URL` fills a migrated database without rows. `URL` belongs to a superuser,
because foreign keys and triggers are not executed. `BENCH_SESSIONS` is the number of sessions, with ten
messages on average.
"""

import io
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg2

from app.services.search.documents import CHUNK_SIZE, lexeme_prefix
from benchmarks.conversation_texts import SampleText, sample_texts

HEAVY_MESSAGES: Final = 100_000
"""Maximum number of messages of the heavy user, who has the most."""
READER_SESSIONS: Final = 200
"""Maximum number of sessions of the reader, who has the same ones in data of every size."""
READER: Final = "user1"
HEAVY_USER: Final = "user2"
"""User names of the two users whose requests are measured."""
RARE_WORD: Final = "zyxwvut"
"""Word of a single message of the reader and of the heavy user."""
_RARE_AT: Final = 500
"""Number of the message with the rare word."""
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
_MESSAGE_COLUMNS = (
    "id, uuid, session_id, seq, parent_id, depth, jump_id, jump_depth, role, content, status, created_at, updated_at"
)
_DOCUMENT_COLUMNS = "session_id, message_id, title_of_id, terms, created_at"


def jump_depths(count: int) -> list[int]:
    """Return the depth to which the jump pointer of each of the first `count` messages leads; 0: it has none.

    Index 0 is unused. As the trigger of `chat_messages` computes it, for a session without branches.
    """
    depths = [0, 0]
    for parent in range(1, count):
        jump = depths[parent]
        depths.append(depths[jump] if parent - jump == jump - depths[jump] else parent)
    return depths


_JUMP_DEPTHS: Final = jump_depths(max(_MESSAGES_PER_SESSION))


@dataclass(frozen=True, slots=True)
class DataSize:
    """Amount of conversations."""

    sessions: int

    @property
    def users(self) -> int:
        """Number of users: the reader, the heavy user, and the others."""
        return max(self.sessions // _SESSIONS_PER_USER, 3)

    @property
    def reader_sessions(self) -> int:
        """Number of sessions of the reader."""
        return min(READER_SESSIONS, self.sessions // 5)

    @property
    def heavy_messages(self) -> int:
        """Number of messages of the heavy user: at most a fifth of all."""
        return min(HEAVY_MESSAGES, self.sessions * 2)


@dataclass(frozen=True, slots=True)
class _Template:
    content: str
    terms: str


class _TableRows(NamedTuple):
    """Rows in the text format of COPY."""

    table: str
    columns: str
    rows: io.StringIO


class ConversationWriter:
    """Writes sessions in the order of their time. Those of the heavy user are spread evenly among them."""

    def __init__(self, connection: Any, size: DataSize, *, seed: int = 1) -> None:  # noqa: ANN401 - psycopg2 has no types
        """Take a connection of a superuser in autocommit mode."""
        self._connection = connection
        self._size = size
        self._source = random.Random(seed)  # noqa: S311 - not a secret
        self._templates = [_template(sample) for sample in sample_texts(_TEXTS)]
        self._reader_source = random.Random(seed)  # noqa: S311 - not a secret
        self._documents: Counter[int] = Counter()
        self._messages: Counter[int] = Counter()
        self._reader_sessions = 0
        self._message_id = 0
        self._first_user_id = 0
        self._start = datetime.now(UTC) - _SPAN

    @property
    def reader_id(self) -> int:
        """Internal key of the reader."""
        return self._first_user_id

    @property
    def heavy_id(self) -> int:
        """Internal key of the heavy user."""
        return self._first_user_id + 1

    def fill(self) -> None:
        """Add users, and fill the empty tables of sessions, messages and the search index."""
        _execute(self._connection, "SET session_replication_role = replica")
        self._write_users()
        _execute(self._connection, "DROP INDEX ix_search_documents_terms")
        # The next batch is generated while PostgreSQL stores the previous one.
        with ThreadPoolExecutor(max_workers=1) as copying:
            previous: Future[None] | None = None
            for first in range(1, self._size.sessions + 1, _BATCH):
                batch = self._batch(first, min(first + _BATCH, self._size.sessions + 1))
                if previous is not None:
                    previous.result()
                previous = copying.submit(self._copy, batch)
            if previous is not None:
                previous.result()
        self._write_owners()
        self._synchronize_sequences()
        _execute(self._connection, "SET maintenance_work_mem = '2GB'")
        _execute(self._connection, "SET max_parallel_maintenance_workers = 2")
        _execute(
            self._connection,
            "CREATE INDEX ix_search_documents_terms ON search_documents USING gin (terms) WITH (fastupdate = off)",
        )
        _execute(self._connection, "SET session_replication_role = origin")
        _execute(self._connection, "VACUUM ANALYZE")

    def _write_users(self) -> None:
        rows = _execute(
            self._connection,
            "INSERT INTO users (uuid, email, username, password_hash, is_verified)"
            " SELECT gen_random_uuid(), 'user' || n || '@example.com', 'user' || n, '', true"
            " FROM generate_series(1, %s) AS n RETURNING id",
            [self._size.users],
        )
        self._first_user_id = min(row[0] for row in rows)

    def _batch(self, first: int, end: int) -> list[_TableRows]:
        sessions, messages, documents = io.StringIO(), io.StringIO(), io.StringIO()
        for session_id in range(first, end):
            self._write_session(session_id, sessions, messages, documents)
        return [
            _TableRows("chat_sessions", _SESSION_COLUMNS, sessions),
            _TableRows("chat_messages", _MESSAGE_COLUMNS, messages),
            _TableRows("search_documents", _DOCUMENT_COLUMNS, documents),
        ]

    def _copy(self, batch: list[_TableRows]) -> None:
        for table, columns, rows in batch:
            rows.seek(0)
            with self._connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", rows)

    def _write_session(
        self, session_id: int, sessions: io.StringIO, messages: io.StringIO, documents: io.StringIO
    ) -> None:
        begun = self._start + _SPAN * session_id / self._size.sessions
        user_id = self._owner(session_id)
        source = self._reader_source if user_id == self.reader_id else self._source
        count = source.choice(_MESSAGES_PER_SESSION)
        title = source.choice(self._templates)
        marker = f"'{self._prefix(user_id)}!'"
        documents.write(f"{session_id}\t\\N\t{session_id}\t{marker} {self._terms(user_id, title)}\t{begun}\n")
        first_id = self._message_id + 1
        content = ""
        for seq in range(1, count + 1):
            self._message_id += 1
            template = source.choice(self._templates)
            content, terms = template.content, self._terms(user_id, template)
            self._messages[user_id] += 1
            if self._messages[user_id] == _RARE_AT and user_id <= self.heavy_id:
                content += f" {RARE_WORD}"
                terms += f" '{self._prefix(user_id)}/{RARE_WORD}':40"
            at = begun + timedelta(minutes=seq)
            parent = self._message_id - 1 if seq > 1 else "\\N"
            jump_depth = _JUMP_DEPTHS[seq]
            jump = first_id + jump_depth - 1 if jump_depth else "\\N"
            role = "user" if seq % 2 else "assistant"
            uuid = _uuid(self._message_id, at, self._source)
            messages.write(
                f"{self._message_id}\t{uuid}\t{session_id}\t{seq}\t{parent}\t{seq}\t{jump}\t{jump_depth}\t{role}"
                f"\t{content}\tcomplete\t{at}\t{at}\n"
            )
            documents.write(f"{session_id}\t{self._message_id}\t\\N\t{terms}\t{at}\n")
        ended = begun + timedelta(minutes=count)
        sessions.write(
            f"{session_id}\t{_uuid(session_id, begun, self._source)}\t{user_id}\t{title.content}\t{count}\t{count}\t"
            f"{content[:100]}\t{ended}\t{begun}\t{ended}\n"
        )

    def _owner(self, session_id: int) -> int:
        # The sessions of reader and heavy user are spread evenly over the time.
        if session_id * self._size.reader_sessions // self._size.sessions > self._reader_sessions:
            self._reader_sessions += 1
            return self.reader_id
        if self._messages[self.heavy_id] < self._size.heavy_messages * session_id / self._size.sessions:
            return self.heavy_id
        return self.heavy_id + 1 + int((self._size.users - 2) * self._source.random() ** 2)

    def _prefix(self, user_id: int) -> str:
        return lexeme_prefix(user_id, self._documents[user_id] // CHUNK_SIZE)

    def _terms(self, user_id: int, template: _Template) -> str:
        """Return the terms of the next document of the user."""
        terms = template.terms.replace(_PREFIX, self._prefix(user_id))
        self._documents[user_id] += 1
        return terms

    def _write_owners(self) -> None:
        rows = io.StringIO("".join(f"{user_id}\t{count}\n" for user_id, count in self._documents.items()))
        with self._connection.cursor() as cursor:
            cursor.copy_expert("COPY search_owners (user_id, documents) FROM STDIN", rows)

    def _synchronize_sequences(self) -> None:
        for table in ("chat_sessions", "chat_messages"):
            setval = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"  # noqa: S608
            _execute(self._connection, setval)


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


def _execute(connection: Any, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


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
