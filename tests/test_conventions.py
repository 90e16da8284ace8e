"""Conventions that no linter knows."""

import ast
import re
from typing import get_args

from app.database.repositories.audit import Action
from local.home import PROJECT

APP = PROJECT / "app"


def test_only_the_database_package_commits() -> None:
    calls = [
        f"{path.relative_to(APP)}:{node.lineno}"
        for path in APP.rglob("*.py")
        if "database" not in path.relative_to(APP).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"begin", "commit", "flush", "rollback"}
    ]
    assert calls == []


def test_every_action_of_the_audit_log_is_explained() -> None:
    text = (PROJECT / "docs" / "operations.md").read_text()
    section = text.partition("## The audit log")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+\.\w+)` \|", section, re.MULTILINE) == sorted(get_args(Action))
