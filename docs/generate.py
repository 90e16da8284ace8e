"""Writes the documents that the code can tell by itself: `python docs/generate.py`, or `--check` to compare only.

They are .env.example, settings.md, openapi/*.json, and the marked blocks of data-model.md (the ER diagram) and of
turn-pipeline.md (the graph).
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))
# Importing the services reads the settings; nothing is opened.
os.environ.update(DATABASE_URL="postgresql://localhost/chatbot", SECRET_KEY="x" * 32)
for name in set(os.environ) - {"DATABASE_URL", "SECRET_KEY", "PATH", "HOME"}:
    del os.environ[name]

from fastapi import FastAPI  # noqa: E402 - after the settings above
from pydantic import SecretStr  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_core import PydanticUndefined  # noqa: E402

from app import admin_main, auth_main, main  # noqa: E402
from app.config import Settings  # noqa: E402
from app.database.base import Base  # noqa: E402
from app.graph.builder import build_chat_graph  # noqa: E402


def settings_table() -> str:
    """Describe every setting."""
    lines = [
        "# Settings",
        "",
        "All are environment variables, or lines of a `.env` file in the folder that a service is started in.",
        "A missing or wrong one stops the service at start, with one line that says which and why.",
        "This page is generated from `app/config.py`.",
        "",
        "| Name | Default | Meaning |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {_default(field)} | {field.description} |" for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "**required**"
    value = _plain(field.default)
    return f"`{value}`" if value else "none"


def _plain(value: object) -> str:
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def env_example() -> str:
    """Return `.env.example` with the descriptions and defaults of now; its order and headings are kept."""
    text = (ROOT / ".env.example").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else _plain(field.default)
        entry = f"# {field.description}\n#{name}={default}\n"
        text, count = re.subn(rf"^# .*\n#{name}=.*\n", lambda _, entry=entry: entry, text, flags=re.MULTILINE)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f".env.example: {name} is not there")
    return text


def openapi(app: FastAPI) -> str:
    """Return the service's OpenAPI document."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def er_diagram() -> str:
    """Draw the tables with their columns and references."""
    lines = ["```mermaid", "erDiagram"]
    for table in Base.metadata.sorted_tables:
        lines.append(f"    {table.name} {{")
        for column in table.columns:
            keys = [key for key, holds in (("PK", column.primary_key), ("FK", column.foreign_keys)) if holds]
            kind = re.sub(r"\W+", "_", str(column.type).lower()).strip("_")
            nullable = ' "nullable"' if column.nullable else ""
            lines.append(f"        {kind} {column.name} {','.join(keys)}{nullable}".rstrip())
        lines.append("    }")
    for table in Base.metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            many = "|o--o{" if key.parent.nullable else "||--o{"
            lines.append(f"    {key.column.table.name} {many} {table.name} : {key.parent.name}")
    return "\n".join([*lines, "```"])


def graph_picture() -> str:
    """Draw the pipeline as LangGraph sees it."""
    mermaid = build_chat_graph().get_graph().draw_mermaid(with_styles=False)
    return f"```mermaid\n{mermaid.strip()}\n```"


def with_block(path: Path, name: str, content: str) -> str:
    """Return the document with the marked block replaced."""
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", path.read_text())
    if count != 1:
        raise SystemExit(f"{path.name}: the block '{name}' is not there")
    return text


def documents() -> dict[Path, str]:
    """Return every generated document."""
    return {
        ROOT / ".env.example": env_example(),
        DOCS / "settings.md": settings_table(),
        DOCS / "openapi" / "auth.json": openapi(auth_main.app),
        DOCS / "openapi" / "chat.json": openapi(main.app),
        DOCS / "openapi" / "admin.json": openapi(admin_main.app),
        DOCS / "data-model.md": with_block(DOCS / "data-model.md", "er-diagram", er_diagram()),
        DOCS / "turn-pipeline.md": with_block(DOCS / "turn-pipeline.md", "graph", graph_picture()),
    }


def undocumented_columns() -> list[str]:
    """Name the columns that data-model.md does not explain under the heading of their table."""
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


def run() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a document is out of date")
    is_check = parser.parse_args().check
    stale = []
    for path, content in documents().items():
        if not path.exists() or path.read_text() != content:
            stale.append(str(path.relative_to(ROOT)))
            if not is_check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
    missing = undocumented_columns()
    if missing:
        print("data-model.md does not explain:", ", ".join(missing))
    if is_check and stale:
        print("out of date (run `make docs`):", ", ".join(stale))
    elif stale:
        print("written:", ", ".join(stale))
    return 1 if missing or (is_check and stale) else 0


if __name__ == "__main__":
    sys.exit(run())
