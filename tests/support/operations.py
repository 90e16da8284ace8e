"""Operations of the three services, from their OpenAPI documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app import admin_main, auth_main, main

APPS = {"auth": auth_main.app, "chat": main.app, "admin": admin_main.app}

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of a body or a parameter."""

    name: str
    is_nullable: bool
    variants: tuple[Schema, ...]
    """Schemas of its values, besides null."""
    examples: tuple[Any, ...]
    default: object
    """Default value; None if there is none."""
    is_required: bool = False
    """For a query parameter, whether it is required. It then has an example."""

    @property
    def types(self) -> set[str]:
        """JSON types of its values; empty: any."""
        return {variant["type"] for variant in self.variants if "type" in variant}


@dataclass(frozen=True)
class Operation:
    """An operation of a service."""

    service: str
    name: str
    method: str
    path: str
    """Path template, with the names of ids in braces."""
    ids: tuple[str, ...]
    query: tuple[Field, ...]
    headers: tuple[Field, ...]
    body: tuple[Field, ...] | None
    """Fields of the JSON body. None: it has no JSON body."""
    is_body_optional: bool
    """Whether a request without a body is valid."""
    fields: tuple[Field, ...]
    """Fields of the body, JSON or form."""
    body_examples: tuple[Mapping[str, Any], ...]
    """Whole bodies. Without one, clients make a body of the fields' examples."""
    takes_form: bool
    statuses: frozenset[int]
    """Declared response statuses."""

    @property
    def required_query(self) -> dict[str, Any]:
        """Examples of the required query parameters."""
        return {field.name: field.examples[0] for field in self.query if field.is_required}

    @property
    def key(self) -> str:
        """Key in the access table."""
        return f"{self.service}.{self.name}"


def _operations(service: str) -> Iterator[Operation]:
    document = APPS[service].openapi()
    for path, methods in document["paths"].items():
        if not path.startswith("/api/"):
            continue  # the OpenAI-compatible API has conventions, and tests, of its own
        for method, operation in methods.items():
            parameters: dict[str, list[Field]] = {"path": [], "query": [], "header": []}
            for parameter in operation.get("parameters", ()):
                field = _field(parameter["name"], parameter["schema"], document)
                parameters[parameter["in"]].append(replace(field, is_required=parameter.get("required", False)))
            content = operation.get("requestBody", {}).get("content", {})
            schema: Schema = {}
            for form_or_json in content.values():
                (schema,) = (
                    variant for variant in _variants(form_or_json["schema"], document) if variant.get("type") != "null"
                )
            # An upload is a file, not an object with fields.
            is_upload = "multipart/form-data" in content
            if is_upload:
                schema = {}
            fields = tuple(_field(name, field, document) for name, field in schema.get("properties", {}).items())
            yield Operation(
                service=service,
                name=operation["operationId"],
                method=method.upper(),
                path=path,
                ids=tuple(field.name for field in parameters["path"]),
                query=tuple(parameters["query"]),
                headers=tuple(parameters["header"]),
                body=fields if "application/json" in content and not is_upload else None,
                is_body_optional=not operation.get("requestBody", {}).get("required", False),
                fields=fields,
                body_examples=tuple(schema.get("examples", ())),
                takes_form=bool(content) and "application/json" not in content,
                statuses=frozenset(map(int, operation["responses"])),
            )


def _field(name: str, schema: Schema, document: Schema) -> Field:
    variants = tuple(_variants(schema, document))
    return Field(
        name=name,
        is_nullable=any(variant.get("type") == "null" for variant in variants),
        variants=tuple(variant for variant in variants if variant.get("type") != "null"),
        examples=tuple(schema.get("examples", ())),
        default=schema.get("default"),
    )


def _variants(schema: Schema, document: Schema) -> Iterator[Schema]:
    schema = _resolve(schema, document)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        for alternative in alternatives:
            yield from _variants(alternative, document)
    else:
        yield schema


def _resolve(schema: Schema, document: Schema) -> Schema:
    if "$ref" in schema:
        return _resolve(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    return schema


OPERATIONS = {operation.key: operation for service in APPS for operation in _operations(service)}
