"""Markdown tables, marked blocks and links to source files."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from docs.generator.paths import ROOT


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Line ends in cells become spaces, and vertical bars are escaped."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def code(text: object) -> str:
    """Return text as inline code."""
    return f"`{text}`"


def codes(texts: Iterable[object]) -> str:
    """Return texts as inline code, separated by commas."""
    return ", ".join(code(text) for text in texts)


def source_link(source: Path, document: Path, label: str | None = None) -> str:
    """Return a link from a document to a file of the project."""
    target = os.path.relpath(source, document.parent)
    return f"[{label or source.relative_to(ROOT)}]({target})"


def with_block(path: Path, name: str, content: str, text: str | None = None) -> str:
    """Return the text of a document, or the given one, with a marked block replaced.

    Raises:
        SystemExit: the document does not have the block exactly once.

    """
    pattern = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = path.read_text() if text is None else text
    text, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)
    if count != 1:
        raise SystemExit(f"{path.name}: the block '{name}' is missing")
    return text


def with_blocks(path: Path, blocks: dict[str, str]) -> str:
    """Return the text of a document with several marked blocks replaced."""
    text = path.read_text()
    for name, content in blocks.items():
        text = with_block(path, name, content, text)
    return text


def sentence(text: str) -> str:
    """Return text with a capital letter at its beginning and a full stop at its end."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
