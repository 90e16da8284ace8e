"""Check of the names in documents: what stands in backticks and looks like a name of the code exists in the code."""

import re
from functools import cache
from pathlib import Path

from docs.generator.links import pages, prose
from docs.generator.metrics import metrics
from docs.generator.paths import DOCS, ROOT

_SOURCES = ("app", "local", "benchmarks", "tests", "alembic", "deploy", "docs", "frontend", ".github", "requirements")
_SUFFIXES = {
    ".py",
    ".ts",
    ".vue",
    ".js",
    ".json",
    ".toml",
    ".yml",
    ".yaml",
    ".conf",
    ".txt",
    ".tpl",
    ".css",
    ".html",
    ".sh",
}
_SKIPPED = {"node_modules", "dist", ".venv", "__pycache__", "generated", ".local"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(\(\))?")
_PATH = re.compile(r"(app|local|tests|docs|alembic|benchmarks|deploy|frontend|requirements)/[\w./-]+")
_OF_OTHERS = DOCS / "generator" / "names_of_others.txt"


@cache
def words() -> frozenset[str]:
    """Return all words of the sources."""
    found: set[str] = set()
    files = [path for folder in _SOURCES for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.suffix != ".md"]
    for path in files:
        is_source = path.suffix in _SUFFIXES or path.parent == ROOT
        if path.is_file() and is_source and not _SKIPPED & {*path.relative_to(ROOT).parts} and path != _OF_OTHERS:
            found |= set(re.findall(r"\w+", path.read_text(errors="ignore")))
    return frozenset(found)


@cache
def names_of_others() -> frozenset[str]:
    """Return the names that documents may have although the code does not: those of other programs, and metrics."""
    return frozenset(_OF_OTHERS.read_text().split()) | {entry.name for entry in metrics()}


def _looks_like_a_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and ("_" in text or "." in text or text.endswith("()"))


def unknown_names_of(path: Path) -> list[str]:
    """Return the names of a document that neither the code nor a diff in the document has."""
    diffs = re.findall(r"^```diff$.*?^```$", path.read_text(), re.DOTALL | re.MULTILINE)
    known = words() | names_of_others() | set(re.findall(r"\w+", "".join(diffs)))
    unknown = []
    for text in sorted(set(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(path)))):
        if _PATH.fullmatch(text):
            if "..." not in text and text not in names_of_others() and not _exists(text):
                unknown.append(text)
        elif _looks_like_a_name(text) and text not in names_of_others():
            parts = re.split(r"\W+", text.removesuffix("()"))
            if not all(part in known for part in parts if part):
                unknown.append(text)
    return unknown


def _exists(text: str) -> bool:
    return (ROOT / text).exists() or (ROOT / text.rstrip(".")).exists() or text.startswith("frontend/dist")


def unknown_names() -> list[str]:
    """Return the names of all documents that the code does not have, each with its document."""
    documents = [path for path in pages() if path.name != "CHANGELOG.md" and "decisions" not in path.parts]
    return [f"{path.relative_to(ROOT)}: unknown name {name}" for path in documents for name in unknown_names_of(path)]
