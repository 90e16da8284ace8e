"""Meanings of the errors of engines, in the words of each."""

import time
from email.utils import formatdate

import pytest

from app.services.llm.error_classes import classify
from app.services.llm.error_reports import find_error_report, read_error_report
from app.services.llm.retry_after import retry_after


def error(**fields: object) -> dict[str, object]:
    return {"error": fields}


@pytest.mark.parametrize(
    ("status", "body", "code", "is_model_fault"),
    [
        (400, error(code="context_length_exceeded", message="x"), "prompt_too_long", False),
        (
            400,
            error(message="This model's maximum context length is 4096 tokens.", type="BadRequestError", code=400),
            "prompt_too_long",
            False,
        ),
        (400, {"object": "error", "message": "The prompt is too long: 5000", "code": 40001}, "prompt_too_long", False),
        (
            400,
            error(
                code=400, message="the request exceeds the available context size.", type="exceed_context_size_error"
            ),
            "prompt_too_long",
            False,
        ),
        (500, {"error": "input length exceeds maximum context length"}, "prompt_too_long", False),
        (
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
            "prompt_too_long",
            False,
        ),
        (
            400,
            error(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
            "provider_refused",
            False,
        ),
        (400, error(code=None, innererror={"code": "ResponsibleAIPolicyViolation"}), "provider_refused", False),
        (
            400,
            [error(code=400, message="API key not valid.", status="INVALID_ARGUMENT")],
            "provider_rejected",
            True,
        ),
        (401, error(message="Incorrect API key.", code="invalid_api_key"), "provider_rejected", True),
        (
            403,
            error(code=403, message="Input was flagged", metadata={"reasons": ["violence"]}),
            "provider_refused",
            False,
        ),
        (403, error(code=403, message="x", metadata={"flagged_input": "y"}), "provider_refused", False),
        (400, error(message="x", innererror={"content_filter_result": {}}), "provider_refused", False),
        (400, error(message="Content Exists Risk", type="invalid_request_error"), "provider_refused", False),
        (402, error(message="Insufficient Balance"), "provider_quota_exceeded", True),
        (402, "payment required", "provider_quota_exceeded", True),
        (403, error(message="Your credit balance is too low"), "provider_quota_exceeded", True),
        (
            429,
            error(code="insufficient_quota", message="You exceeded your current quota"),
            "provider_quota_exceeded",
            True,
        ),
        (
            429,
            error(code=429, message="You exceeded your current quota", status="RESOURCE_EXHAUSTED"),
            "provider_rate_limited",
            True,
        ),
        (429, "slow down", "provider_rate_limited", True),
        (529, error(type="overloaded_error"), "provider_error", True),
        (503, "", "provider_error", True),
        (400, error(message="temperature must be a number"), "provider_rejected", False),
        (401, error(code="invalid_api_key"), "provider_rejected", True),
        (404, error(code="model_not_found"), "provider_rejected", True),
        (408, "", "provider_rejected", True),
    ],
)
def test_statuses(status: int, body: object, code: str, *, is_model_fault: bool) -> None:
    meaning = classify(read_error_report(body, status))
    assert (meaning.code, meaning.is_model_fault) == (code, is_model_fault)
    assert meaning.retryable == (code in {"provider_rate_limited", "provider_error"} or status == 408)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (error(code=429, message="Rate limited"), "provider_rate_limited"),
        (error(code="429"), "provider_rate_limited"),
        ({"error": "something"}, "provider_error"),
        ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, "provider_rejected"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "provider_refused"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "provider_error"),
    ],
)
def test_errors_with_a_status_of_success(document: object, code: str) -> None:
    report = find_error_report(document)
    assert report is not None
    assert classify(report).code == code


@pytest.mark.parametrize("document", [{"error": None}, {"error": {}}, {"error": ""}, {"choices": []}, {}, [], 7, None])
def test_documents_without_an_error(document: object) -> None:
    assert find_error_report(document) is None


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360),
        ({"x-ratelimit-reset-tokens": "120ms", "x-ratelimit-remaining-tokens": "0"}, 0.12),
        ({"x-ratelimit-reset-tokens": "120ms", "x-ratelimit-remaining-tokens": "9"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"retry-after": "nan", "retry-after-ms": "-5"}, None),
        ({}, None),
    ],
)
def test_delays(headers: dict[str, str], delay: float | None) -> None:
    assert retry_after(headers, read_error_report({}, 429)) == (None if delay is None else pytest.approx(delay))


def test_points_in_time() -> None:
    report = read_error_report({}, 429)
    for point in (str(time.time() + 60), str((time.time() + 60) * 1000), formatdate(time.time() + 61, usegmt=True)):
        assert retry_after({"x-ratelimit-reset": point}, report) == pytest.approx(60, abs=3)


def test_the_delay_in_a_report() -> None:
    body = error(code=429, details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}])
    assert retry_after({}, read_error_report(body, 429)) == 30


def test_a_delay_of_megabytes_is_not_read() -> None:
    report = read_error_report({"error": {"retryDelay": "9s" * 1_000_000}}, 429)
    started = time.process_time()
    assert retry_after({}, report) is None
    assert time.process_time() - started < 0.1
