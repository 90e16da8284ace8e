"""Error codes of the code, by where clients see them. The page `errors.md` describes them; a check compares both."""

import ast
import re
from typing import get_args

from app.chat.transfer.formats.imported_session import LeftOutReason
from app.http import openai_errors
from docs.generator.paths import APP, ROOT
from docs.generator.source import called_name, calls, classes, constant, keyword, modules, nodes

_TURN_CODE = re.compile(
    r"provider_(?!model|status|name|unavailable)[a-z_]+|prompt_too_long|turn_timeout|reasoning_exhausted|model_suspended|interrupted"
    r"|shutting_down"
)


def api_codes() -> set[str]:
    """Return the codes of problem documents: those of the errors' classes, and those given where they are raised."""
    codes = set(_gateway_codes())
    for path in modules("app"):
        for definition in classes(path):
            if (
                any(base.endswith("Error") for base in map(ast.unparse, definition.bases))
                and path.parent.name == "core"
            ):
                codes |= {
                    text
                    for statement in definition.body
                    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "code"
                    if (text := constant(statement.value))
                }
        for call in calls(path):
            name = called_name(call)
            text = constant(keyword(call, "code"))
            if text and (name.endswith(("Error", "Limiter")) or name == "problem_response"):
                codes.add(text)
    # Of the base class, which is never raised without another code.
    return codes - {"unprocessable"}


def _gateway_codes() -> set[str]:
    text = (ROOT / "nginx.conf").read_text()
    block = re.search(r"map \$status \$problem_code \{(.*?)\}", text, re.DOTALL)
    return set(re.findall(r"^\s*(?:\S+)\s+\"?([a-z_]+)\"?;", block[1], re.MULTILINE)) if block else set()


def field_codes() -> set[str]:
    """Return the codes of invalid fields that this project defines; the others are those of Pydantic."""
    codes = set()
    for path in modules("app"):
        for call in calls(path):
            if called_name(call) == "InvalidFieldError" and len(call.args) > 1:
                codes.add(constant(call.args[1]) or "")
            elif called_name(call) == "PydanticCustomError":
                codes.add(constant(call.args[0]) or "")
    return codes - {""}


def turn_codes() -> set[str]:
    """Return the codes of failed attempts and answers, and of the reasons for fallback models."""
    return {
        node.value
        for path in modules("app/services/llm", "app/graph", "app/chat/turns")
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _TURN_CODE.fullmatch(node.value)
    }


def webhook_codes() -> set[str]:
    """Return the codes of failed deliveries of webhooks."""
    codes: set[str | None] = set()
    for path in (APP / "worker" / "webhook_delivery.py", APP / "services" / "http" / "ssrf_safe_client.py"):
        for node in nodes(path):
            if isinstance(node, ast.Call) and called_name(node) == "OutgoingRequestError":
                codes.add(constant(node.args[0]))
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "error":
                codes.add(constant(node.value))
            elif isinstance(node, ast.FunctionDef) and node.name == "_reason":
                codes |= {constant(each.value) for each in ast.walk(node) if isinstance(each, ast.Return)}
    return {code for code in codes if code}


def openai_codes() -> set[str]:
    """Return the codes of the OpenAI-compatible API that are other ones than those of the rest of the API."""
    return set(openai_errors._CODES.values())  # noqa: SLF001 - documents what clients see


def import_reasons() -> set[str]:
    """Return the reasons for which parts of imported files are left out."""
    return set(get_args(LeftOutReason))
