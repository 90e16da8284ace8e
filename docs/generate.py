"""Generator of documents from the code: `python docs/generate.py`, or `--check` to compare only.

Generated are the entries of .env.example, settings.md, openapi/*.json, conversation-export.schema.json, and the marked
blocks of data-model.md (the ER diagram) and turn-pipeline.md (the graph).
"""

import argparse
import inspect
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))
# Importing the entry modules reads the settings. It opens no connections.
os.environ.update(DATABASE_URL="postgresql://localhost/chatbot", SECRET_KEY="x" * 32)
for name in set(os.environ) - {"DATABASE_URL", "SECRET_KEY", "PATH", "HOME"}:
    del os.environ[name]

from fastapi import FastAPI  # noqa: E402 - after the settings above
from pydantic import SecretStr  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_core import PydanticUndefined  # noqa: E402

from app import admin_main, auth_main, main  # noqa: E402
from app.chat.transfer.formats import conversation_file  # noqa: E402
from app.config import Settings  # noqa: E402
from app.database.base import Base  # noqa: E402
from app.graph.builder import build_chat_graph  # noqa: E402

_TITLES = {"Auth": "Authentication", "Llm": "Language models", "Limit": "Limits and quotas", "Webhook": "Webhooks"}
"""Headings of the settings page where the name of the mixin is not a good one."""


def settings_page() -> str:
    """Return the settings page: a table for each mixin of `Settings`."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables, or lines of a `.env` file in the working directory of the service.",
        "A service with a missing or invalid setting exits at start with one line that names it and the reason.",
        "This page is generated from the classes in `app/config/`.",
    ]
    # Pydantic orders the fields of a class by its bases from the last to the first.
    for mixin in reversed(Settings.__bases__):
        name = mixin.__name__.removesuffix("Settings")
        lines += ["", f"## {_TITLES.get(name, name)}", "", inspect.getdoc(mixin) or ""]
        lines += ["", "| Name | Default | Description |", "|---|---|---|"]
        lines += [f"| `{setting}` | {_default(field)} | {field.description} |" for setting, field in _fields(mixin)]
    return "\n".join(lines) + "\n"


def _fields(mixin: type) -> list[tuple[str, FieldInfo]]:
    return [(name, field) for name, field in Settings.model_fields.items() if name in mixin.__annotations__]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "**required**"
    value = _format_value(field.default)
    return f"`{value}`" if value else "none"


def _format_value(value: object) -> str:
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def env_example() -> str:
    """Return `.env.example` with current descriptions and defaults, keeping its order and headings."""
    text = (ROOT / ".env.example").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else _format_value(field.default)
        entry = f"# {field.description}\n#{name}={default}\n"
        text, count = re.subn(rf"^# .*\n#{name}=.*\n", lambda _, entry=entry: entry, text, flags=re.MULTILINE)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f".env.example: the entry for {name} is missing")
    return text


def openapi(app: FastAPI) -> str:
    """Return the service's OpenAPI document."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def er_diagram() -> str:
    """Return a Mermaid ER diagram of all tables with columns and foreign keys."""
    lines = ["```mermaid", "erDiagram"]
    for table in Base.metadata.sorted_tables:
        lines.append(f"    {table.name} {{")
        for column in table.columns:
            keys = [key for key, is_set in (("PK", column.primary_key), ("FK", column.foreign_keys)) if is_set]
            column_type = re.sub(r"\W+", "_", str(column.type).lower()).strip("_")
            nullable = ' "nullable"' if column.nullable else ""
            lines.append(f"        {column_type} {column.name} {','.join(keys)}{nullable}".rstrip())
        lines.append("    }")
    for table in Base.metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            cardinality = "|o--o{" if key.parent.nullable else "||--o{"
            lines.append(f"    {key.column.table.name} {cardinality} {table.name} : {key.parent.name}")
    return "\n".join([*lines, "```"])


def graph_diagram() -> str:
    """Return a Mermaid diagram of the pipeline, drawn by LangGraph."""
    mermaid = build_chat_graph().get_graph().draw_mermaid(with_styles=False)
    return f"```mermaid\n{mermaid.strip()}\n```"


def with_block(path: Path, name: str, content: str) -> str:
    """Return the text of the document with the marked block replaced."""
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", path.read_text())
    if count != 1:
        raise SystemExit(f"{path.name}: the block '{name}' is missing")
    return text


def documents() -> dict[Path, str]:
    """Return the content of each generated document by path."""
    return {
        ROOT / ".env.example": env_example(),
        DOCS / "settings.md": settings_page(),
        DOCS / "conversation-export.schema.json": json.dumps(conversation_file.json_schema(), indent=2) + "\n",
        DOCS / "openapi" / "auth.json": openapi(auth_main.app),
        DOCS / "openapi" / "chat.json": openapi(main.app),
        DOCS / "openapi" / "admin.json": openapi(admin_main.app),
        DOCS / "data-model.md": with_block(DOCS / "data-model.md", "er-diagram", er_diagram()),
        DOCS / "turn-pipeline.md": with_block(DOCS / "turn-pipeline.md", "graph", graph_diagram()),
    }


def undocumented_columns() -> list[str]:
    """Return the columns that data-model.md does not describe under the heading of their table."""
    text = (DOCS / "data-model.md").read_text()
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", text, flags=re.DOTALL)
    sections = {
        match[1]: match[2]
        for match in re.finditer(r"^#+ .*?`?(\w+)`?\s*$\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
    }
    return [
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if f"`{column.name}`" not in sections.get(table.name, "")
    ]


def generate() -> int:
    """Write or check the documents and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a document is out of date")
    check_only = parser.parse_args().check
    stale = []
    for path, content in documents().items():
        if not path.exists() or path.read_text() != content:
            stale.append(str(path.relative_to(ROOT)))
            if not check_only:
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
    missing = undocumented_columns()
    if missing:
        print("data-model.md does not describe:", ", ".join(missing))
    if check_only and stale:
        print("out of date (run `make docs`):", ", ".join(stale))
    elif stale:
        print("written:", ", ".join(stale))
    return 1 if missing or (check_only and stale) else 0


if __name__ == "__main__":
    sys.exit(generate())
