"""Which modules write and which query each column, found in their statements.

A column is written where `insert()`, `update()`, a model or SQL sets it, and queried where an expression names it or
whole rows are selected, also by a condition or a list of columns that the module imports. The export and the erasure of
an account make statements from lists of tables and columns; these are read here.
"""

import ast
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from uuid import UUID

from sqlalchemy import Column, Table
from sqlalchemy.sql import visitors

from app.database.base import Base
from app.database.models import ChatSession, User
from app.database.repositories.accounts import export
from docs.generator.paths import APP
from docs.generator.source import called_name, constant, modules, nodes, tree

ColumnName = tuple[str, str]
"""Table and column."""
Columns = dict[ColumnName, set[str]]
_REPOSITORIES = APP / "database" / "repositories"
_WHOLE_ROWS = frozenset({"select", "returning", "for_model"})
"""Calls with a model that select all its columns; `for_model`: `RollupTable`."""
_PARTLY_READ = {
    ("transfer/conversations", "chat_messages"),
    *(
        ("operations/system", table)
        for table in ("chat_messages", "idempotency_keys", "outgoing_mails", "quota_reservations", "search_pending")
    ),
    ("operations/system", "usage_pending"),
    ("operations/system", "webhook_deliveries"),
}
"""Modules and tables whose rows they select only to count them, or to read columns that they name."""
_FUNCTIONS = {
    ("chat_messages", "jump_id"): "chat_message_ancestor",
    ("chat_messages", "jump_depth"): "chat_message_ancestor",
}
"""Columns that a function of PostgreSQL reads."""
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
LISTED = frozenset({"accounts/export", "accounts/erasure"})
"""Modules that make statements from lists of tables."""
_COMPUTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "chat/sessions": (
        "chat_sessions",
        ("title", "title_source", "metadata", "model", "is_active", "is_pinned", "tags"),
    ),
    "turns/turn_recovery": ("chat_sessions", ("last_message_preview", "last_message_at", "updated_at")),
    "turns/turns": ("chat_sessions", ("last_message_preview", "last_message_at", "updated_at")),
    "webhooks/endpoints": ("webhook_endpoints", ("disabled_reason", "failing_since")),
}
"""Columns whose names a module gets from its caller or from a function."""
_COMPUTED_READS: dict[str, tuple[str, tuple[str, ...]]] = {
    "usage/quotas": (
        "users",
        ("quota_tokens_per_day", "quota_tokens_per_month", "quota_cost_per_day", "quota_cost_per_month"),
    ),
}
"""Columns whose names a module computes for its queries."""
_ANONYMISED = (("llm_calls", "user_id"), ("llm_calls", "session_id"))
"""Columns that the function `anonymise_ledger`, which the erasure calls, sets to null."""


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
        for column in visitor.read | _imported_columns(path):
            readers[column].add(label)
        files[label] = path
    _add_listed(writers, readers)
    return writers, readers, files


def _add_listed(writers: Columns, readers: Columns) -> None:
    """Add the columns that statements do not name."""
    for column in _exported_columns():
        readers[column].add("accounts/export")
    for column in {*_erased_by(), ("llm_calls", "user_id")}:
        readers[column].add("accounts/erasure")
    for column, function in _FUNCTIONS.items():
        readers[column].add(function)
    for column in _ANONYMISED:
        writers[column].add("accounts/erasure")
    for label, (table, names) in _COMPUTED_READS.items():
        for name in names:
            readers[table, name].add(label)
    for label, (table, names) in _COMPUTED.items():
        for name in names:
            writers[table, name].add(label)


def _exported_columns() -> set[ColumnName]:
    """Return the columns that the sections of the export select, compare or order by."""
    owner = export.ExportOwner(id=0, uuid=UUID(int=0), email="")
    sections = (export.ACCOUNT, export.SESSIONS, export.messages_section(0), *export.SECTIONS)
    return {(section.table, name) for section in sections for name in (*section.columns, *section.order)} | {
        (part.table.name, part.name)
        for section in sections
        for part in visitors.iterate(section.belongs_to(owner))
        if isinstance(part, Column) and isinstance(part.table, Table)
    }


