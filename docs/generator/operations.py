"""Pages of the API: each operation with its parameters, errors, idempotency and an example that was run."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docs.generator.examples import EXAMPLES
from docs.generator.idempotency import IDEMPOTENCY
from docs.generator.markdown import code, codes, sentence, table, with_blocks
from docs.generator.openapi import documents_by_service
from docs.generator.paths import REFERENCE

FOLDER = REFERENCE / "api"
PAGES: Mapping[str, tuple[str, ...]] = {
    "authentication": (
        r"/api/v1/auth/(login|refresh|logout|logout-all|sessions.*|password.*|email/.*)",
        r"/api/v1/auth/api-keys.*",
    ),
    "accounts": (r"/api/v1/auth/(config|register|me.*|profile|preferences)",),
    "account-administration": (r"/api/v1/auth/admin/.*", r"/api/v1/admin/users/.*"),
    "sessions": (
        r"/api/v1/chat/sessions(/archive|/delete)?",
        r"/api/v1/chat/sessions/\{session_id\}",
    ),
    "questions": (r"/api/v1/chat/(direct.*|models)", r"/api/v1/chat/sessions/\{session_id\}/messages(/stream)?"),
    "answers": (
        r"/api/v1/chat/sessions/\{session_id\}/(messages/.*|active)",
        r"/api/v1/chat/active",
    ),
    "sharing": (r"/api/v1/chat/(shares|shared.*)", r"/api/v1/chat/sessions/\{session_id\}/share"),
    "transfer": (
        r"/api/v1/chat/(export|import|imports/.*)",
        r"/api/v1/chat/sessions/\{session_id\}/(export|duplicate)",
    ),
    "search": (r"/api/v1/chat/search",),
    "usage-and-limits": (r"/api/v1/chat/(usage.*|quota)",),
    "openai": (r"/v1/.*",),
    "admin": (r"/api/v1/admin/(sessions.*|shares.*|audit.*|system)",),
    "analytics": (r"/api/v1/admin/(overview|analytics/.*)",),
    "reports": (r"/api/v1/admin/reports/.*",),
    "webhooks-administration": (r"/api/v1/admin/webhooks.*",),
}
"""Patterns of the paths on each page. An operation is on the first page with a pattern that matches."""

Operation = tuple[str, str, str, Mapping[str, Any]]
"""Method, path, service and description of an operation."""


@cache
def operations() -> tuple[Operation, ...]:
    """Return all operations in the order of their paths."""
    return tuple(
        (method.upper(), path, service, operation)
        for service, document in documents_by_service().items()
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )


def page_of(path: str) -> str:
    """Return the page of the operations of a path.

    Raises:
        SystemExit: no page has a pattern that matches.

    """
    for page, patterns in PAGES.items():
        if any(re.fullmatch(pattern, path) for pattern in patterns):
            return page
    raise SystemExit(f"no page of docs/reference/api has {path}: add it to PAGES of docs/generator/operations.py")


@cache
def examples() -> Mapping[str, Any]:
    """Return the recorded examples by method and path."""
    return json.loads(EXAMPLES.read_text()) if EXAMPLES.exists() else {}


def without_example() -> list[str]:
    """Return the operations of which no example was recorded."""
    return [f"{method} {path}" for method, path, *_ in operations() if f"{method} {path}" not in examples()]


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"### `{method} {path}`", str(operation["description"]).partition("\n\nRaises")[0].strip()]
    facts = []
    if parameters := [each for each in operation.get("parameters", ()) if each["in"] == "query"]:
        facts.append("Parameters: " + ", ".join(_parameter(each) for each in parameters) + ".")
    if (body := operation.get("requestBody")) is not None:
        facts.append(f"Body: {_schemas(body['content'])}.")
    done = [f"{status} {_schemas(each.get('content', {}))}".strip() for status, each in _statuses(operation, "2")]
    refused = [status for status, _ in _statuses(operation, "45")]
    facts += [f"Response: {', '.join(done)}. Errors: {', '.join(refused)}."]
    if method == "POST":
        facts.append(f"Idempotency: {idempotency(operation)}")
    parts.append("\n".join(f"- {fact}" for fact in facts))
    if (example := examples().get(f"{method} {path}")) is not None:
        parts.append(_example(method, example))
    return "\n\n".join(parts)


def idempotency(operation: Mapping[str, Any]) -> str:
    """Return what happens if a POST is repeated."""
    names = {each["name"].lower() for each in operation.get("parameters", ()) if each["in"] == "header"}
    if "idempotency-key" in names:
        return "with an [`Idempotency-Key`](idempotency.md) the first response is returned again."
    return sentence(IDEMPOTENCY.get(operation["operationId"], "")).replace("Idempotent", "idempotent")


def posts_without_idempotency() -> list[str]:
    """Return the POST operations whose idempotency is not described."""
    return [
        f"{method} {path}"
        for method, path, _, operation in operations()
        if method == "POST" and not idempotency(operation)
    ]


def _parameter(parameter: Mapping[str, Any]) -> str:
    text = " ".join(str(parameter["description"]).split()).rstrip(".")
    return f"{code(parameter['name'])} ({text[:1].lower() + text[1:] if text[:2].istitle() else text})"


def _statuses(operation: Mapping[str, Any], first: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((status, each) for status, each in sorted(operation["responses"].items()) if status[0] in first)


def _schemas(content: Mapping[str, Any]) -> str:
    found = []
    for media_type, each in content.items():
        names = sorted(set(re.findall(r"#/components/schemas/(\w+)", json.dumps(each))))
        if "itemSchema" in each:
            found.append("an [event stream](../stream-events.md)")
        elif names:
            found.append(codes(names))
        else:
            found.append(code(media_type))
    return " or ".join(found)


def _example(method: str, example: Mapping[str, Any]) -> str:
    lines = [f"{method} {example['path']}"]
    lines += ["Authorization: Bearer ..."] if example["auth"] else []
    lines += [f"{name}: {value}" for name, value in example["headers"].items()]
    if example["form"]:
        lines += ["", "&".join(f"{name}={value}" for name, value in example["request"].items())]
    elif example["request"] is not None:
        lines += ["", _json(example["request"])]
    lines += ["", f"HTTP/1.1 {example['status']}", ""]
    response = example["response"]
    lines.append(response if isinstance(response, str) else _json(response))
    return "```http\n" + "\n".join(lines).rstrip() + "\n```"


def _json(value: object) -> str:
    """Return JSON with a line for each member at the top, and further ones only where they are long."""
    if isinstance(value, dict) and value:
        members = [f"{json.dumps(name)}: {_inline(item)}" for name, item in value.items()]
        one_line = "{" + ", ".join(members) + "}"
        return one_line if len(one_line) <= 110 else "{\n" + _wrapped(members) + "\n}"  # noqa: PLR2004 - width of a line
    return _inline(value)


def _inline(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _wrapped(members: list[str]) -> str:
    lines: list[str] = []
    for member in members:
        if lines and len(lines[-1]) + len(member) < 110:  # noqa: PLR2004 - as above
            lines[-1] += f", {member}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(f"  {member}")
    return "\n".join(lines)


def index_table() -> str:
    """Return the table of all operations with their pages."""
    rows = []
    for method, path, _, operation in operations():
        anchor = re.sub(r"[^\w\- ]", "", f"{method} {path}".lower()).replace(" ", "-")
        summary = str(operation["description"]).partition("\n\n")[0]
        rows.append((f"[`{method} {path}`]({page_of(path)}.md#{anchor})", sentence(summary)))
    return table(("Operation", "What it does"), rows)


def idempotency_table() -> str:
    """Return the table of the idempotency of all POST operations."""
    rows = [
        (
            f"`{method} {path}`",
            idempotency(operation).replace("[`Idempotency-Key`](idempotency.md)", "`Idempotency-Key`"),
        )
        for method, path, _, operation in operations()
        if method == "POST"
    ]
    return table(("Operation", "If it is repeated"), rows)


def documents() -> dict[Path, str]:
    """Return the pages with their generated parts."""
    sections: dict[str, list[str]] = {page: [] for page in PAGES}
    for method, path, _, operation in operations():
        sections[page_of(path)].append(_section(method, path, operation))
    pages = {
        FOLDER / f"{page}.md": with_blocks(FOLDER / f"{page}.md", {"operations": "\n\n".join(parts)})
        for page, parts in sections.items()
    }
    pages[FOLDER / "README.md"] = with_blocks(FOLDER / "README.md", {"operations": index_table()})
    pages[FOLDER / "idempotency.md"] = with_blocks(FOLDER / "idempotency.md", {"posts": idempotency_table()})
    return pages
