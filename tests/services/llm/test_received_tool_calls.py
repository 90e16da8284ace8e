"""Tool calls as engines send them: whole, in pieces, without indexes, or with one index for all."""

import json
from typing import Any

import pytest

from app.services.llm.documents import MalformedDocumentError
from app.services.llm.received_tool_calls import ReceivedToolCalls


def call(name: str | None = None, arguments: object = None, **fields: object) -> dict[str, Any]:
    """Return an entry of `tool_calls`."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'
DIALECTS: dict[str, list[list[dict[str, Any]]]] = {
    "pieces with indexes": [
        [call("f", "", index=0, id="a", type="function")],
        [call(None, ROME[:7], index=0)],
        [call(None, ROME[7:], index=0)],
        [call("f", "", index=1, id="b")],
        [call(None, OSLO, index=1)],
    ],
    "whole calls": [[call("f", ROME, id="a"), call("f", OSLO, id="b")]],
    "whole calls, one by one, with one index": [[call("f", ROME, index=0, id="a")], [call("f", OSLO, index=0, id="b")]],
    "id and name in every piece": [
        [call("f", ROME[:5], index=0, id="a")],
        [call("f", ROME[5:], index=0, id="a")],
        [call("f", OSLO, index=1, id="b")],
    ],
    "empty ids and names in later pieces": [
        [call("f", ROME[:5], index=0, id="a")],
        [call("", ROME[5:], index=0, id="")],
        [call("f", OSLO, index=1, id="b")],
    ],
    "objects as arguments": [[call("f", json.loads(ROME), id="a")], [call("f", json.loads(OSLO), id="b")]],
    "pieces of two calls in turns": [
        [call("f", ROME[:5], index=0, id="a"), call("f", OSLO[:5], index=1, id="b")],
        [call(None, OSLO[5:], index=1), call(None, ROME[5:], index=0)],
    ],
}


@pytest.mark.parametrize("deltas", DIALECTS.values(), ids=DIALECTS)
def test_calls_are_the_same_whatever_the_engine_sends(deltas: list[list[dict[str, Any]]]) -> None:
    received = ReceivedToolCalls()
    pieces = [piece for documents in deltas for piece in received.take(documents)]
    assert [(each.id, each.name, each.arguments) for each in received.calls] == [("a", "f", ROME), ("b", "f", OSLO)]
    # The pieces are what a client of OpenAI joins.
    for index, arguments in enumerate((ROME, OSLO)):
        own = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.arguments for piece in own) == arguments
        assert [piece.name for piece in own] == ["f", *[None] * (len(own) - 1)]


def test_calls_without_ids_get_some() -> None:
    received = ReceivedToolCalls()
    received.take([call("f", ROME), call("f", OSLO)])
    assert [each.id for each in received.calls] == ["call_0", "call_1"]


def test_text_that_cannot_be_stored_is_removed() -> None:
    received = ReceivedToolCalls()
    received.take([call("f\x00", "a\x00\ud83d", id="x\ud800")])
    received.take([call(None, "\ude00b")])
    received.end()
    (only,) = received.calls
    assert (only.id, only.name, only.arguments) == ("x?", "f", "a😀b")


@pytest.mark.parametrize("documents", [[5], [{}], [{"function": 1}], [call(None, "x")], [call("", "x")]])
def test_malformed_calls_are_refused(documents: list[Any]) -> None:
    with pytest.raises(MalformedDocumentError):
        ReceivedToolCalls().take(documents)


def test_number_of_calls_is_limited() -> None:
    with pytest.raises(MalformedDocumentError):
        ReceivedToolCalls().take([call("f", "", id=str(number)) for number in range(200)])