def _erased_by() -> set[ColumnName]:
    """Return the foreign keys by which the erasure finds the rows of an account."""
    return {
        (table.name, key.parent.name)
        for table in Base.metadata.tables.values()
        if table.name != ChatSession.__tablename__
        for key in table.foreign_keys
        if key.column.table.name == User.__tablename__
    }


@cache
def _definitions(path: Path) -> dict[str, ast.stmt]:
    """Return the values and functions at the top level of a module, by their names."""
    found: dict[str, ast.stmt] = {}
    for statement in tree(path).body:
        match statement:
            case ast.FunctionDef(name=name):
                found[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
    return found


@cache
def _imports(path: Path) -> dict[str, tuple[Path, str | None]]:
    """Return the names from modules of the database: the file, and the name there. None: the module itself."""
    found: dict[str, tuple[Path, str | None]] = {}
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app.database."):
            folder = APP.parent.joinpath(*(node.module or "").split("."))
            for alias in node.names:
                module, file = folder / f"{alias.name}.py", folder.with_suffix(".py")
                if module.is_file():
                    found[alias.asname or alias.name] = (module, None)
                elif file.is_file():
                    found[alias.asname or alias.name] = (file, alias.name)
    return found


@cache
def _named_by(path: Path, name: str) -> tuple[frozenset[ColumnName], frozenset[tuple[Path, str]]]:
    """Return the columns and the other definitions that a definition names."""
    definition = _definitions(path).get(name)
    if definition is None:
        return frozenset(), frozenset()
    visitor = _Visitor(path)
    visitor.visit(definition)
    own = {(path, part.id) for part in ast.walk(definition) if isinstance(part, ast.Name)}
    return frozenset(visitor.read), frozenset(own) | _imported_definitions(path, definition)


def _imported_definitions(path: Path, node: ast.AST) -> frozenset[tuple[Path, str]]:
    """Return the definitions of other modules of the database that a part of a module names."""
    imports = _imports(path)
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            module, name = imports.get(part.value.id, (None, None))
            if module is not None and name is None:
                found.add((module, part.attr))
        elif isinstance(part, ast.Name):
            module, name = imports.get(part.id, (None, None))
            if module is not None and name is not None:
                found.add((module, name))
    return frozenset(found)


def _imported_columns(path: Path) -> set[ColumnName]:
    """Return the columns of the conditions, lists and statements that a repository takes from other modules."""
    if _REPOSITORIES not in path.parents:
        return set()
    columns: set[ColumnName] = set()
    seen: set[tuple[Path, str]] = set()
    waiting = set(_imported_definitions(path, tree(path)))
    while waiting:
        definition = waiting.pop()
        seen.add(definition)
        named, others = _named_by(*definition)
        columns |= named
        waiting |= others - seen
    return columns


class _Visitor(ast.NodeVisitor):
    """Collects the columns that one module writes and queries."""

    def __init__(self, path: Path) -> None:
        self.written: set[tuple[str, str]] = set()
        self.read: set[tuple[str, str]] = set()
        self._label = _label(path)
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
        elif name in _WHOLE_ROWS:
            for argument in call.args:
                self._read_rows(argument)
        self.generic_visit(call)

    def _read_rows(self, argument: ast.expr) -> None:
        """Read the columns of a model, or of its `__table__`."""
        match argument:
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name), attr="__table__") if name in self._models:
                table, columns = _attributes()[self._models[name]]
                if (self._label, table) not in _PARTLY_READ:
                    self.read |= {(table, column) for column in columns.values()}

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


@cache
def _models_of(path: Path) -> dict[str, str]:
    """Return the names in a module that stand for models: its own ones, imported ones and their aliases."""
    known = _attributes()
    names = {node.name: node.name for node in nodes(path) if isinstance(node, ast.ClassDef) and node.name in known}
    names |= {
        alias.asname or alias.name: alias.name
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in known and (node.module or "").startswith("app.database.models")
    }
    for node in nodes(path):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = (
                zip(target.elts, value.elts, strict=False)
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                else [(target, value)]
            )
            for name, call in pairs:
                if isinstance(name, ast.Name) and isinstance(call, ast.Call) and called_name(call) == "aliased":
                    argument = call.args[0]
                    if isinstance(argument, ast.Name) and argument.id in names:
                        names[name.id] = names[argument.id]
    return names
