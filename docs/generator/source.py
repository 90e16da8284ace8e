"""Reading of Python sources: modules, docstrings and calls."""

import ast
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path

from docs.generator.paths import ROOT


@cache
def modules(*folders: str) -> tuple[Path, ...]:
    """Return the Python files below folders of the project that are not empty."""
    return tuple(
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.stat().st_size > 0 and "node_modules" not in path.parts
    )


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of the syntax tree of a file."""
    return tuple(ast.walk(tree(path)))


def summary(path: Path) -> str:
    """Return the first paragraph of the docstring of a module."""
    return " ".join((ast.get_docstring(tree(path)) or "").partition("\n\n")[0].split())


def attribute_docs(definition: ast.ClassDef) -> dict[str, str]:
    """Return the docstrings below the annotated attributes of a class."""
    docs = {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[statement.target.id] = " ".join(cleandoc(following.value.value).split())
    return docs


def classes(path: Path) -> Iterator[ast.ClassDef]:
    """Yield the classes of a module."""
    return (node for node in nodes(path) if isinstance(node, ast.ClassDef))


def calls(path: Path) -> Iterator[ast.Call]:
    """Yield the calls in a module."""
    return (node for node in nodes(path) if isinstance(node, ast.Call))


def called_name(call: ast.Call) -> str:
    """Return the last part of the name that is called."""
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def constant(node: ast.AST | None) -> str | None:
    """Return the text of a constant, or None."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword argument, or None."""
    return next((argument.value for argument in call.keywords if argument.arg == name), None)
