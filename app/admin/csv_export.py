"""CSV encoding of reports (RFC 4180), protected against formula injection in spreadsheets."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TypeVar

from anyio import SpooledTemporaryFile

from app.core.schema_types import ResponseModel

CsvRow = TypeVar("CsvRow", bound=ResponseModel)

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters that spreadsheets interpret as a formula (OWASP, CSV injection)."""
_MAX_MEMORY_BYTES = 256 * 1024
"""Size above which a file is moved from memory to disk."""
_ROWS_PER_BATCH = 200
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CsvFile:
    """Complete CSV file in memory or on disk. It needs no database connection while a client downloads it."""

    size: int
    """Size in bytes."""
    chunks: AsyncGenerator[bytes]


async def write_csv(row_type: type[CsvRow], rows: AsyncGenerator[CsvRow]) -> CsvFile:
    """Write a header with the field names of `row_type`, and the rows, to a temporary file."""
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(SpooledTemporaryFile[bytes](max_size=_MAX_MEMORY_BYTES))
        await stack.enter_async_context(aclosing(rows))
        await file.write(encode_rows([row_type.model_fields]))
        async for batch in _batches(rows):
            await file.write(encode_rows(row.model_dump(mode="json").values() for row in batch))
            await asyncio.sleep(0)  # rows that are in memory need no I/O: let other requests run between two batches
        size = await file.tell()
        await file.seek(0)
        stack.pop_all()
    return CsvFile(size, _read_chunks(file))


async def iterate_rows(rows: Iterable[CsvRow]) -> AsyncGenerator[CsvRow]:
    """Yield rows that are in memory."""
    for row in rows:
        yield row


def encode_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Encode rows as lines of a CSV file in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(_escape_formula, row) for row in rows)
    return text.getvalue().encode()


async def _batches(rows: AsyncGenerator[CsvRow]) -> AsyncGenerator[list[CsvRow]]:
    batch: list[CsvRow] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_PER_BATCH:
            yield batch
            batch = []
    yield batch


async def _read_chunks(file: SpooledTemporaryFile[bytes]) -> AsyncGenerator[bytes]:
    async with file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk


def _escape_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value
