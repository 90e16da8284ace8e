"""The explanation pages name modules, functions and tests that exist, and every package of the code."""

import ast
import re
from pathlib import Path

import pytest

from local.paths import PROJECT

APP = PROJECT / "app"
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
EXPLANATIONS = sorted((DOCS / "explanation").glob("*.md"))
EXTENSIONS = sorted((DOCS / "how-to" / "extend").glob("*.md"))
MAX_LINES = 400
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
    if page.name == "packages.md":
        text = EXTERNAL_NAMES.sub("", text)
    named = re.findall(r"`((?:app|local|tests|benchmarks|alembic|docs)/[\w./-]*)`", text)
    # Files that the examples of extensions add.
    added = [path for guide in EXTENSIONS for path in re.findall(r"^\+\+\+ b/(\S+)", guide.read_text(), re.MULTILINE)]
    missing = [path for path in named if not (PROJECT / path).exists()]
    assert [path for path in missing if not any(name.startswith(path) for name in added)] == []


def test_the_page_of_packages_names_every_package() -> None:
    text = (DOCS / "explanation" / "packages.md").read_text()
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


def table_rows(page: Path, *last_columns: str) -> list[list[str]]:
    """Return the cells of all tables whose header ends with these columns."""
    rows: list[list[str]] = []
    is_table = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if tuple(cells[-len(last_columns) :]) == last_columns:
            is_table = True
        elif not cells:
            is_table = False
        elif is_table and not cells[0].startswith("---"):
            rows.append(cells)
    return rows


def missing_names(page: Path, *last_columns: str, module: str) -> list[str]:
    """Return the names in the column before the last that no module of the last column defines."""
    missing = []
    for *_, names, modules in table_rows(page, *last_columns):
        paths = re.findall(module, modules)
        if not paths:
            continue
        defined = set().union(*(functions(PROJECT / path) for path in paths))
        found = re.findall(r"`([\w.]+)`", names)
        missing += [f"{name} in {paths}" for name in found if name not in defined]
        if not found:
            missing.append(f"no name in {paths}")
    return missing


@pytest.mark.parametrize("page", EXPLANATIONS, ids=lambda page: page.name)
def test_every_function_of_a_page_exists(page: Path) -> None:
    assert missing_names(page, "Function", "Module", module=r"`(app/[\w/]+\.py)`") == []


@pytest.mark.parametrize("page", EXPLANATIONS, ids=lambda page: page.name)
def test_every_guarantee_of_a_page_has_a_test(page: Path) -> None:
    assert missing_names(page, "Guarantee", "Test", "File", module=r"`(tests/[\w/]+\.py)`") == []


def test_the_pages_have_many_functions_and_guarantees() -> None:
    assert sum(len(table_rows(page, "Function", "Module")) for page in EXPLANATIONS) > 200
    assert sum(len(table_rows(page, "Guarantee", "Test", "File")) for page in EXPLANATIONS) > 100


@pytest.mark.parametrize("page", EXPLANATIONS, ids=lambda page: page.name)
def test_a_page_is_short_enough_to_read(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= MAX_LINES


def test_the_index_names_every_page() -> None:
    index = (DOCS / "explanation" / "README.md").read_text()
    assert [page.name for page in EXPLANATIONS if page.name != "README.md" and f"({page.name})" not in index] == []
