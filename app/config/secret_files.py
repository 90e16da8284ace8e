"""Secrets in files: `NAME_FILE` is the path of a file with the value of the secret setting `NAME`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

SUFFIX: Final = "_FILE"
MAX_BYTES: Final = 65_536
"""Maximum size of such a file."""


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting is, or may contain, a secret: it is not a part of the settings' text form."""
    return not field.repr or has_secret_type(field)


def has_secret_type(field: FieldInfo) -> bool:
    """Return whether a setting is a secret as a whole."""
    return SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))


def secret_names(settings_class: type[BaseModel]) -> list[str]:
    """Return the names of the secret settings of a class."""
    return [name for name, field in settings_class.model_fields.items() if is_secret(field)]


def read_secret_files(values: Mapping[str, str | None], names: Iterable[str]) -> dict[str, str]:
    """Return the values of the settings `names` whose file is in `values`, by name.

    Raises:
        ValueError: a setting has both a value and a file, or its file cannot be used. The message is one line and
            contains neither paths nor values.

    """
    found: dict[str, str] = {}
    for name in names:
        path = values.get(name + SUFFIX)
        if not path:
            continue
        if values.get(name):
            raise ValueError(f"{name}, {name}{SUFFIX}: set one of them, not both")
        found[name] = _read(f"{name}{SUFFIX}", Path(path))
    return found


def without_secret_files(values: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return `values` with the content of the files instead of their paths.

    Raises:
        ValueError: as `read_secret_files`.

    """
    names = list(names)
    found = read_secret_files(values, names)
    paths = {name + SUFFIX for name in names}
    return {name: value for name, value in values.items() if name not in paths} | found


def _read(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError(f"{name}: the file cannot be read") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{name}: the file is larger than {MAX_BYTES} bytes")
    try:
        # Editors append a line end, some begin with a byte order mark.
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{name}: the file is not text in UTF-8") from None
    if not text or "\0" in text:
        raise ValueError(f"{name}: the file is empty" if not text else f"{name}: the file is not text in UTF-8")
    return text


def environment_secret(values: Mapping[str, Any], name: str) -> str | None:
    """Return a secret of the environment that is not a setting, from its variable or its file. None: neither is set.

    Raises:
        ValueError: as `read_secret_files`.

    """
    return read_secret_files(values, [name]).get(name) or values.get(name) or None
