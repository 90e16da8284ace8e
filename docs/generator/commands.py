"""Tables of the commands: the command line of operators, the local stack, and the targets of the Makefile."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from docs.generator.markdown import code, sentence, table, with_blocks
from docs.generator.paths import REFERENCE, ROOT
from docs.generator.source import called_name, calls, constant, keyword, modules, nodes, tree

PAGE = REFERENCE / "commands.md"
_CLI = ROOT / "app" / "cli.py"
_LOCAL = ROOT / "local" / "__main__.py"

VARIABLES: Mapping[str, tuple[str, str]] = {
    "ADMIN_EMAIL": ("`make run`, Compose", "address of the first admin; default `admin@example.com`"),
    "ADMIN_PASSWORD": (
        "`create-admin`, `make run`, Compose",
        "password of the first admin; `ADMIN_PASSWORD_FILE`: a file",
    ),
    "ANSWER_SECONDS": ("`tests/web/test_long_answer.py`", "duration of the answer that is watched"),
    "BACKUP": ("`make backup`, `make restore`", "directory of the backup"),
    "BASE_URL": ("`make demo`", "URL of another system"),
    "BENCH": ("`make bench`", "name of one benchmark"),
    "BENCH_DATA": ("`make bench`", "directory of a prepared database"),
    "BENCH_ROWS": ("`make bench`", "number of rows of the ledger, or of each table"),
    "BENCH_SESSIONS": ("`make bench`", "number of sessions"),
    "CHAT_API_KEY": ("`python -m app.cli chat`", "API key with the scopes `chat:read` and `chat:write`"),
    "CHAT_PASSWORD": ("`python -m app.cli chat`", "password for `--username`"),
    "CI": ("tests", "set in CI: a missing browser fails the tests instead of skipping them"),
    "CLIENTS": ("`make clients`", "`write`: write `docs/reference/clients.md`"),
    "DRILLS": ("`make drills`", "`full`: drills at full size"),
    "LOCK_ARGS": ("`make lock`", "arguments of the resolver, such as `--upgrade`"),
    "MUTANT": ("`make mutants`", "text in the name of the mutations to run"),
    "PGSSLROOTCERT": ("services, migrations", "file of root certificates, if `DATABASE_URL` names none"),
    "PORT": ("`make run`, `make demo`, Compose", "port of the gateway; default 8080"),
    "PROVIDER_FAULTS": ("`make faults`", "`write`: write `docs/reference/provider-faults.md`"),
    "PYTEST_ARGS": (
        "`make test`, `check`, `coverage`, `drills`, `soak`, `clients`, `fuzz`",
        "arguments of pytest, such as `-k login`; `make test` then omits the tests in Node",
    ),
    "PYTHON": ("`make setup`", "interpreter for `.venv`; default `python3`"),
    "SCHEMATHESIS": ("`make fuzz`", "`full`: as many requests as fit into seven minutes for each service"),
    "SCHEMATHESIS_IDENTITIES": ("`make fuzz`", "ids of the accounts of the run, set by the test for its hooks"),
    "SCHEMATHESIS_REPORT": ("`make fuzz`", "path of the reports, to which the name of the service is added"),
    "SOAK_MINUTES": ("`tests/drills/test_soak.py`", "duration in minutes, from `MINUTES` of `make soak`"),
    "SCREENSHOTS": ("`make screenshots`", "`write`: write the pictures in `docs/images`"),
    "TEST_DATABASE_TEMPLATE": ("`make mutants`", "migrated database that those of the tests are copied from"),
    "TEST_DATABASE_URL": ("tests", "PostgreSQL for tests that do not stop it; `make test` then omits those in Node"),
    "TEST_LATE_SECONDS": ("tests of a shutdown", "seconds after the port is closed in which questions are accepted"),
    "TEST_NOTICE_SECONDS": ("tests of a shutdown", "seconds before the port is closed"),
    "TEST_REDIS_URL": ("tests", "Redis for tests that do not stop it; `make test` then omits those in Node"),
}
"""Environment variables of tools: where they are read, and what they do. Those of services are settings."""
_NOT_OF_TOOLS = {"PATH", "HOME", "COLUMNS", "DATABASE_URL", "SECRET_KEY", "OPENAI_BASE_URL"}


def cli_commands() -> dict[str, tuple[str, list[str]]]:
    """Return the help and the arguments of each command of `python -m app.cli`."""
    helps = {
        node.name: ast.get_docstring(node) or "" for node in ast.walk(tree(_CLI)) if isinstance(node, ast.FunctionDef)
    }
    found: dict[str, tuple[str, list[str]]] = {}
    variables: dict[str, str] = {}
    for node in ast.walk(tree(_CLI)):
        call = node.value if isinstance(node, ast.Assign | ast.Expr) else None
        if not isinstance(call, ast.Call):
            continue
        if called_name(call) == "add_command":
            name, function = constant(call.args[0]) or "", ast.unparse(call.args[1])
            found[name] = (helps[function].partition("\n\n")[0], [])
            if isinstance(node, ast.Assign):
                variables[ast.unparse(node.targets[0])] = name
    for call in calls(_CLI):
        if called_name(call) == "add_argument" and isinstance(call.func, ast.Attribute):
            command = variables[ast.unparse(call.func.value)]
            help_text = constant(keyword(call, "help"))
            found[command][1].append(f"`{constant(call.args[0])}`" + (f" ({help_text})" if help_text else ""))
    return found


def local_commands() -> dict[str, str]:
    """Return the help of each command of `python -m local`."""
    return {
        constant(call.args[0]) or "": constant(keyword(call, "help")) or ""
        for call in calls(_LOCAL)
        if called_name(call) == "add_parser"
    }


def make_targets() -> dict[str, str]:
    """Return the help of each target of the Makefile."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def _read_variables() -> frozenset[str]:
    found = set()
    for path in modules("app", "local", "benchmarks", "tests"):
        for node in nodes(path):
            name = None
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}:
                name = constant(node.args[0])
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                name = constant(node.slice)
            if name:
                found.add(name)
    return frozenset(found - _NOT_OF_TOOLS)


def tool_variables() -> frozenset[str]:
    """Return the environment variables that tools and tests read."""
    return _read_variables()


def undescribed_variables() -> list[str]:
    """Return the variables of tools that the page does not have."""
    return sorted(tool_variables() - VARIABLES.keys())


def documents() -> dict[Path, str]:
    """Return the page with its tables."""
    cli = [(code(name), sentence(text), ", ".join(arguments)) for name, (text, arguments) in cli_commands().items()]
    blocks = {
        "cli": table(("Command", "What it does", "Arguments"), cli),
        "local": table(
            ("Command", "What it does"), [(code(name), sentence(text)) for name, text in local_commands().items()]
        ),
        "make": table(
            ("Target", "What it does"), [(code(name), sentence(text)) for name, text in make_targets().items()]
        ),
        "variables": table(
            ("Variable", "Read by", "Meaning"),
            [(code(name), where, sentence(text)) for name, (where, text) in VARIABLES.items()],
        ),
    }
    return {PAGE: with_blocks(PAGE, blocks)}
