"""One OpenAPI document of all services, merged from theirs."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

Document = dict[str, Any]

_TAGS: Final = {
    "auth": "Accounts, logins, tokens and API keys.",
    "chat": "Conversations: sessions, questions, answers, event streams, search and sharing.",
    "openai": "The OpenAI-compatible API.",
    "admin": "Reports and operations for admins.",
}
_PATH_PARAMETERS: Final = {
    "session_id": "Id of a session.",
    "message_id": "Id of a message.",
    "user_id": "Id of an account.",
    "key_id": "Id of an API key.",
    "invitation_id": "Id of an invitation.",
    "import_id": "Id of an import.",
    "share_id": "Id of a shared conversation.",
    "webhook_id": "Id of a webhook endpoint.",
    "delivery_id": "Id of an event in the delivery log of the endpoint.",
    "model_id": "Name of a model.",
}
"""Descriptions of parameters of paths, which are the same in all operations."""
_BEARER: Final = "OAuth2PasswordBearer"
_API_KEY: Final = "ApiKey"
_WITH_API_KEYS: Final = frozenset({"chat", "openai"})
_METHODS: Final = ("get", "put", "post", "delete", "patch")


def merge_documents(documents: Mapping[str, Document], *, title: str, version: str) -> Document:
    """Return one OpenAPI 3.1 document of all services, by name, with unique operation ids and schema names.

    An operation id or a schema that two services use differently gets the name of its service as prefix. OpenAPI 3.2,
    in which the documents of the services describe event streams, is not read by most generators; here the schema of a
    stream is that of one event.
    """
    ids = Counter(operation["operationId"] for document in documents.values() for operation in _operations(document))
    paths: Document = {}
    schemas: Document = {}
    for service, original in documents.items():
        document = _with_unique_schemas(service, original, schemas)
        for operation in _operations(document):
            if ids[operation["operationId"]] > 1:
                operation["operationId"] = f"{service}_{operation['operationId']}"
            _describe_streams(operation)
            _declare_security(operation)
        paths |= document["paths"]
        schemas |= document["components"]["schemas"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "summary": "Chat, accounts and administration, as the gateway serves them.",
            "description": "Errors are problem documents (RFC 9457). Below `/v1` they have the member `error` besides, "
            "which clients of OpenAI read.",
            "contact": {"name": "The maintainers"},
            "license": {"name": "MIT License", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                _BEARER: documents["auth"]["components"]["securitySchemes"][_BEARER],
                _API_KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. Its scopes decide which operations it may call.",
                },
            },
        },
    }


def describe_path_parameters(document: Document) -> None:
    """Describe the parameters of paths that have no description of their own."""
    for operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path" and "description" not in parameter:
                parameter["description"] = _PATH_PARAMETERS[parameter["name"]]


def remove_null_from_parameters(document: Document) -> None:
    """Remove null from the schemas of optional parameters: what is not in a URL or a header is absent, never null."""
    for operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
            if len(alternatives) == 1:
                del schema["anyOf"]
                parameter["schema"] = alternatives[0] | schema
            elif alternatives:
                schema["anyOf"] = alternatives


def _operations(document: Document) -> Iterator[Document]:
    for path in document["paths"].values():
        for method in _METHODS:
            if method in path:
                yield path[method]


def _with_unique_schemas(service: str, original: Document, taken: Mapping[str, Any]) -> Document:
    """Return a copy of the document whose schemas have other names where another service has different ones."""
    schemas = original["components"]["schemas"]
    text = json.dumps(original)
    for name in [name for name, schema in schemas.items() if name in taken and taken[name] != schema]:
        renamed = f"{service.capitalize()}{name}"
        text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{renamed}"')
        text = text.replace(f'"{name}": {json.dumps(schemas[name])}', f'"{renamed}": {json.dumps(schemas[name])}')
    document: Document = json.loads(text)
    return document


def _describe_streams(operation: Document) -> None:
    for response in operation["responses"].values():
        for media_type in response.get("content", {}).values():
            if "itemSchema" in media_type:
                media_type["schema"] = media_type.pop("itemSchema")


def _declare_security(operation: Document) -> None:
    if "security" not in operation:
        operation["security"] = []
    elif operation["tags"][0] in _WITH_API_KEYS:
        operation["security"] = [*operation["security"], {_API_KEY: []}]
