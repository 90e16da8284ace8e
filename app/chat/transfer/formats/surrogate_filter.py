"""Filter for lone surrogates in the escapes of a JSON file.

The parser would refuse the file, or join them with the characters that follow.
"""

import re
from typing import IO

_REPLACEMENT = rb"\ufffd"
_PAIR_SIZE = 12
"""Size in bytes of the escapes of a surrogate pair."""
_ESCAPE_SIZE = 6
_BACKSLASH = b"\\"
_ESCAPE = re.compile(
    rb"\\(?:(?P<high>u[dD][89abAB][0-9a-fA-F]{2})(?P<pair>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|(?P<low>u[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_HIGH = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")


class SurrogateFilter:
    """File whose lone surrogates are U+FFFD. All other bytes, and the size of the file, are unchanged."""

    def __init__(self, file: IO[bytes]) -> None:
        """`file`: the JSON file, in UTF-8."""
        self._file = file
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, about `size` of them; nothing at the end of the file."""
        while True:
            chunk = self._file.read(size)
            data = self._rest + chunk
            end = _safe_end(data) if chunk else len(data)
            self._rest = data[end:]
            if end or not chunk:
                return _replace_lone(data[:end])


def _replace_lone(data: bytes) -> bytes:
    if rb"\ud" not in data and rb"\uD" not in data:
        return data
    return _ESCAPE.sub(_replacement, data)


def _replacement(escape: re.Match[bytes]) -> bytes:
    is_lone = escape["low"] or (escape["high"] and not escape["pair"])
    return _REPLACEMENT if is_lone else escape[0]


def _safe_end(data: bytes) -> int:
    """Return where data can be cut without cutting an escape or a surrogate pair."""
    tail = max(len(data) - _PAIR_SIZE, 0)
    found = data.find(_BACKSLASH, tail)
    if found < 0:
        return len(data)
    # Two backslashes are one escape, so a cut within a run of them is at an even distance from its start.
    start = found - _backslashes_before(data, found)
    end = start + (found - start) // 2 * 2
    first = end - _ESCAPE_SIZE
    if first >= 0 and _HIGH.fullmatch(data, first, end) and _backslashes_before(data, first) % 2 == 0:
        return first
    return end


def _backslashes_before(data: bytes, position: int) -> int:
    before = data[:position]
    return len(before) - len(before.rstrip(_BACKSLASH))
