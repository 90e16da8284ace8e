"""Errors of the client of OpenAI's API, against a provider with scripted faults."""

import asyncio
import gzip
import json
import socket
import time
from contextlib import ExitStack
from email.utils import formatdate

import pytest

from app.config import Settings
from app.graph.ports.chat_model import ModelError, ModelTokenCounts
from app.services.llm import openai
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.response_body import MAX_BODY_BYTES
from tests.services.llm.openai_attempts import QUESTION, SETTINGS, document, open_model, run_attempt
from tests.support.fakes import model_request
from tests.support.provider import (
    Behaviour,
    Provider,
    answers,
    drips,
    fails,
    floods,
    resets,
    sends,
    sends_no_choices,
    stalls,
)
from tests.support.waiting import LONGEST_WAIT

NO_ANSWER = stalls()


@pytest.mark.parametrize(
    ("behaviour", "code", "retryable"),
    [
        pytest.param(fails(429), "provider_rate_limited", True, id="429"),
        pytest.param(fails(500), "provider_error", True, id="500"),
        pytest.param(fails(503), "provider_error", True, id="503"),
        pytest.param(fails(408), "provider_rejected", True, id="408"),
        pytest.param(fails(400), "provider_rejected", False, id="400"),
        pytest.param(fails(401), "provider_rejected", False, id="401"),
        pytest.param(fails(404), "provider_rejected", False, id="404"),
        pytest.param(sends(b"<html>", status=502, content_type="text/html"), "provider_error", True, id="proxy page"),
        pytest.param(sends(b"<html>", content_type="text/html"), "provider_bad_response", True, id="page with 200"),
        pytest.param(resets(), "provider_unreachable", True, id="reset"),
        pytest.param(answers("Hello.", cut_after=30), "provider_unreachable", True, id="cut"),
        pytest.param(answers("Hello.", finish_reason=None), "provider_bad_response", True, id="no finish reason"),
        pytest.param(answers(""), "provider_bad_response", True, id="no text"),
        pytest.param(answers(" \n"), "provider_bad_response", True, id="blank text"),
        pytest.param(answers("\x00"), "provider_bad_response", True, id="nothing but nul"),
        pytest.param(sends_no_choices(), "provider_bad_response", True, id="no choices"),
        pytest.param(sends(b'{"choices": [{'), "provider_bad_response", True, id="broken json"),
        pytest.param(sends(b'{"a": "\xff\xfe"}'), "provider_bad_response", True, id="broken utf-8"),
        pytest.param(sends(b"[" * 200_000), "provider_bad_response", True, id="deep json, cut"),
        pytest.param(sends(b"[" * 200_000 + b"]" * 200_000), "provider_bad_response", True, id="deep json"),
        pytest.param(floods(MAX_BODY_BYTES), "provider_bad_response", True, id="too large"),
        pytest.param(sends(gzip.compress(document()), encoding="gzip"), "provider_bad_response", True, id="compressed"),
        pytest.param(sends(b""), "provider_bad_response", True, id="empty body"),
        pytest.param(sends(b"null"), "provider_bad_response", True, id="null"),
        pytest.param(sends(b"[]"), "provider_bad_response", True, id="list"),
        pytest.param(sends(document(message={"content": None})), "provider_bad_response", True, id="null content"),
        pytest.param(sends(document(message={"content": 7})), "provider_bad_response", True, id="content is a number"),
    ],
)
async def test_faults_raise_a_model_error_with_a_stable_code(
    provider: Provider, model: OpenAIChatModel, behaviour: Behaviour, code: str, *, retryable: bool
) -> None:
    provider.script(behaviour)
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (failure.value.code, failure.value.retryable) == (code, retryable)
    assert len(provider.calls) == 1  # the client does not repeat on its own
    assert (await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)).text == "Hello."  # and works again


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(stalls(), id="headers"),
        pytest.param(answers("Hello.", stall_after=30), id="body"),
        pytest.param(drips(0.05), id="a byte at a time"),
    ],
)
async def test_a_timeout_closes_the_connection(
    provider: Provider, model: OpenAIChatModel, behaviour: Behaviour
) -> None:
    provider.script(behaviour)
    started = time.monotonic()
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=1)
    assert 1 <= time.monotonic() - started < 30
    assert (failure.value.code, failure.value.retryable) == ("provider_timeout", True)
    (call,) = provider.calls
    await asyncio.to_thread(provider.wait_until, lambda: call.abandoned is not None)


async def test_a_closed_port_fails_at_once(
    provider: Provider, model: OpenAIChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    with provider.refusing_connections():
        with pytest.raises(ModelError) as failure:
            await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
        assert (failure.value.code, failure.value.retryable) == ("provider_unreachable", True)
        assert not failure.value.may_have_used_tokens
    assert [record.__dict__["reason"] for record in caplog.records] == ["ConnectionRefusedError"]
    assert (await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)).text == "Hello."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
