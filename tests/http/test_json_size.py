"""Bodies with too many JSON values."""

import json
import time

import pytest

from app.http.json_size import MAX_JSON_VALUES, has_too_many_values
from tests.fixtures.services import Chat

MIB = 1024 * 1024
MANY = MAX_JSON_VALUES + 1


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * MANY + b"1]",
        b"[" + b"1," * MANY + b"1]",
        b"[" * MANY + b"]" * MANY,
        b'{"a":[' + b'"",' * (MANY // 2) + b'""]}',
        b'["\\\\",' + b"[]," * MANY + b"1]",
        b'["\\"",' + b"[]," * MANY + b"1]",
        ("[" + "{}," * MANY + "1]").encode("utf-16"),
    ],
    ids=["objects", "numbers", "depth", "texts", "escaped backslash", "escaped quotation mark", "UTF-16"],
)
def test_many_values_are_counted(body: bytes) -> None:
    assert has_too_many_values(body)


@pytest.mark.parametrize(
    "text",
    ["a" * 4 * MIB, ",[{" * MIB, '","' * MIB, "\\" * MIB, '\\"[' * MIB, "\n," * MIB, "é[" * MIB],
    ids=["letters", "structure", "quotation marks", "backslashes", "both", "escapes", "UTF-8"],
)
def test_long_texts_are_one_value(text: str) -> None:
    for ascii_only in (True, False):
        assert not has_too_many_values(json.dumps({"message": text}, ensure_ascii=ascii_only).encode())


def test_longest_conversation_is_accepted() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": 'He said: "[{,"'}]}
    assert not has_too_many_values(json.dumps({"messages": [message] * 5000}).encode())


def test_counting_takes_milliseconds() -> None:
    started = time.process_time()
    for body in (b'"' * 4 * MIB, b'\\"' * 2 * MIB, b"\\" * 4 * MIB, b"{}," * MIB, b"," * 4 * MIB, b"a" * 4 * MIB):
        has_too_many_values(body)
    assert time.process_time() - started < 1


def test_body_is_refused_before_it_is_parsed(chat: Chat) -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}],"unknown":[' + b"{}," * MANY + b"{}]}"
    response = chat.client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["code"] == response.json()["error"]["code"] == "content_too_large"
