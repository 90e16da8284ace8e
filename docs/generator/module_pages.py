"""Pages of the modules: each with the first paragraph of its docstring."""

import os
from collections.abc import Mapping
from pathlib import Path

from docs.generator.markdown import table
from docs.generator.paths import REFERENCE, ROOT
from docs.generator.source import modules, summary

FOLDER = REFERENCE / "modules"
PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "chat": ("Modules of the chat service", ("app/chat", "app/graph")),
    "auth": ("Modules of the auth service", ("app/auth",)),
    "admin": ("Modules of the admin service and the worker", ("app/admin", "app/worker")),
    "database": ("Modules of the database", ("app/database",)),
    "shared": (
        "Modules that services share",
        ("app/services", "app/http", "app/core", "app/config", "app/observability"),
    ),
    "tools": ("Entry points and tools", ("local", "benchmarks", "docs")),
}
"""Title and folders of each page."""


def _modules_of(page: str) -> list[Path]:
    found = [path for folder in PAGES[page][1] for path in modules(folder)]
    if page == "tools":
        found = [path for path in modules("app") if path.parent == ROOT / "app"] + found
    return found


def undescribed_modules() -> list[str]:
    """Return the modules without docstring, and those on no page."""
    shown = [path for page in PAGES for path in _modules_of(page)]
    without = [str(path.relative_to(ROOT)) for path in shown if not summary(path)]
    return without + sorted(
        str(path.relative_to(ROOT)) for path in {*modules("app", "local", "benchmarks", "docs")} - {*shown}
    )


def documents() -> dict[Path, str]:
    """Return the pages."""
    pages: dict[Path, str] = {}
    lines = [
        "# Modules",
        "",
        "Every module in one line: the first paragraph of its docstring. These pages are generated.",
    ]
    lines += ["", "| Page | Folders | Modules |", "|---|---|---|"]
    for page, (title, folders) in PAGES.items():
        path = FOLDER / f"{page}.md"
        parts = [f"# {title}", "[All modules](README.md)."]
        by_folder: dict[Path, list[Path]] = {}
        for module in _modules_of(page):
            by_folder.setdefault(module.parent, []).append(module)
        for folder, files in sorted(by_folder.items()):
            rows = [(f"[`{each.name}`]({os.path.relpath(each, FOLDER)})", summary(each)) for each in files]
            parts += [f"## `{folder.relative_to(ROOT)}/`", table(("Module", "Content"), rows)]
        pages[path] = "\n\n".join(parts) + "\n"
        lines.append(
            f"| [{title}]({page}.md) | {', '.join(f'`{folder}/`' for folder in folders)} | {len(_modules_of(page))} |"
        )
    pages[FOLDER / "README.md"] = "\n".join(lines) + "\n"
    return pages