async def test_valid_retry_after_values_are_parsed(
    provider: Provider, model: OpenAIChatModel, header: str, seconds: float | None
) -> None:
    provider.script(fails(429, retry_after=header))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert failure.value.retry_after == seconds


async def test_retry_after_may_be_a_date(provider: Provider, model: OpenAIChatModel) -> None:
    now = time.time()
    provider.script(fails(503, retry_after=formatdate(now + 30, usegmt=True)))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert failure.value.retry_after is not None
    # A date has no fractions of a second, and counts from when it is read.
    assert now + 29 - time.time() <= failure.value.retry_after <= 30


@pytest.mark.parametrize(
    ("status", "error_code", "code", "retryable", "is_model_fault"),
    [
        (400, None, "provider_rejected", False, False),
        (413, None, "provider_rejected", False, False),
        (422, None, "provider_rejected", False, False),
        (401, None, "provider_rejected", False, True),
        (403, None, "provider_rejected", False, True),
        (404, None, "provider_rejected", False, True),
        (408, None, "provider_rejected", True, True),
        (409, None, "provider_rejected", True, True),
        (429, None, "provider_rate_limited", True, True),
        (500, None, "provider_error", True, True),
        (400, "context_length_exceeded", "prompt_too_long", False, False),
        (400, "content_filter", "provider_refused", False, False),
        (429, "insufficient_quota", "provider_quota_exceeded", False, True),
    ],
)
async def test_statuses_map_to_retryable_and_model_fault(
    provider: Provider,
    model: OpenAIChatModel,
    status: int,
    error_code: str | None,
    code: str,
    *,
    retryable: bool,
    is_model_fault: bool,
) -> None:
    provider.script(sends(json.dumps({"error": {"message": "no", "code": error_code}}).encode(), status=status))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    error = failure.value
    assert (error.code, error.retryable, error.is_model_fault) == (code, retryable, is_model_fault)


@pytest.mark.parametrize(
    ("body", "code", "is_model_fault"),
    [
        (document(finish_reason="content_filter"), "provider_refused", False),
        (document(finish_reason="tool_calls"), "provider_bad_response", True),
        (document(finish_reason="abort"), "provider_bad_response", True),
        (document(message={"content": " "}), "provider_bad_response", False),
        (b"{", "provider_bad_response", True),
    ],
)
async def test_unusable_answers_map_to_model_fault(
    provider: Provider, model: OpenAIChatModel, body: bytes, code: str, *, is_model_fault: bool
) -> None:
    provider.script(sends(body))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (failure.value.code, failure.value.is_model_fault) == (code, is_model_fault)


@pytest.mark.parametrize(
    ("behaviour", "token_counts", "may_have_used_tokens"),
    [
        pytest.param(answers(" ", usage=(7, 1)), ModelTokenCounts(7, 1), True, id="blank, and counted"),
        pytest.param(
            answers("No.", usage=(7, 2), finish_reason="content_filter"), ModelTokenCounts(7, 2), True, id="withheld"
        ),
        pytest.param(
            answers("{}", usage=(7, 3), finish_reason="tool_calls"), ModelTokenCounts(7, 3), True, id="broken off"
        ),
        pytest.param(answers(" ", usage=None), None, True, id="blank, and not counted"),
        pytest.param(NO_ANSWER, None, True, id="no answer in time"),
        pytest.param(resets(), None, True, id="reset"),
        pytest.param(sends(b"{"), None, True, id="broken"),
        pytest.param(fails(500), None, False, id="a status"),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_failed_attempt_reports_its_tokens_or_that_it_may_have_used_some(
    provider: Provider,
    model: OpenAIChatModel,
    behaviour: Behaviour,
    token_counts: ModelTokenCounts | None,
    *,
    may_have_used_tokens: bool,
    is_streamed: bool,
) -> None:
    provider.script(behaviour)
    with pytest.raises(ModelError) as failure:
        await run_attempt(model, 1 if behaviour is NO_ANSWER else LONGEST_WAIT, is_streamed=is_streamed)
    assert (failure.value.token_counts, failure.value.may_have_used_tokens) == (token_counts, may_have_used_tokens)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_connection_timeout_is_short_and_uses_no_tokens(
    monkeypatch: pytest.MonkeyPatch, *, is_streamed: bool
) -> None:
    monkeypatch.setattr(openai, "_CONNECT_TIMEOUT", 0.2)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(
            socket.create_connection(listener.getsockname())
        )  # the backlog is full: further connections wait
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        model = open_model(Settings.model_validate(SETTINGS | {"OPENAI_BASE_URL": base_url}))
        started = time.monotonic()
        with pytest.raises(ModelError) as failure:
            await run_attempt(model, LONGEST_WAIT, is_streamed=is_streamed)
        await model.close()
    assert time.monotonic() - started < 30
    assert (failure.value.code, failure.value.may_have_used_tokens) == ("provider_timeout", False)
