"""Conventions that no linter knows."""

import ast
from pathlib import Path

APP = Path(__file__).parents[1] / "app"


def test_only_the_database_package_commits() -> None:
    calls = [
        f"{path.relative_to(APP)}:{node.lineno}"
        for path in APP.rglob("*.py")
        if "database" not in path.relative_to(APP).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"begin", "commit", "flush", "rollback"}
    ]
    assert calls == []
