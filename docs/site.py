"""Builds the documents as a searchable site in `.site/`: `make site`.

Zensical renders a copy of `docs/`. On GitHub, pages also link to files outside this folder: in the site these links
lead to `SITE_SOURCE_URL`, the address of the repository's files, or are plain text without it. The site requests
nothing from other servers: fonts are those of the system, and the script of the diagrams is that of the packages in
`frontend/node_modules`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

DOCS = Path(__file__).parent
ROOT = DOCS.parent
SITE = ROOT / ".site"
MERMAID = ROOT / "frontend" / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
_PROGRAMS = ("__init__.py", "__pycache__", "generate.py", "generator", "site.py")
_CONFIG = """
[project]
site_name = "Chat Bot System"
site_description = "Documentation of the Chat Bot System"
use_directory_urls = false
extra_javascript = ["assets/mermaid.min.js"]
[project.theme]
font = false
features = ["navigation.indexes", "navigation.top", "search.highlight", "content.code.copy", "toc.follow"]
[project.markdown_extensions.tables]
[project.markdown_extensions.toc]
permalink = true
slugify = {object = "pymdownx.slugs.slugify", kwds = {case = "lower"}}
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
custom_fences = [{name = "mermaid", class = "mermaid", format = "pymdownx.superfences.fence_code_format"}]
"""
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*([^)\s]+)\s*\)")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def for_the_site(text: str, page: Path, source_url: str) -> str:
    """Return a page whose links lead to pages of the site, or to files at `source_url`."""

    def replaced(match: re.Match[str]) -> str:
        label, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        file = (page.parent / path).resolve()
        if file.is_relative_to(DOCS) and not file.is_dir():
            return match[0]
        if (file / "README.md").is_file() and file.is_relative_to(DOCS):
            return f"[{label}]({path.rstrip('/')}/README.md{'#' * bool(anchor)}{anchor})"
        return f"[{label}]({source_url.rstrip('/')}/{file.relative_to(ROOT)})" if source_url else label

    # Code contains no links.
    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)


def build(target: Path, source_url: str) -> int:
    """Build the site in a directory, and return the exit code: not 0 if there is a warning."""
    if not MERMAID.exists():
        print(f"site: {MERMAID.relative_to(ROOT)} does not exist: make setup", file=sys.stderr)
        return 1
    with TemporaryDirectory() as directory:
        home = Path(directory)
        shutil.copytree(DOCS, home / "docs", ignore=shutil.ignore_patterns(*_PROGRAMS))
        for page in DOCS.rglob("*.md"):
            (home / "docs" / page.relative_to(DOCS)).write_text(for_the_site(page.read_text(), page, source_url))
        (home / "docs" / "assets").mkdir()
        shutil.copy(MERMAID, home / "docs" / "assets")
        (home / "zensical.toml").write_text(_CONFIG)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
        result = subprocess.run(command, check=False, cwd=home)  # noqa: S603 - our own arguments
        if result.returncode == 0:
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(home / "site", target)
    return result.returncode


if __name__ == "__main__":
    sys.exit(build(SITE, os.environ.get("SITE_SOURCE_URL", "")))
