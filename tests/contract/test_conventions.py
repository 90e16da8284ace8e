"""Project conventions that no linter checks."""

import ast
import re
from collections.abc import Callable, Iterator
from inspect import isasyncgenfunction, isclass, iscoroutinefunction
from typing import Any, get_args

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.database.repositories.audit.audit_log import AuditAction
from local.paths import PROJECT
from tests.support.operations import APPS, OPERATIONS

APP = PROJECT / "app"


def test_only_database_package_commits() -> None:
    calls = [
        f"{path.relative_to(APP)}:{node.lineno}"
        for path in APP.rglob("*.py")
        if "database" not in path.relative_to(APP).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"begin", "commit", "flush", "rollback"}
    ]
    assert calls == []


def test_every_audit_action_is_documented() -> None:
    text = (PROJECT / "docs" / "reference" / "audit-actions.md").read_text()
    assert re.findall(r"^\| `(\w+\.\w+)` \|", text, re.MULTILINE) == sorted(get_args(AuditAction))


MERMAID_KEYWORDS = {
    "call",
    "class",
    "classDef",
    "click",
    "default",
    "end",
    "graph",
    "href",
    "linkStyle",
    "style",
    "subgraph",
}


def test_mermaid_nodes_have_no_reserved_names() -> None:
    nodes = {
        node
        for path in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
        for block in re.findall(
            r"^```mermaid\n\s*(?:flowchart|graph)\b(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
        )
        # Before a label or an arrow, and after an arrow.
        for pair in re.findall(r"\b(\w+)\s*(?=[\[({]|--|-\.|==)|[->]\s*(?:\|[^|]*\|\s*)?(\w+)$", block, re.MULTILINE)
        for node in pair
    }
    assert len(nodes) > 30
    assert nodes & MERMAID_KEYWORDS == set()


def test_every_request_field_of_auth_has_an_example() -> None:
    operations = [operation for operation in OPERATIONS.values() if operation.service == "auth"]
    assert len([operation for operation in operations if operation.fields]) > 10
    without = [
        f"{operation.name}.{field.name}" for operation in operations for field in operation.fields if not field.examples
    ]
    assert without == []


def test_routes_and_dependencies_are_coroutines() -> None:
    calls = {
        call
        for app in APPS.values()
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute)
        for call in _calls(route.dependant)
    }
    assert len(calls) > 50
    # FastAPI runs plain functions in threads, which costs more than the functions themselves.
    assert [call for call in calls if not _is_awaited(call)] == []


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    for needed in dependant.dependencies:
        yield from _calls(needed)


def _is_awaited(call: Callable[..., Any]) -> bool:
    function = call if hasattr(call, "__code__") or isclass(call) else type(call).__call__
    return iscoroutinefunction(function) or isasyncgenfunction(function)
