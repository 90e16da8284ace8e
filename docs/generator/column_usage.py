"""Which modules write and which query each column, found in their statements.

A column is written where `insert()`, `update()`, a model or SQL sets it, and queried where an expression names it.
"""

import ast
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from app.database.base import Base
from docs.generator.paths import APP
from docs.generator.source import called_name, constant, modules, nodes, tree

Columns = dict[tuple[str, str], set[str]]
_WRITES = frozenset({"insert", "pg_insert", "update"})
_INSERT = re.compile(r"INSERT\s+INTO\s+(\w+)(?:\s+AS\s+\w+)?\s*\(([^)]*)\)", re.IGNORECASE)
_UPDATE = re.compile(
    r"UPDATE\s+(\w+)(?:\s+(?:AS\s+)?\w+)?\s+SET\s+(.*?)(?=\bWHERE\b|\bFROM\b|\bRETURNING\b|$)",
    re.IGNORECASE | re.DOTALL,
)

TRIGGERS: dict[str, tuple[str, ...]] = {
    "chat_messages": ("depth", "jump_id", "jump_depth"),
    "search_pending": ("session_id", "message_id"),
    "usage_pending": ("call_id",),
    "users": ("email_canonical", "email_folded", "username_canonical", "full_name_folded"),
}
"""Columns that triggers of the migrations set."""


@cache
def _attributes() -> dict[str, tuple[str, dict[str, str]]]:
    """Return table and columns by attribute of each model, by the name of its class."""
    return {
        mapper.class_.__name__: (
            mapper.class_.__tablename__,
            {attribute.key: attribute.columns[0].name for attribute in mapper.column_attrs},
        )
        for mapper in Base.registry.mappers
    }


def _label(path: Path) -> str:
    relative = path.relative_to(APP).with_suffix("")
    parts = [part for part in relative.parts if part not in {"database", "repositories"}]
    return "/".join(parts)


@cache
def usage() -> tuple[Columns, Columns, dict[str, Path]]:
    """Return the writers and the readers of each column, and the files of both by their labels."""
    writers: Columns = defaultdict(set)
    readers: Columns = defaultdict(set)
    files: dict[str, Path] = {}
    for path in modules("app"):
        if "models" in path.parts and "database" in path.parts:
            continue
        label = _label(path)
        visitor = _Visitor(path)
        visitor.visit(tree(path))
        for column in visitor.written:
            writers[column].add(label)
        for column in visitor.read:
            readers[column].add(label)
        files[label] = path
    return writers, readers, files


class _Visitor(ast.NodeVisitor):
    """Collects the columns that one module writes and queries."""

    def __init__(self, path: Path) -> None:
        self.written: set[tuple[str, str]] = set()
        self.read: set[tuple[str, str]] = set()
        self._models = _models_of(path)
        self._locals: dict[str, list[str | None]] = {}
        """Keys of the dictionaries, and texts of the lists, that the variables of the current function stand for."""

    def visit_FunctionDef(self, function: ast.FunctionDef) -> None:
        self._visit_function(function)

    def visit_AsyncFunctionDef(self, function: ast.AsyncFunctionDef) -> None:
        self._visit_function(function)

    def _visit_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self._locals = self._locals, {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and node.value is not None:
                    self._locals[target.id] = self._texts(node.value)
        self.generic_visit(function)
        self._locals = outer

    def visit_Call(self, call: ast.Call) -> None:
        name = called_name(call)
        if isinstance(call.func, ast.Name) and name in self._models:
            self._write(name, [argument.arg for argument in call.keywords])
        elif name in {"values", "from_select", "on_conflict_do_update"}:
            model = self._target(call.func)
            if model:
                self._write(model, self._names(call))
        self.generic_visit(call)

    def visit_Attribute(self, attribute: ast.Attribute) -> None:
        base = attribute.value
        if isinstance(base, ast.Attribute) and base.attr == "c":
            base = base.value
        name = base.id if isinstance(base, ast.Name) else ""
        if name in self._models:
            table, columns = _attributes()[self._models[name]]
            if attribute.attr in columns:
                self.read.add((table, columns[attribute.attr]))
        self.generic_visit(attribute)

    def visit_Constant(self, node: ast.Constant) -> None:
        text = constant(node)
        if text and re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", text):
            self._read_sql(text)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        text = "".join(constant(value) or " _ " for value in node.values)
        if re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", text):
            self._read_sql(text)

    def _read_sql(self, text: str) -> None:
        tables = Base.metadata.tables
        for table, names in _INSERT.findall(text):
            self.written |= {
                (table, name) for name in re.findall(r"\w+", names) if table in tables and name in tables[table].c
            }
        for table, assignments in _UPDATE.findall(text):
            names = re.findall(r"(?:^|,|\()\s*\"?(\w+)\"?\s*=", assignments)
            self.written |= {(table, name) for name in names if table in tables and name in tables[table].c}
        for table in tables:
            if re.search(rf"\b{table}\b", text):
                self.read |= {(table, name) for name in re.findall(r"\w+", text) if name in tables[table].c}

    def _target(self, node: ast.AST) -> str | None:
        """Return the model of the `insert()` or `update()` at the beginning of a chain of calls."""
        while True:
            if isinstance(node, ast.Attribute):
                node = node.value
            elif isinstance(node, ast.Call):
                if called_name(node) in _WRITES and node.args and isinstance(node.args[0], ast.Name):
                    return node.args[0].id if node.args[0].id in self._models else None
                node = node.func
            else:
                return None

    def _names(self, call: ast.Call) -> list[str | None]:
        values = [*call.args[:1], *(each.value for each in call.keywords if each.arg in {"set_", None})]
        names = [name for value in values for name in self._texts(value)]
        return names + [each.arg for each in call.keywords if each.arg not in {"set_", "index_elements", "where"}]

    def _texts(self, value: ast.expr) -> list[str | None]:
        """Return the keys of dictionaries and the texts of lists in an expression. `prefix*`: a computed key."""
        names: list[str | None] = []
        for node in ast.walk(value):
            if isinstance(node, ast.Dict):
                names += [key.attr if isinstance(key, ast.Attribute) else constant(key) for key in node.keys]
            elif isinstance(node, ast.DictComp) and isinstance(node.key, ast.JoinedStr):
                names.append(f"{constant(node.key.values[0]) or '?'}*")
            elif isinstance(node, ast.List | ast.Tuple):
                names += [constant(each) for each in node.elts]
            elif isinstance(node, ast.Name):
                names += self._locals.get(node.id, [])
        return names

    def _write(self, name: str, attributes: list[str | None]) -> None:
        table, columns = _attributes()[self._models[name]]
        by_name = {column: column for column in columns.values()} | columns
        self.written |= {
            (table, column)
            for each in attributes
            if each is not None
            for name, column in by_name.items()
            if fnmatchcase(name, each)
        }


def _models_of(path: Path) -> dict[str, str]:
    """Return the names in a module that stand for models: imported ones and their aliases."""
    known = _attributes()
    names = {
        alias.asname or alias.name: alias.name
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in known
    }
    for node in nodes(path):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called_name(node.value) == "aliased":
            argument = node.value.args[0]
            if isinstance(argument, ast.Name) and argument.id in names and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = names[argument.id]
    return names
