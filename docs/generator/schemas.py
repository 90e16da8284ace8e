"""Pages of the schemas: every field of requests, responses and events, from the OpenAPI documents."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.generator.markdown import code, table
from docs.generator.openapi import documents_by_service
from docs.generator.paths import REFERENCE

FOLDER = REFERENCE / "schemas"
_TITLES = {
    "auth": "Schemas of accounts and logins",
    "auth-administration": "Schemas of invitations, API keys and configuration",
    "chat": "Schemas of messages and usage",
    "sessions": "Schemas of sessions",
    "events": "Schemas of event streams, problems and transfer",
    "openai": "Schemas of the OpenAI-compatible API",
    "admin": "Schemas of the admin service",
    "reports": "Schemas of the reports",
}
_OPENAI = re.compile(
    r"Completion|OpenAI|Choice|AnswerMessage|Tool|Function|ResponseFormat|StreamOptions|RequestMessage"
)
_EVENTS = re.compile(r"Event$|^Problem|Import|LeftOut|Share|Search|Snippet")
_SESSIONS = re.compile(r"^Session|^Active|Archiv|Deleted")
_AUTH = re.compile(r"Admin|Invitation|ApiKey|Config|Rules|Limits|Reasons")
_REPORTS = re.compile(r"Report$|Row$|Figures$|Counts$|Percentiles|Overview")


def _page(service: str, name: str) -> str:
    if _OPENAI.search(name):
        return "openai"
    if service == "chat" and _EVENTS.search(name):
        return "events"
    if service == "chat" and _SESSIONS.search(name):
        return "sessions"
    if service == "auth" and _AUTH.search(name):
        return "auth-administration"
    return "reports" if service == "admin" and _REPORTS.search(name) else service


def pages_of_schemas() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the page and the schema of each name. A schema of several services is on the page of the first one."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for service, document in documents_by_service().items():
        for name, schema in sorted(document["components"]["schemas"].items()):
            key = name if name not in found or found[name][1] == schema else f"{service.capitalize()}{name}"
            if name.startswith("Body_"):
                continue
            found.setdefault(key, (_page(service, name), schema))
    return found


def _type(schema: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one for each form of a schema
    if "$ref" in schema:
        return code(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(_type(each) for each in alternatives))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(kind, list):
        return " or ".join(kind)
    return " ".join(filter(None, [str(schema.get("format", "")), str(kind or "any value")]))


_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "`{}`",
}


def _limits(schema: Mapping[str, Any]) -> str:
    variants = [schema, *schema.get("anyOf", ())]
    return ", ".join(text.format(each[name]) for each in variants for name, text in _LIMITS.items() if name in each)


def _section(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = []
    for field, properties in schema.get("properties", {}).items():
        default = properties.get("default")
        presence = "required" if field in required else "optional"
        if default is not None:
            presence = f"default `{json.dumps(default)}`"
        limits = _limits(properties)
        kind = _type(properties) + (f"; {limits}" if limits else "")
        rows.append((code(field), kind, presence, properties.get("description", "")))
    text = " ".join(str(schema.get("description", "")).split())
    return "\n\n".join(
        filter(None, [f"## `{name}`", text, table(("Field", "Type", "Presence", "Meaning"), rows) if rows else ""])
    )


def documents() -> dict[Path, str]:
    """Return the pages."""
    sections: dict[str, list[str]] = {page: [] for page in _TITLES}
    index: dict[str, list[str]] = {page: [] for page in _TITLES}
    for name, (page, schema) in sorted(pages_of_schemas().items()):
        sections[page].append(_section(name, schema))
        index[page].append(f"[`{name}`]({page}.md#{name.lower()})")
    pages = {
        FOLDER / f"{page}.md": "\n\n".join([f"# {title}", "[All schemas](README.md).", *sections[page]]) + "\n"
        for page, title in _TITLES.items()
    }
    count = sum(len(schema.get("properties", {})) for _, schema in pages_of_schemas().values())
    lines = [
        "# Schemas",
        "",
        f"Every field of requests, responses and events: {len(pages_of_schemas())} schemas with {count} fields. These",
        "pages are generated from the [OpenAPI documents](../../openapi/openapi.json). In responses, `required` means",
        "that the field is always present.",
    ]
    for page, title in _TITLES.items():
        lines += ["", f"## {title}", "", f"On [{page}.md]({page}.md): {', '.join(index[page])}."]
    pages[FOLDER / "README.md"] = "\n".join(lines) + "\n"
    return pages
