"""The architecture pages name modules and functions that exist, and every package of the code."""

import ast
import re
from pathlib import Path

import pytest

from local.paths import PROJECT

APP = PROJECT / "app"
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
# The specification's own names, in the first column of their table.
EXTERNAL_NAMES = re.compile(r"^\| `app/[^|]*\|", re.MULTILINE)


def functions(module: Path) -> set[str]:
    """Return the names of functions and classes of a module, and of methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{child.name}"
                for child in node.body
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    if page.name == "architecture.md":
        text = EXTERNAL_NAMES.sub("", text)
    named = re.findall(r"`((?:app|local|tests|benchmarks|alembic|docs)/[\w./-]*)`", text)
    assert [path for path in named if not (PROJECT / path).exists()] == []


def test_the_architecture_page_names_every_package() -> None:
    text = (DOCS / "architecture.md").read_text()
    tree = text.partition("```\napp/\n")[2].partition("```")[0]
    packages = {
        path.parent.relative_to(APP)
        for path in APP.rglob("__init__.py")
        if path.parent not in {APP, APP / "__pycache__"}
    }
    top = {path for path in packages if path.parts[0] != "database" or len(path.parts) <= 2}
    assert len(top) > 25
    assert sorted(str(path) for path in top if not re.search(rf"\b{path.name}/", tree)) == []
    aggregates = {path.name for path in packages - top}
    assert sorted(name for name in aggregates if f"`{name}`" not in text) == []


def test_every_function_of_the_question_path_exists() -> None:
    rows = re.findall(r"^\|.*\|$", (DOCS / "question-path.md").read_text(), re.MULTILINE)
    missing, checked = [], 0
    for row in rows:
        modules = re.findall(r"`(app/[\w/]+\.py)`", row)
        if not modules:
            continue
        defined = set().union(*(functions(PROJECT / module) for module in modules))
        functions_cell = row.split("|")[-3]
        for name in re.findall(r"`([\w.]+)`", functions_cell):
            checked += 1
            if name not in defined:
                missing.append(f"{name} in {modules}")
    assert checked > 40
    assert missing == []
