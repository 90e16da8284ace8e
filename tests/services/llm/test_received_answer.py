"""Streamed answers in OpenAI's protocol, malformed ones included."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from app.graph.ports.chat_model import ModelTokenCounts
from app.services.llm.event_parser import EventParser
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.received_answer import ReceivedAnswer
from app.services.llm.response_body import MAX_BODY_BYTES
from tests.services.llm.openai_attempts import QUESTION, run_attempt
from tests.services.llm.streamed_attempts import STOP, StreamedAttempt
from tests.support.provider import DONE, Behaviour, Provider, answers, chunk, fails, redirects, resets, sends, streams


async def test_a_streamed_request_publishes_the_pieces_one_by_one(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(answers("Good day. 🌍", usage=(7, 2), model="gpt-4-0613"))
    attempt = StreamedAttempt(model)
    completion = await attempt.run()
    assert attempt.pieces == ["Good", " day.", " 🌍"]
    assert not completion.is_repaired
    assert (completion.text, completion.model, completion.finish_reason) == ("Good day. 🌍", "gpt-4-0613", "stop")
    assert completion.token_counts == ModelTokenCounts(7, 2)
    (call,) = provider.calls
    assert call.body == {
        "model": "primary",
        "messages": QUESTION,
        "max_tokens": 50,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([chunk("Hel"), chunk("lo."), STOP, DONE], id="no usage"),
        pytest.param([chunk("Hel"), chunk("lo."), STOP], id="no end marker"),
        pytest.param([chunk("Hel") + chunk("lo.") + STOP + DONE], id="all in one piece"),
        pytest.param([bytes([byte]) for byte in chunk("Hel") + chunk("lo.") + STOP], id="byte by byte"),
        pytest.param([chunk("Hello.").replace(b"\n", b"\r\n"), STOP, DONE], id="other line ends"),
        pytest.param([b": ping\n\n", b"event: x\nid: 1\n", chunk("Hello."), STOP], id="other fields and comments"),
        pytest.param([chunk("Hello."), STOP, chunk(choices=[], usage={"prompt_tokens": -1})], id="odd usage"),
        pytest.param([chunk("Hello."), STOP, b"data: {broken\n\n"], id="broken after its end"),
        pytest.param([chunk(choices=[]), chunk("Hello.", finish_reason="stop")], id="end with the last piece"),
    ],
)
async def test_all_variants_of_a_complete_stream_are_parsed(
    provider: Provider, model: OpenAIChatModel, pieces: list[bytes]
) -> None:
    provider.script(streams(*pieces))
    attempt = StreamedAttempt(model)
    completion = await attempt.run()
    assert completion.text == attempt.text == "Hello."
    assert completion.token_counts.is_estimated
    assert completion.token_counts.completion_tokens == 2


@pytest.mark.parametrize(
    ("behaviour", "code", "text"),
    [
        pytest.param(fails(429), "provider_rate_limited", "", id="429"),
        pytest.param(fails(500), "provider_error", "", id="500"),
        pytest.param(resets(), "provider_unreachable", "", id="reset"),
        pytest.param(redirects("/v1/chat/completions"), "provider_rejected", "", id="redirect"),
        pytest.param(sends(b"x", encoding="gzip", status=200), "provider_bad_response", "", id="no event"),
        pytest.param(streams(DONE), "provider_bad_response", "", id="nothing"),
        pytest.param(streams(chunk(" \n"), STOP, DONE), "provider_bad_response", " \n", id="blank"),
        pytest.param(streams(chunk("Hel"), DONE), "provider_bad_response", "Hel", id="no finish reason"),
        pytest.param(streams(chunk("Hel")), "provider_bad_response", "Hel", id="just over"),
        pytest.param(answers("a b c", cut_after=2), "provider_unreachable", "a b", id="cut"),
        pytest.param(streams(chunk("Hel"), b"data: {broken\n\n"), "provider_bad_response", "Hel", id="broken json"),
        pytest.param(streams(chunk("Hel"), b'data: {"a": "\xff"}\n\n'), "provider_bad_response", "Hel", id="utf-8"),
        pytest.param(streams(chunk("Hel"), b"data: 7\n\n"), "provider_bad_response", "Hel", id="no object"),
        pytest.param(
            streams(chunk("Hel"), b"data: " + b"[" * 99_999 + b"\n"), "provider_bad_response", "Hel", id="deep"
        ),
        pytest.param(streams(chunk("Hel"), chunk(error={"message": "x"})), "provider_error", "Hel", id="error object"),
        pytest.param(streams(chunk("Hel"), chunk(choices=[{"delta": 1}])), "provider_bad_response", "Hel", id="delta"),
        pytest.param(streams(chunk("Hel"), *[b"x" * 65_536] * 999), "provider_bad_response", "Hel", id="endless line"),
        pytest.param(
            streams(chunk("Hel"), *[b":" + b"x" * 65_536 + b"\n"] * (MAX_BODY_BYTES // 65_536)),
            "provider_bad_response",
            "Hel",
            id="endless lines",
        ),
    ],
)
async def test_an_incomplete_stream_raises_a_model_error(
    provider: Provider, model: OpenAIChatModel, behaviour: Behaviour, code: str, text: str
) -> None:
    provider.script(behaviour)
    attempt = StreamedAttempt(model)
    assert (await attempt.fail()).code == code
    assert attempt.text == text
    assert len(provider.calls) == 1
    provider.script(answers("Hello."))
    assert (await StreamedAttempt(model).run()).text == "Hello."  # and the next request succeeds


async def test_characters_that_cannot_be_stored_are_removed(provider: Provider, model: OpenAIChatModel) -> None:
    lone_surrogate = b'data: {"choices": [{"delta": {"content": "b\\ud800"}}]}\n\n'
    provider.script(streams(chunk("a\x00"), lone_surrogate, chunk("\x00"), STOP, DONE))
    attempt = StreamedAttempt(model)
    completion = await attempt.run()
    assert completion.text == attempt.text == "ab?"
    assert completion.is_repaired


async def test_a_surrogate_pair_may_be_split_between_events(provider: Provider, model: OpenAIChatModel) -> None:
    halves = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % half for half in (b"a\\ud83d", b"\\ude00b")]
    provider.script(streams(*halves, STOP, DONE))
    attempt = StreamedAttempt(model)
    assert (await attempt.run()).text == attempt.text == "a😀b"


async def test_a_lone_surrogate_at_the_end_is_replaced_and_marked_as_repaired(
    provider: Provider, model: OpenAIChatModel
) -> None:
    provider.script(streams(chunk("Hi"), b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n', STOP))
    completion = await StreamedAttempt(model).run()
    assert (completion.text, completion.is_repaired) == ("Hi?", True)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_large_chunk_does_not_block_other_tasks(
    model: OpenAIChatModel, monkeypatch: pytest.MonkeyPatch, *, is_streamed: bool
) -> None:
    iterations = 0

    async def other() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    class Response:
        is_success = True
        headers = httpx2.Headers({"content-type": "text/event-stream"})

        @property
        async def stream(self) -> AsyncIterator[bytes]:
            for _ in range(10):
                yield chunk("a") * 1000
            yield STOP

        async def aclose(self) -> None:
            pass

    async def send(*_: object, **__: object) -> Response:
        return Response()

    monkeypatch.setattr(model._http, "send", send)
    task = asyncio.create_task(other())
    completion = await run_attempt(model, 60, is_streamed=is_streamed)
    assert completion.text == "a" * 10_000
    task.cancel()
    assert iterations >= 10


def test_a_long_line_may_arrive_byte_by_byte() -> None:
    def seconds_for(length: int) -> float:
        text = "x" * length
        parser, answer = EventParser(), ReceivedAnswer()
        started = time.process_time()
        received = chunk(text).replace(b"\n", b"\r\n") + b"data:"
        events = [event for byte in received for event in parser.feed(bytes((byte,)))]
        assert "".join(map(answer.feed, events)) == text
        return time.process_time() - started

    # Four times as long takes four times as long. Joined anew for every byte, it would take sixteen times as long.
    assert seconds_for(800_000) < 9 * seconds_for(200_000)


@pytest.mark.parametrize("rest", ["The answer.", "<think>x</think>The answer.", ""])
def test_much_white_space_at_the_beginning_takes_linear_time(rest: str) -> None:
    answer, pieces = ReceivedAnswer(), [" " * 900_000] * 4 + [" "] * 1000 + [*rest]
    events = [(b"", chunk(piece).removeprefix(b"data: ").strip()) for piece in pieces]
    started = time.process_time()
    for event in events:
        answer.feed(event)
    answer.end()
    assert time.process_time() - started < 1
    space = "" if "<" in rest else " " * 3_601_000
    assert answer.text == space + rest.removeprefix("<think>x</think>")
