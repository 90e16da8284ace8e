"""Reasoning whose opening tag is in the prompt template, so that the answer has the closing tag only."""

import json

import pytest

from app.services.llm.received_answer import ReceivedAnswer
from tests.support.provider import chunk

TEXT = "Let me think.\n</think>\n\nThe answer."
STOP = chunk(finish_reason="stop")


def stream(*events: bytes, starts_with_reasoning: bool = True) -> tuple[ReceivedAnswer, str, str]:
    """Return the answer, and the text and the reasoning that were published."""
    reasoning: list[str] = []
    answer = ReceivedAnswer(reasoning.append, starts_with_reasoning=starts_with_reasoning)
    published = "".join(answer.feed((b"", event.removeprefix(b"data: ").strip())) for event in events)
    return answer, published + answer.end(), "".join(reasoning)


def plain(content: str, *, finish_reason: str = "stop", starts_with_reasoning: bool = False) -> ReceivedAnswer:
    answer = ReceivedAnswer(starts_with_reasoning=starts_with_reasoning)
    choice = {"index": 0, "message": {"content": content}, "finish_reason": finish_reason}
    answer.take_document(json.loads(json.dumps({"model": "m", "choices": [choice]})))
    return answer


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_stream_of_a_model_that_starts_with_reasoning(size: int) -> None:
    pieces = [chunk(TEXT[start : start + size]) for start in range(0, len(TEXT), size)]
    answer, published, reasoning = stream(*pieces, STOP)
    assert (published, reasoning) == ("\n\nThe answer.", "Let me think.\n")
    assert (answer.text, answer.reasoning) == (published, reasoning)


def test_reasoning_is_published_as_it_arrives() -> None:
    reasoning: list[str] = []
    answer = ReceivedAnswer(reasoning.append, starts_with_reasoning=True)
    for piece in ("Let ", "me"):
        assert answer.feed((b"", chunk(piece).removeprefix(b"data: ").strip())) == ""
    assert reasoning == ["Let ", "me"]


def test_an_opening_tag_may_be_sent_nevertheless() -> None:
    answer, published, reasoning = stream(chunk("<think>Let me"), chunk(" think.</think>The answer."), STOP)
    assert (published, reasoning, answer.text) == ("The answer.", "Let me think.", "The answer.")


@pytest.mark.parametrize("is_streamed", [True, False])
def test_text_without_any_tag_is_the_answer(*, is_streamed: bool) -> None:
    if is_streamed:
        answer, published, _ = stream(chunk("The "), chunk("answer. <"), STOP)
        assert published == answer.text
    else:
        answer = plain("The answer. <", starts_with_reasoning=True)
    assert (answer.text, answer.reasoning) == ("The answer. <", "")


@pytest.mark.parametrize("events", [(), (chunk(finish_reason="length"),)], ids=["no end", "length"])
def test_reasoning_that_was_cut_is_not_an_answer(events: tuple[bytes, ...]) -> None:
    answer, published, _ = stream(chunk("Let me thi"), *events)
    assert (published, answer.text, answer.reasoning) == ("", "", "Let me thi")


@pytest.mark.parametrize("starts_with_reasoning", [True, False])
def test_whole_answer(*, starts_with_reasoning: bool) -> None:
    answer = plain(TEXT, starts_with_reasoning=starts_with_reasoning)
    assert (answer.text.strip(), answer.reasoning.strip()) == ("The answer.", "Let me think.")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("The tag </think> ends reasoning.\nIt is a tag.", id="within a line"),
        pytest.param("Use this:\n```\n</think>\n```\nThat is all.", id="in code"),
        pytest.param("Begin with <think> and end with\n</think>\nlike this.", id="with its opening tag"),
        pytest.param("Let me think.\n</think>\n", id="nothing after it"),
    ],
)
def test_text_about_tags_stays_text(text: str) -> None:
    answer = plain(text)
    assert (answer.text, answer.reasoning) == (text, "")


def test_stream_without_the_profile_keeps_the_text() -> None:
    answer, published, reasoning = stream(chunk(TEXT), STOP, starts_with_reasoning=False)
    assert (published, answer.text, reasoning) == (TEXT, TEXT, "")
