"""Events of JSON files: syntax and values, one after the other, whatever the size of the file."""

from collections.abc import Iterator
from typing import IO, Any, Final

import ijson

from app.chat.transfer.formats.surrogate_filter import SurrogateFilter
from app.core.exceptions import BadRequestError

STARTS: Final = frozenset({"start_map", "start_array"})
ENDS: Final = frozenset({"end_map", "end_array"})
"""Events of objects and lists."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_events(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the events of a file, each with its value.

    Raises:
        BadRequestError: the file is not JSON.

    """
    file.seek(0)
    if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        file.seek(0)
    try:
        # Without `use_float`, ijson 3.6.0 crashes on integers with more than 4300 digits, which Python refuses to read.
        yield from ijson.basic_parse(SurrogateFilter(file), use_float=True)
    except (ijson.JSONError, UnicodeDecodeError):
        raise BadRequestError(
            "The file is not valid JSON, or has numbers of more than 64 bits.", code="invalid_json"
        ) from None
