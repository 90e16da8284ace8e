"""Picture of the graph in the page about the pipeline, and the schema of the file of an export."""

import json
from pathlib import Path

from app.chat.transfer.formats import conversation_file
from app.graph.builder import build_chat_graph
from docs.generator.markdown import with_block
from docs.generator.paths import DOCS, REFERENCE

MARKER = "<!-- generated: graph -->"


def diagram() -> str:
    """Return a Mermaid diagram of the pipeline, drawn by LangGraph."""
    mermaid = build_chat_graph().get_graph().draw_mermaid(with_styles=False)
    return f"```mermaid\n{mermaid.strip()}\n```"


def documents() -> dict[Path, str]:
    """Return the pages with the picture, and the file with the schema."""
    pages = {path: with_block(path, "graph", diagram()) for path in DOCS.rglob("*.md") if MARKER in path.read_text()}
    schema = json.dumps(conversation_file.json_schema(), indent=2) + "\n"
    return pages | {REFERENCE / "conversation-export.schema.json": schema}
