"""Texts of the web application in English, by their keys: the tests find buttons and fields by what a reader sees."""

import json
from functools import cache
from typing import Any

from local.npm import FRONTEND


@cache
def _area(name: str) -> dict[str, Any]:
    return dict(json.loads((FRONTEND / "src" / "locales" / "en" / f"{name}.json").read_text()))


def text(key: str, **values: object) -> str:
    """Return a text such as `chat.answer.copy`, with its placeholders replaced. Of plural forms, the last one."""
    area, *path = key.split(".")
    found: Any = _area(area)
    for part in path:
        found = found[part]
    result = str(found).rsplit(" | ", 1)[-1]
    for name, value in values.items():
        result = result.replace(f"{{{name}}}", str(value))
    return result
