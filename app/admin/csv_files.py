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

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet take a text for more than a text (OWASP, CSV injection)."""
_IN_MEMORY = 256 * 1024
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that is complete: nothing is held for a client that takes its time but this."""

    size: int
    pieces: AsyncGenerator[bytes]


async def csv_file(kind: type[Row], rows: AsyncGenerator[Row]) -> CsvFile:
    """Write rows of a kind, under the names of their fields, into a file. A large one is on disk."""
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(SpooledTemporaryFile[bytes](max_size=_IN_MEMORY))
        await stack.enter_async_context(aclosing(rows))
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(kind.model_fields)
        async for row in rows:
            writer.writerow(map(_harmless, row.model_dump(mode="json").values()))
            if text.tell() > _PIECE:
                await _move(text, file)
        await _move(text, file)
        size = await file.tell()
        await file.seek(0)
        stack.pop_all()
    return CsvFile(size, _pieces(file))


async def each(rows: Iterable[Row]) -> AsyncGenerator[Row]:
    """Give rows that are there already."""
    for row in rows:
        yield row


async def _move(text: io.StringIO, file: SpooledTemporaryFile[bytes]) -> None:
    await file.write(text.getvalue().encode())
    text.seek(0)
    text.truncate()
    await asyncio.sleep(0)  # others have their turn: rows that are there already are written without any wait


async def _pieces(file: SpooledTemporaryFile[bytes]) -> AsyncGenerator[bytes]:
    async with file:
        while piece := await file.read(_PIECE):
            yield piece


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
