"""Reports as CSV: as RFC 4180 has it, and harmless where a spreadsheet opens them."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TypeVar

from anyio import SpooledTemporaryFile

from app.core.types import ResponseModel

Row = TypeVar("Row", bound=ResponseModel)

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet take a text for more than a text (OWASP, CSV injection)."""
_MAX_MEMORY_BYTES = 256 * 1024
_ROWS_PER_BATCH = 200
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that is complete: nothing is held for a client that takes its time but this."""

    size: int
    pieces: AsyncGenerator[bytes]


async def write_csv(kind: type[Row], rows: AsyncGenerator[Row]) -> CsvFile:
    """Write rows of a kind, under the names of their fields, into a file. A large one is on disk."""
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(SpooledTemporaryFile[bytes](max_size=_MAX_MEMORY_BYTES))
        await stack.enter_async_context(aclosing(rows))
        await file.write(encode_rows([kind.model_fields]))
        async for batch in _batches(rows):
            await file.write(encode_rows(row.model_dump(mode="json").values() for row in batch))
            await asyncio.sleep(0)  # others have their turn: rows that are there already are written without any wait
        size = await file.tell()
        await file.seek(0)
        stack.pop_all()
    return CsvFile(size, _chunks(file))


async def iterate_rows(rows: Iterable[Row]) -> AsyncGenerator[Row]:
    """Give rows that are there already."""
    for row in rows:
        yield row


def encode_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Write rows as they stand in a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(_escape_formula, row) for row in rows)
    return text.getvalue().encode()


async def _batches(rows: AsyncGenerator[Row]) -> AsyncGenerator[list[Row]]:
    batch: list[Row] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_PER_BATCH:
            yield batch
            batch = []
    yield batch


async def _chunks(file: SpooledTemporaryFile[bytes]) -> AsyncGenerator[bytes]:
    async with file:
        while piece := await file.read(_CHUNK_BYTES):
            yield piece


def _escape_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value
