"""Uploaded files: the body of a request as a temporary file, whether sent raw or as `multipart/form-data`."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import IO

from anyio import to_thread
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from app.core.exceptions import BadRequestError, RequestTimeoutError

_IDLE_TIMEOUT = 20.0
"""Seconds without data after which an upload is refused. The gateway, which sends no response then, waits longer."""
_UPLOAD_TIMEOUT = 600.0
"""Seconds after which an upload is refused that never stops, but is too slow."""
_MEMORY_BYTES = 1024 * 1024
"""Size above which a file is moved from memory to disk."""
_WRITE_BYTES = 256 * 1024
_MAX_PARTS = 100
"""Maximum number of fields of a form. Each takes time of the process in which it serves nobody else."""


def open_upload() -> IO[bytes]:
    """Return a temporary file, which is deleted when it is closed."""
    return tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)


async def receive_upload(chunks: AsyncIterator[bytes], content_type: str, file: IO[bytes]) -> None:
    """Write an uploaded file to `file`. The size of the body is limited before.

    Raises:
        BadRequestError: the body is not one file as `multipart/form-data`.
        RequestTimeoutError: no data arrived for `_IDLE_TIMEOUT`, or not all of it within `_UPLOAD_TIMEOUT`.

    """
    kind, options = parse_options_header(content_type)
    is_form = kind == b"multipart/form-data"
    form = _FormFile(options.get(b"boundary", b"")) if is_form else None
    buffer = bytearray()
    async for chunk in _until_idle(chunks):
        buffer += form.extract(chunk) if form else chunk
        if len(buffer) >= _WRITE_BYTES:
            await to_thread.run_sync(file.write, bytes(buffer))
            buffer.clear()
    await to_thread.run_sync(file.write, bytes(buffer))
    if form:
        form.check_complete()


async def _until_idle(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    now = asyncio.get_running_loop().time
    deadline = now() + _UPLOAD_TIMEOUT
    while True:
        try:
            async with asyncio.timeout(min(_IDLE_TIMEOUT, deadline - now())):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise RequestTimeoutError from None
        if chunk is None:
            return
        yield chunk


@dataclass(slots=True)
class _FormFile:
    """Extracts the content of the only file of a form. Other fields are ignored."""

    boundary: bytes
    parts: int = 0
    files: int = 0
    is_complete: bool = False
    _parser: MultipartParser | None = None
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _is_file: bool = False
    _content: bytearray = field(default_factory=bytearray)

    def extract(self, chunk: bytes) -> bytes:
        """Return what the next chunk of the body has of the file."""
        try:
            if self._parser is None:
                self._parser = self._open()
            self._parser.write(chunk)
        except FormParserError:
            raise _bad_form() from None
        content = bytes(self._content)
        self._content.clear()
        return content

    def check_complete(self) -> None:
        """Check that the form ended and had one file."""
        if not self.is_complete or self.files != 1:
            raise _bad_form()

    def _open(self) -> MultipartParser:
        if not self.boundary:
            raise _bad_form()

        def into(target: bytearray) -> Callable[[bytes, int, int], None]:
            def extend(data: bytes, start: int, end: int) -> None:
                target.extend(data[start:end])

            return extend

        return MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": into(self._header),
                "on_header_value": into(self._value),
                "on_header_end": self._end_header,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
        )

    def _begin_part(self) -> None:
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise _bad_form()
        self._is_file = False

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_file = b"filename" in options or options.get(b"name") == b"file"
            self.files += self._is_file
        self._header.clear()
        self._value.clear()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._content += data[start:end]

    def _end(self) -> None:
        self.is_complete = True


def _bad_form() -> BadRequestError:
    return BadRequestError("The body must be a form with one file.", code="invalid_form")
