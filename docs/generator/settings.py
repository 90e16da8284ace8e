"""The page of the settings and the entries of `.env.example`, from the classes in `app/config/`."""

import inspect
import re
from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.config import Settings
from app.config.secret_files import secret_names
from docs.generator.markdown import code, codes, table
from docs.generator.paths import REFERENCE, ROOT
from docs.generator.source import modules

PAGE = REFERENCE / "settings.md"
ENV_EXAMPLE = ROOT / ".env.example"
_TITLES = {"Auth": "Authentication", "Llm": "Language models", "Limit": "Limits and quotas", "Webhook": "Webhooks"}
"""Headings where the name of the mixin is not a good one."""
_UNITS = (
    (r"in seconds|\bseconds\b", "s"),
    (r"\bminutes\b", "min"),
    (r"\bhours\b", "h"),
    (r"\bdays\b", "d"),
    (r"\bbytes\b", "bytes"),
    (r"US dollars", "US dollars"),
    (r"\btokens\b", "tokens"),
)
_SHORT = {"le": "≤", "ge": "≥", "lt": "<", "gt": ">"}


def page() -> str:
    """Return the page of the settings: a table for each mixin of `Settings`."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables, or lines of a `.env` file in the working directory of the service.",
        "A service with a missing or invalid setting exits at start with one line that names it and the reason.",
        "",
        "Secrets can be in files: a setting below with the suffix `_FILE` is the path of a file with the value, of",
        "which the line end is removed. A setting and its file must not both be set in one place. The settings are",
        f"{', '.join(code(name) for name in secret_names(Settings))}.",
        "",
        "**Used in** names the packages and modules below `app/` that read the setting. This page is generated from",
        "the classes in `app/config/`. Variables of tools: [commands](commands.md#environment-variables-of-tools).",
    ]
    # Pydantic orders the fields of a class by its bases from the last to the first.
    for mixin in reversed(Settings.__bases__):
        name = mixin.__name__.removesuffix("Settings")
        rows = [
            (code(setting), _default(field), _range(field), _readers(setting), field.description or "")
            for setting, field in _fields(mixin)
        ]
        lines += ["", f"## {_TITLES.get(name, name)}", "", inspect.getdoc(mixin) or "", ""]
        lines.append(table(("Name", "Default", "Values", "Used in", "Description"), rows))
    return "\n".join(lines) + "\n"


def _fields(mixin: type) -> list[tuple[str, FieldInfo]]:
    return [(name, field) for name, field in Settings.model_fields.items() if name in mixin.__annotations__]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "**required**"
    value = _format_value(field.default)
    return code(value) if value else "none"


def _format_value(value: object) -> str:
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(field: FieldInfo) -> str:
    """Return the type, the unit and the limits of a setting."""
    annotation = field.annotation
    text = str(annotation)
    if "Literal" in text:
        return codes(re.findall(r"'([^']*)'", text))
    limits = _limits(field)
    if annotation is bool:
        return "`true`, `false`"
    is_number = any(kind in text for kind in ("int", "float", "Decimal"))
    kind = "number" if is_number else "list" if "list" in text else "text"
    unit = (
        next((unit for pattern, unit in _UNITS if re.search(pattern, field.description or "")), "") if is_number else ""
    )
    return ", ".join(filter(None, [f"{kind} ({unit})" if unit else kind, " and ".join(limits)]))


def _limits(field: FieldInfo) -> list[str]:
    """Return the limits of a number; of several maximums the smallest."""
    found = [
        (sign, value)
        for each in field.metadata
        for name, sign in _SHORT.items()
        if isinstance(value := getattr(each, name, None), int | float)
    ]
    smallest = min((value for sign, value in found if sign == "≤"), default=None)
    lower = [f"{sign} {value:g}" for sign, value in found if sign != "≤"]
    return lower if smallest is None else [*lower, f"≤ {smallest:g}"]


@cache
def _sources() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in modules("app"):
        relative = path.relative_to(ROOT / "app")
        name = relative.parts[0] if len(relative.parts) == 1 else "/".join(relative.parts[:2]).removesuffix(".py")
        if relative.parts[0] != "config":
            found.setdefault(name, set()).update(re.findall(r"settings(?:\(\))?\.(\w+)", path.read_text()))
    return found


def _readers(setting: str) -> str:
    readers = [name for name, words in _sources().items() if setting in words]
    if not readers:
        readers = [
            path.stem
            for path in modules("app/config")
            if len(re.findall(rf"\b{setting}\b", re.sub(r'"[^"\n]*"', "", path.read_text()))) > 1
        ]
        return f"{codes(f'config/{name}' for name in readers)}" if readers else "the libraries"
    return codes(readers)


def env_example() -> str:
    """Return `.env.example` with current descriptions and defaults, keeping its order and headings.

    Raises:
        SystemExit: a setting has no entry.

    """
    text = ENV_EXAMPLE.read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else _format_value(field.default)
        entry = f"# {field.description}\n#{name}={default}\n"
        text, count = re.subn(rf"^# .*\n#{name}=.*\n", lambda _, entry=entry: entry, text, flags=re.MULTILINE)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f".env.example: the entry for {name} is missing")
    return text


def documents() -> dict[Path, str]:
    """Return the page and `.env.example`."""
    return {PAGE: page(), ENV_EXAMPLE: env_example()}
