"""Malformed requests to each operation get a 4xx problem document that contains none of the input.

The requests are generated from OpenAPI; `test_malformed_input.py` covers what is specific to one operation.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from httpx2 import Response

from app.chat.idempotency.header import KEY_HEADER
from tests.fixtures.services import assert_problem
from tests.fixtures.world import World
from tests.support.access import ENTRIES, generated
from tests.support.operations import Field, Operation, Schema
from tests.support.provider import Provider

CANARY = "canary7f3a"

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no json": CANARY.encode(),
    "half json": b'{"%s": "%s' % (CANARY.encode(), CANARY.encode()),
    "broken utf-8": b'{"%s": "\xff\xfe"}' % CANARY.encode(),
    "UTF-16": json.dumps([CANARY]).encode("utf-16"),
    "a list": b'["%s"]' % CANARY.encode(),
    "a text": b'"%s"' % CANARY.encode(),
    "a number": b"12345678",
    "null": b"null",
    "NaN": b"NaN",
    "1e400": b"1e400",
    "endless number": b"9" * 5000,
    "deep list": b"[" * 8000 + b"]" * 8000,
    "deep object": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "unknown field": b'{"$%s": 1}' % CANARY.encode(),
    "surrogate as a key": b'{"\\ud800%s": 1}' % CANARY.encode(),
    "1 MiB": b" " * 1_048_576,
    "1 MiB of text": b'"' + CANARY.encode() * 104_858 + b'"',
}
# Raw JSON, because no encoder produces these values.
NUMBERS = {"NaN": "NaN", "Infinity": "-Infinity", "1e400": "1e400", "endless": "9" * 5000}
TEXTS = {"NUL": f'"{CANARY}\\u0000"', "lone surrogate": f'"{CANARY}\\ud800"', "half a pair": f'"\\udfff{CANARY}"'}
VALUES_OF_OTHER_TYPES = {
    "string": ["12345678", "true", "[]", "{}", f'["{CANARY}"]', f'{{"{CANARY}": 1}}', *NUMBERS.values()],
    "integer": [f'"{CANARY}"', "1.5", "true", "false", "[]", "{}", *NUMBERS.values()],
    "number": [f'"{CANARY}"', "true", "[]", "{}", *NUMBERS.values()],
    "boolean": [f'"{CANARY}"', "7", "[]", "{}", *NUMBERS.values()],
    "array": [f'"{CANARY}"', "1", "true", "{}", f'{{"{CANARY}": 1}}', *NUMBERS.values()],
    "object": [f'"{CANARY}"', "1", "true", "[]", f'["{CANARY}"]', *NUMBERS.values()],
}
OBJECTS = [f'{{"a": {value}}}' for value in (*NUMBERS.values(), *TEXTS.values(), "[" * 500 + "]" * 500)]
OBJECTS += [f"{{{name}: 1}}" for name in TEXTS.values()]
IDS = [CANARY, "1", "null", "%00", f"{uuid4()}{CANARY}", "%ED%A0%80", "..%2f..%2fetc%2fpasswd", CANARY * 200]


def bad_values(field: Field) -> Iterator[str]:
    """Yield values that a field must refuse, as raw JSON."""
    if not field.types:
        return  # accepts any value
    if not field.is_nullable:
        yield "null"
    yield from sorted(set.intersection(*(set(VALUES_OF_OTHER_TYPES[one]) for one in field.types)))
    if "string" in field.types:
        yield from TEXTS.values()
    if "object" in field.types:
        yield from OBJECTS
    if all("enum" in variant or "const" in variant for variant in field.variants):
        yield f'"{CANARY}"'
    for variant in field.variants:
        yield from out_of_bounds(variant)


def out_of_bounds(variant: Schema) -> Iterator[str]:
    if "maxLength" in variant:
        yield json.dumps("x" * (variant["maxLength"] + 1))
    if "maxItems" in variant:
        yield json.dumps(["x"] * (variant["maxItems"] + 1))
    if "maximum" in variant:
        yield str(variant["maximum"] + 1)
    if "minimum" in variant:
        yield str(variant["minimum"] - 1)


def bad_parameters(field: Field) -> Iterator[str]:
    """Yield values that a query parameter must refuse, URL-encoded."""
    for variant in field.variants:
        if variant.get("type") in {"integer", "number"}:
            yield from ("", CANARY, "nan", "1e400", "9" * 5000, str(10**18), "0x1", "1;2", "%00")
            yield from (str(variant["maximum"] + 1), str(variant["minimum"] - 1))
        elif variant.get("type") == "boolean":
            yield from (CANARY, "2", "%00", "")
        elif "enum" in variant or "const" in variant or "format" in variant:
            yield from (CANARY, "%00", "%ED%A0%80", CANARY * 100)
        else:
            yield from (f"{CANARY}%00", "x" * (variant["maxLength"] + 1))


def assert_refused(response: Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text[:300]
    assert_problem(response, response.status_code)
    assert CANARY not in response.text
    assert CANARY not in str(response.headers)
    assert len(response.content) < 4096


def send(
    world: World,
    operation: Operation,
    *,
    ids: Mapping[str, str] | None = None,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Response:
    """Send a raw request. Ids that are not given are those of no resource."""
    who = ENTRIES[operation.key].who
    caller = world.admin if who == "admin" else world.owner
    path = operation.path.format_map({name: str(uuid4()) for name in operation.ids} | dict(ids or {}))
    sent = {"Content-Type": "application/json"} | (caller.headers if who != "anybody" else {}) | dict(headers or {})
    response = world.services[operation.service].request(
        operation.method,
        f"{path}?{query}" if query else path,
        content=content,
        headers={name.encode(): value.encode("latin-1") for name, value in sent.items()},
    )
    assert response.status_code in operation.statuses, (response.status_code, response.text[:300])
    return response


def good_body(world: World, operation: Operation) -> dict[str, Any]:
    body = ENTRIES[operation.key].body(world, world.owner)
    assert body is not None, f"{operation.key} needs a body in tests/support/access.py"
    return body


# With these ids a malformed request that is accepted gets 404, which the tests do not permit.
MALFORMED = (400, 413, 422)

with_body = pytest.mark.parametrize("operation", generated(lambda operation, _: operation.body is not None))


@with_body
def test_bodies_other_than_objects_of_known_fields_are_refused(world: World, operation: Operation) -> None:
    for name, content in BODIES.items():
        if name in {"nothing", "null"} and operation.is_body_optional:
            continue
        assert_refused(send(world, operation, content=content), *MALFORMED)


@with_body
def test_bodies_of_another_content_type_are_refused(world: World, operation: Operation) -> None:
    content = json.dumps(good_body(world, operation)).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""):
        response = send(world, operation, content=content, headers={"Content-Type": content_type})
        assert_refused(response, *MALFORMED)


@with_body
def test_invalid_field_values_are_refused_by_name(world: World, operation: Operation) -> None:
    good = good_body(world, operation)
    for field in operation.body or ():
        for value in bad_values(field):
            content = json.dumps(good | {field.name: CANARY + "!"}).replace(f'"{CANARY}!"', value)
            response = send(world, operation, content=content.encode())
            assert_refused(response, *MALFORMED)
            if response.status_code == 422:
                assert {error["field"].split(".")[1] for error in response.json()["errors"]} == {field.name}


@pytest.mark.parametrize("operation", generated(lambda operation, _: bool(operation.query)))
def test_query_values_out_of_bounds_are_refused(world: World, operation: Operation) -> None:
    for field in operation.query:
        for value in bad_parameters(field):
            query = urlencode({name: good for name, good in operation.required_query.items() if name != field.name})
            response = send(world, operation, query=f"{query}&{quote(field.name)}={value}")
            assert_refused(response, 422)
            # The request has no body: operations that need one report that too.
            fields = {error["field"] for error in response.json()["errors"]} - {"body"}
            assert fields == {f"query.{field.name}"}


@pytest.mark.parametrize("operation", generated(lambda operation, _: bool(operation.ids)))
def test_malformed_ids_are_refused(world: World, operation: Operation) -> None:
    body = ENTRIES[operation.key].body(world, world.owner)
    content = None if body is None else json.dumps(body).encode()
    for name in operation.ids:
        for value in IDS:
            assert_refused(send(world, operation, ids={name: value}, content=content), 404, 422)


@pytest.mark.parametrize("operation", generated(lambda operation, _: bool(operation.headers)))
def test_unusual_headers_cause_no_error(world: World, operation: Operation) -> None:
    body = ENTRIES[operation.key].body(world, world.owner)
    content = None if body is None else json.dumps(body).encode()
    for field in operation.headers:
        for value in (CANARY * 100, "", " ", "\u00ff", "9" * 5000, "-1", "1e400", f"{CANARY}-{CANARY}", '"', ",,,"):
            # Some headers are ignored if they are meaningless; then the ids are not found.
            response = send(world, operation, headers={field.name: value}, content=content)
            assert response.status_code < 500
            assert CANARY not in response.text


def takes_key(operation: Operation) -> bool:
    return KEY_HEADER in {field.name for field in operation.headers}


def malformed_requests(world: World, operation: Operation) -> Iterator[dict[str, Any]]:
    """Yield arguments of `send` for requests with one malformed part each, and for one in which all parts are."""
    body = ENTRIES[operation.key].body(world, world.owner)
    good = {"content": None if body is None else json.dumps(body).encode()}
    for name in operation.ids:
        yield from (good | {"ids": {name: value}} for value in IDS)
    for field in operation.query:
        yield from (good | {"query": f"{quote(field.name)}={value}"} for value in bad_parameters(field))
    for field in operation.headers:
        if field.name != KEY_HEADER:
            yield from (good | {"headers": {field.name: value}} for value in ("", "-1", CANARY, "9" * 5000, "\u00ff"))
    if operation.body is not None:
        yield from ({"content": content} for content in BODIES.values())
        yield {
            "ids": dict.fromkeys(operation.ids, CANARY),
            "query": "&".join(f"{quote(field.name)}={CANARY}" for field in operation.query),
            "headers": {field.name: CANARY for field in operation.headers if field.name != KEY_HEADER},
            "content": BODIES["a list"],
        }


@pytest.mark.parametrize("operation", generated(lambda operation, _: takes_key(operation)))
@pytest.mark.parametrize("key", ["a-key", "no key", "x" * 300], ids=["a key", "no key", "too long"])
def test_idempotency_key_does_not_change_response_to_malformed_request(
    world: World, provider: Provider, operation: Operation, key: str
) -> None:
    for request in malformed_requests(world, operation):
        plain = send(world, operation, **request)
        with_key = send(world, operation, **request | {"headers": {**request.get("headers", {}), KEY_HEADER: key}})
        # If request and key are both malformed, either may be reported first.
        assert_refused(with_key, plain.status_code, *([422] if key != "a-key" else []))
    assert world.sql.value("SELECT count(*) FROM idempotency_keys") == 0
    assert world.sql.value("SELECT count(*) FROM chat_messages") == 0
    assert provider.calls == []


@pytest.mark.parametrize("session", IDS, ids=range(len(IDS)))
@pytest.mark.parametrize("path", ["messages", "messages/stream"])
def test_idempotency_key_is_unused_after_request_with_malformed_id(world: World, session: str, path: str) -> None:
    chat = world.chat(world.owner)
    headers = {KEY_HEADER: "a-key"}
    refused = chat.request("POST", f"/sessions/{session}/{path}", json={"message": "Hi"}, headers=headers)
    assert_refused(refused, 404, 422)
    answered = chat.request("POST", f"/sessions/{chat.open()}/{path}", json={"message": "Hi"}, headers=headers)
    assert answered.status_code == 200
    assert "Idempotent-Replayed" not in answered.headers


HARMLESS_HEADERS = ["Accept", "Content-Encoding", "Cookie", "Expect", "Forwarded", "Host", "If-None-Match", KEY_HEADER]
HARMLESS_HEADERS += ["Last-Event-ID", "Origin", "Range", "User-Agent", "X-Forwarded-For", "X-Request-ID"]


@pytest.mark.parametrize("operation", generated())
def test_general_headers_with_any_value_cause_no_error(world: World, operation: Operation) -> None:
    values = (CANARY * 100, "", " ", "\u00ff", "\x00", "9" * 5000, '"', ",,,", "Bearer \u00ff", "multipart/form-data")
    for names in (HARMLESS_HEADERS, ["Authorization"], ["Content-Type"]):
        for value in values:
            response = send(world, operation, headers=dict.fromkeys(names, value), content=b"{}")
            assert response.status_code < 500
            assert CANARY not in response.text
