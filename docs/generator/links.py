"""Check of the relative links between documents: the file and the heading that a link names exist."""

import re
from functools import cache
from pathlib import Path

from docs.generator.paths import DOCS, REFERENCE, ROOT

MAX_LINES = 400
_WRITTEN_BY_TOOLS = {"benchmarks.md", "provider-faults.md"}
"""Pages that another program writes."""


def pages() -> list[Path]:
    """Return all documents of the project."""
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
    return sorted(path for path in found if "node_modules" not in path.parts)


@cache
def prose(path: Path) -> str:
    """Return a document without its code blocks."""
    return re.sub(r"^( *)(```|~~~).*?^\1\2", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives to the headings of a document, and those that it sets itself."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        suffixes = ("", *(f"-{number}" for number in range(1, 100)))
        found.add(next(f"{slug}{suffix}" for suffix in suffixes if f"{slug}{suffix}" not in found))
    return frozenset(found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(path))))


def broken_links_of(path: Path) -> list[str]:
    """Return the links of a document that lead nowhere."""
    broken = []
    text = re.sub(r"`[^`\n]*`", lambda match: "x" * len(match[0]), prose(path))
    for link in re.findall(r"\]\(\s*([^)\s]+)(?:\s+\"[^\"]*\")?\s*\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target_path, _, anchor = link.partition("#")
        target = (path.parent / target_path).resolve() if target_path else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


def broken_links() -> list[str]:
    """Return the broken links of all documents, each with its document."""
    return [f"{path.relative_to(ROOT)}: broken link {link}" for path in pages() for link in broken_links_of(path)]


def long_pages() -> list[str]:
    """Return the pages of the reference that are too long to be read."""
    return [
        f"{path.relative_to(ROOT)}: more than {MAX_LINES} lines"
        for path in sorted(REFERENCE.rglob("*.md"))
        if path.name not in _WRITTEN_BY_TOOLS
        and path.parent.name != "benchmarks"
        and len(path.read_text().splitlines()) > MAX_LINES
    ]
