"""Event streams as the WHATWG standard defines them, in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from app.services.llm.event_parser import EventParser

LINES = st.sampled_from(
    [
        "data: {",
        'data:"a": 1',
        "data:  }",
        "data",
        "data:",
        ": comment",
        "event: x",
        "id: 7",
        "retry: 5",
        "other",
        "",
        "",
    ]
)
LINE_ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def parse(body: bytes, sizes: list[int]) -> list[tuple[bytes, bytes]]:
    parser, events, start = EventParser(), [], 0
    for size in sizes:
        events += parser.feed(body[start : start + size])
        start += size
    return events + parser.feed(body[start:]) + parser.close()


@given(
    lines=st.lists(st.tuples(LINES, LINE_ENDS), max_size=30),
    sizes=st.lists(st.integers(0, 9), max_size=60),
    has_byte_order_mark=st.booleans(),
)
def test_events_equal_those_of_another_parser(
    *, lines: list[tuple[str, str]], sizes: list[int], has_byte_order_mark: bool
) -> None:
    text = "".join(line + end for line, end in lines) + "\n\n"
    expected = [
        ((event.event or "").encode(), event.data.encode())
        for event in SSEDecoder().iter_bytes(iter([text.encode()]))
        if event.data or "data" in text
    ]
    received = parse((b"\xef\xbb\xbf" if has_byte_order_mark else b"") + text.encode(), sizes)
    assert [event for event in received if event[1]] == [event for event in expected if event[1]]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: {}\n\n", [b"{}"]),
        (b"data:{}\r\n\r\n", [b"{}"]),
        (b"data: {}\r\rdata: 1\r\r", [b"{}", b"1"]),
        (b"\xef\xbb\xbfdata: 1\n\n", [b"1"]),
        (b"data: {\ndata: }\n\n", [b"{\n}"]),
        (b"data: 1\n", [b"1"]),
        (b"data: 1", [b"1"]),
        (b'data: {"a": 1}\ndata: {"a": 2}\ndata: [DONE]\n\n', [b'{"a": 1}', b'{"a": 2}', b"[DONE]"]),
        (b": ping\n\ndata: 1\n\n", [b"1"]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_every_split_of_a_body_gives_the_same_events(body: bytes, events: list[bytes]) -> None:
    for cut in range(len(body) + 1):
        assert [data for _, data in parse(body, [cut]) if data] == events
    assert [data for _, data in parse(body, [1] * len(body)) if data] == events


def test_the_type_of_an_event_is_that_of_its_field() -> None:
    assert parse(b"event: error\ndata: 1\n\ndata: 2\n\n", []) == [(b"error", b"1"), (b"", b"2")]


def test_an_event_without_end_is_refused() -> None:
    parser = EventParser()
    for _ in range(15):
        parser.feed(b"data: " + b"x" * 65_536 + b"\n")
    with pytest.raises(ValueError, match="too long"):
        parser.feed(b"data: " + b"x" * 65_536 + b"\n")
