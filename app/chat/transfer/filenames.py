"""`Content-Disposition` headers of downloads, for titles in any script (RFC 6266, RFC 8187)."""

import unicodedata
from urllib.parse import quote

from app.core.text import is_blank

_MAX_BYTES = 120
"""Maximum length of a name in UTF-8, without its extension: file systems allow 255 bytes."""
_RESERVED = frozenset('<>:"/\\|?*;%')
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"com{number}" for number in range(10)), *(f"lpt{number}" for number in range(10)))
)
"""Names that Windows does not allow for files."""


def content_disposition(title: str, extension: str) -> str:
    """Return the header of an attachment that is named after a title."""
    name = file_name(title)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = file_name(plain) if any(map(str.isalnum, plain)) else "conversation"
    header = f'attachment; filename="{plain}.{extension}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}.{extension}"


def file_name(title: str) -> str:
    """Return a title as the name of a file: one line, without characters that a file system or a shell interprets.

    Characters of format such as those that change the direction of writing are removed: they can disguise an extension.
    """
    cleaned = (" " if character in _RESERVED or is_blank(character) else character for character in title)
    name = " ".join("".join(cleaned).split()).strip(". -~'")
    name = name.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").strip(". -~'")
    return name if name and name.partition(".")[0].lower() not in _DEVICES else "conversation"
