"""Every field and parameter of the OpenAPI documents has a description, with its unit, and a valid example."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.http.api_document import Document
from app.http.field_examples import has_example, variants_of
from tests.support.operations import APPS

UNITS = {
    r"_ms$": r"milliseconds",
    r"_seconds$|^expires_in$": r"[Ss]econds",
    r"_days$": r"[Dd]ays",
    r"_hours$": r"[Hh]ours",
    r"_bytes$": r"bytes",
    r"_length$": r"characters",
    r"tokens": r"[Tt]okens",
    r"^cost_|_price$": r"US dollars",
    r"_rate$": r" / ",
}
"""Words in the description of a quantity, by its name."""
KINDS = (
    "milliseconds|seconds|hours|days|tokens|characters|code points|bytes|US dollars|number|share|position|status|from"
    "|items|attempts|calls|turns|questions|answers|accounts|sessions|messages|keys|tags|versions|requests|events"
    "|connections| / "
)
"""What the other quantities are, or count."""
NAMES_WHAT_MAY_NOT_EXIST = {
    "X-Session-ID",
    "actor",
    "after",
    "before",
    "cursor",
    "last-event-id",
    "target",
    "user",
}
"""Optional parameters without an example: pages with the documentation would send it, and find nothing."""


def fields(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the place, the name and the schema of each field and parameter, with its description."""
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            yield f"{name}.{field}", field, value
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"] | {"description": parameter.get("description", "")}
                yield f"{method} {path} {parameter['name']}", parameter["name"], schema


def undescribed(document: Document) -> Iterator[str]:
    """Yield the fields, parameters and operations without a description."""
    for place, _, schema in fields(document):
        if not schema.get("description"):
            yield place
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not operation.get("description"):
                yield f"{method} {path}"


def without_unit(document: Document) -> Iterator[str]:
    """Yield the quantities whose description says neither their unit nor what they count."""
    schemas = document["components"]["schemas"]
    for place, name, schema in fields(document):
        types = [variant.get("type") for variant in variants_of(schema, schemas)]
        description = schema.get("description", "")
        is_amount = "string" in types and re.search("^cost_|_price$", name)
        if not ("integer" in types or "number" in types or is_amount):
            continue
        unit = next((unit for pattern, unit in UNITS.items() if re.search(pattern, name)), f"(?i:{KINDS})")
        if not re.search(unit, description):
            yield f"{place}: {description}"


def without_example(document: Document) -> Iterator[str]:
    """Yield the fields and parameters without an example."""
    schemas = document["components"]["schemas"]
    for place, name, schema in fields(document):
        if not has_example(schema, schemas) and not (" " in place and name in NAMES_WHAT_MAY_NOT_EXIST):
            yield place


def invalid_examples(document: Document) -> Iterator[str]:
    """Yield the examples that their schemas do not permit."""
    for place, _, schema in fields(document):
        validator = Draft202012Validator(schema | {"components": document["components"]})
        for example in schema.get("examples", ()):
            yield from (f"{place}: {error.message}" for error in validator.iter_errors(example))


@pytest.mark.parametrize("service", sorted(APPS))
@pytest.mark.parametrize("find", [undescribed, without_unit, without_example, invalid_examples])
def test_everything_is_described(service: str, find: Any) -> None:  # noqa: ANN401 - one of the functions above
    assert list(find(APPS[service].openapi())) == []


def test_what_is_missing_is_found() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "a": {"type": "string"},
            "b": {"description": "Text.", "type": "string", "examples": [1]},
            "used_tokens": {"description": "Use.", "type": "integer", "examples": [1]},
            "depth": {"description": "How deep.", "type": "integer", "examples": [1]},
        }
    }
    operation = {"description": "Text.", "parameters": [{"name": "id", "schema": {"type": "string"}}]}
    document = {"components": {"schemas": {"Thing": schema}}, "paths": {"/things": {"get": operation}}}
    assert list(undescribed(document)) == ["Thing.a", "get /things id"]
    assert list(without_unit(document)) == ["Thing.used_tokens: Use.", "Thing.depth: How deep."]
    assert list(without_example(document)) == ["Thing.a", "get /things id"]
    assert list(invalid_examples(document)) == ["Thing.b: 1 is not of type 'string'"]
