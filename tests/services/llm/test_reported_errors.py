"""Errors and answers as users of engines and gateways have reported them, each in its own words."""

import json
import time
from typing import Any

import pytest

from app.graph.ports.chat_model import ModelError
from app.services.llm.error_classes import BAD_REQUEST, classify
from app.services.llm.error_reports import read_error_report
from app.services.llm.openai import OpenAIChatModel
from tests.services.llm.openai_attempts import QUESTION
from tests.services.llm.streamed_attempts import LONG_TIMEOUTS, STOP, StreamedAttempt
from tests.support.fakes import model_request
from tests.support.provider import DONE, Call, Provider, Wire, chunk, sends, streams
from tests.support.waiting import LONGEST_WAIT

LONG, REFUSED, BALANCE = "prompt_too_long", "provider_refused", "provider_quota_exceeded"
LIMITED, FAILED, REJECTED = "provider_rate_limited", "provider_error", "provider_rejected"

ERRORS = [
    # Azure, OpenAI
    (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.", LONG),
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 35000.", LONG),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", REFUSED),
    (400, "The response was filtered due to the prompt triggering Azure's content management policy.", REFUSED),
    (429, "You exceeded your current quota, please check your plan and billing details.", BALANCE),
    (429, "Requests to the ChatCompletions_Create Operation have exceeded the token rate limit.", LIMITED),
    # vLLM, SGLang, TGI, LM Studio, llama.cpp
    (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens).", LONG),
    (400, "max_tokens must be at least 1, got -50.", LONG),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", LONG),
    (400, "Trying to keep the first 5000 tokens when context the overflows. context length of only 4096", LONG),
    (400, "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", LONG),
    (503, "Loading model", FAILED),
    (429, "Model is overloaded", LIMITED),
    # Anthropic, Bedrock, Cohere, Perplexity, xAI, Mistral
    (400, "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", LONG),
    (400, "prompt is too long: 209303 tokens > 200000 maximum", LONG),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081", LONG),
    (400, "The total length of all messages is too long.", LONG),
    (400, "This model's maximum prompt length is 131072 but the request contains 200000 tokens.", LONG),
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", LONG),
    (400, "Your credit balance is too low to access the API.", BALANCE),
    (429, "Too many tokens, please wait before trying again.", LIMITED),
    # Moonshot, DashScope, Zhipu, Volcengine, DeepSeek
    (400, "Invalid request: Your request exceeded model token limit: 8192", LONG),
    (400, "Range of input length should be [1, 30720]", LONG),
    (400, "Prompt 超长", LONG),
    (400, "Output data may contain inappropriate content.", REFUSED),
    (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", REFUSED),
    (400, "The request failed because the input text may contain sensitive information.", REFUSED),
    (400, "Content Exists Risk", REFUSED),
    (429, "余额不足或无可用资源包,请充值。", BALANCE),
    (402, "Insufficient Balance", BALANCE),
    # LiteLLM, OpenRouter, Groq
    (400, "litellm.ContextWindowExceededError: AnthropicError - x", LONG),
    (400, "litellm.ContentPolicyViolationError: AzureException - x", REFUSED),
    (400, "litellm.BadRequestError: Error code: 400 - {'error': {'code': 'content_filter', 'message': 'x'}}", REFUSED),
    (400, "Budget has been exceeded! Current cost: 1.0, Max budget: 0.5", BALANCE),
    (402, "This request requires more credits, or fewer max_tokens.", BALANCE),
    (413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000", LONG),
    (400, "x/y is not a valid model ID", REJECTED),
    (400, "Invalid model name passed in model=x", REJECTED),
    (400, "The model `x` has been decommissioned and is no longer supported.", REJECTED),
]
NAMED = [
    (429, {"error": {"type": "exceeded_current_quota_error", "message": "suspended"}}, BALANCE),
    (429, {"error": {"type": "engine_overloaded_error", "message": "try again later"}}, LIMITED),
    (400, {"error": {"code": "InputTextSensitiveContentDetected", "message": "x"}}, REFUSED),
    (403, {"error": {"code": "AccountOverdueError", "message": "x"}}, BALANCE),
    (400, {"error_code": "content_filter", "message": "x"}, REFUSED),
    (
        None,
        {"error": {"message": "Provider returned error", "metadata": {"error_type": "rate_limit_exceeded"}}},
        LIMITED,
    ),
    (None, {"error": {"code": 502, "message": "x", "metadata": {"error_type": "provider_unavailable"}}}, FAILED),
]
QUOTED = [
    ({"code": "content_filter", "message": "x"}, REFUSED),
    ({"code": "context_length_exceeded", "message": "x"}, LONG),
    ({"code": "data_inspection_failed", "message": "x"}, REFUSED),
    ({"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, REFUSED),
]


@pytest.mark.parametrize(("status", "message", "code"), ERRORS, ids=[message[:50] for _, message, _ in ERRORS])
def test_messages_without_a_code_are_understood(status: int, message: str, code: str) -> None:
    for document in ({"error": {"message": message}}, {"error": message}, {"object": "error", "message": message}):
        meaning = classify(read_error_report(document, status))
        assert meaning.code == code
        assert meaning.is_model_fault is (code not in {LONG, REFUSED})


@pytest.mark.parametrize("name", ["rate_limit_exceeded", "insufficient_quota", "invalid_api_key", "model_not_found"])
def test_quoted_requests_are_no_fault_of_the_model(name: str) -> None:
    error = {"message": f"Invalid schema for function '{name}': 'x' is not valid.", "type": "invalid_request_error"}
    assert classify(read_error_report({"error": error}, 400)) == BAD_REQUEST


FAULTS = [
    "Insufficient balance",
    "API key not valid",
    "Invalid model name",
    "x is not a valid model ID",
    "x has been decommissioned",
    "your budget has been exceeded",
]
"""Texts of users that are also errors for which a model is suspended."""


def quotes(phrase: str) -> list[dict[str, Any]]:
    """Return the fields of requests that contain a phrase, one for each way of writing it."""
    beginning, end = phrase[:9], phrase[9:]
    parts = [{"type": "text", "text": each} for each in (beginning, end)]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {phrase: {"type": "object"}}}}}
    return [
        {"messages": [{"role": "user", "content": f'What does "{phrase.upper()}!" mean?'}]},
        {"messages": [{"role": "user", "content": phrase.replace(" ", "\n\t")}]},
        {"messages": [{"role": "user", "content": phrase.replace("i", "\N{FULLWIDTH LATIN SMALL LETTER I}")}]},
        {"messages": [{"role": "user", "content": parts}]},
        {"messages": [{"role": "user", "content": beginning}, {"role": "user", "content": end}]},
        {"tools": [tool]},
        {"tools": [{"type": phrase}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": phrase}}}},
        {"stop": [phrase]},
    ]


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("phrase", FAULTS)
def test_phrases_of_the_request_are_no_fault_of_the_model(phrase: str, status: int) -> None:
    report = read_error_report({"error": {"message": f"The input '{phrase}' cannot be parsed."}}, status)
    genuine = classify(report, {"messages": [{"role": "user", "content": "Hello, is my balance insufficient?"}]})
    # Engines report neither the model nor the balance with 413.
    assert genuine.is_model_fault is (status != 413 or phrase == "API key not valid")
    for sent in quotes(phrase):
        assert classify(report, sent) == BAD_REQUEST, sent


def test_what_the_request_does_not_contain_is_a_fault_of_the_model() -> None:
    sent = {"messages": [{"role": "user", "content": "API key not valid, insufficient balance"}]}
    message = "Cannot parse 'api key not valid, insufficient balance': your account is not active"
    assert classify(read_error_report({"error": {"message": message}}, 400), sent).code == BALANCE


@pytest.mark.parametrize("code", ["insufficient_quota", "rate_limit_exceeded", "invalid_api_key", "model_not_found"])
def test_codes_count_unless_they_are_quoted_from_the_request(code: str) -> None:
    text = json.dumps({"error": {"code": code}})
    own, quoted = ({"error": {"code": code}}, {"error": {"code": 400, "message": text}})
    sent = {"messages": [{"role": "user", "content": text}]}
    assert classify(read_error_report(own, 400), sent).is_model_fault
    assert classify(read_error_report(quoted, 400), {"messages": []}).is_model_fault
    assert classify(read_error_report(quoted, 400), sent) == BAD_REQUEST


def test_quoted_phrases_do_not_matter_if_the_status_concerns_all_requests() -> None:
    sent = {"messages": [{"role": "user", "content": "Insufficient balance"}]}
    report = read_error_report({"error": {"message": "Insufficient Balance"}}, 402)
    assert (classify(report, sent).code, classify(report, sent).is_model_fault) == (BALANCE, True)


def test_deeply_nested_requests_are_searched() -> None:
    schema: dict[str, Any] = {"description": "insufficient balance"}
    for _ in range(10_000):
        schema = {"items": schema}
    report = read_error_report({"error": {"message": "insufficient balance"}}, 400)
    assert classify(report, {"tools": [schema]}) == BAD_REQUEST


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("is_quoted", [False, True], ids=["genuine", "quoted"])
@pytest.mark.parametrize("status", [400, 422, 200])
async def test_an_engine_that_quotes_the_question_stays_in_use(
    model: OpenAIChatModel, provider: Provider, status: int, *, is_quoted: bool, is_streamed: bool
) -> None:
    question = 'Why do I get "insufficient balance"?' if is_quoted else "Hello."
    document = {"error": {"message": "Cannot parse 'insufficient balance'.", "code": 400}}

    async def behave(_: Call, wire: Wire) -> None:
        await wire.json(status, document)

    event = b"data: " + json.dumps(document).encode() + b"\n\n"
    provider.always(streams(chunk(), event) if is_streamed and status == 200 else behave)
    request = model_request([{"role": "user", "content": question}])
    if is_streamed:
        attempt = model.stream(request, lambda _text: None, timeouts=LONG_TIMEOUTS)
    else:
        attempt = model.complete(request, max_seconds=LONGEST_WAIT)
    with pytest.raises(ModelError) as failure:
        await attempt
    assert failure.value.is_model_fault is not is_quoted
    assert failure.value.code == (REJECTED if is_quoted else BALANCE)


@pytest.mark.parametrize(("status", "document", "code"), NAMED)
def test_names_are_understood(status: int | None, document: dict[str, object], code: str) -> None:
    assert classify(read_error_report(document, status)).code == code


@pytest.mark.parametrize(("inner", "code"), QUOTED)
@pytest.mark.parametrize("indent", [None, 2])
def test_errors_that_a_gateway_quotes_as_text_are_understood(
    inner: dict[str, object], code: str, indent: int | None
) -> None:
    raw = json.dumps({"error": inner}, indent=indent)
    for error in (
        {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "Azure"}},
        {"message": raw, "type": None, "code": "400"},
    ):
        assert classify(read_error_report({"error": error}, 400)).code == code


@pytest.mark.parametrize("text", ["{", "{}", "{" * 10_000, '{"error": 7}', '{"error": {"code": NaN}}', "{" * 30_000])
def test_texts_that_look_like_documents_are_harmless(text: str) -> None:
    assert classify(read_error_report({"error": {"message": text}}, 400)).code == REJECTED


def delta(delta: object, **choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, **choice}]}).encode() + b"\n\n"


TAGS = [
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("begin", "end"), TAGS)
async def test_reasoning_tags_of_other_models_are_separated(
    model: OpenAIChatModel, provider: Provider, begin: str, end: str
) -> None:
    text = f"{begin}Let me think.{end}The answer."
    document = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    provider.script(sends(json.dumps(document).encode()))
    completion = await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (completion.text, completion.reasoning) == ("The answer.", "Let me think.")
    provider.script(streams(*(delta({"content": character}) for character in text), STOP, DONE))
    attempt = StreamedAttempt(model)
    completion = await attempt.run()
    assert (completion.text, completion.reasoning) == ("The answer.", "Let me think.")
    assert attempt.text == "The answer."


async def test_an_end_in_geminis_own_name_is_one(model: OpenAIChatModel, provider: Provider) -> None:
    document = {"choices": [{"message": {"content": "Hello."}, "finishReason": "stop"}]}
    provider.script(sends(json.dumps(document).encode()))
    assert (await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)).text == "Hello."
    provider.script(streams(chunk("Hello."), delta({}, finishReason="stop"), DONE))
    assert (await StreamedAttempt(model).run()).text == "Hello."


@pytest.mark.parametrize("rest", [b"\n\n", b"\n", b""])
async def test_an_error_line_of_llama_cpp_is_an_error(model: OpenAIChatModel, provider: Provider, rest: bytes) -> None:
    line = b'error: {"code": 400, "message": "the request exceeds the available context size"}'
    provider.script(streams(chunk("Hel"), line + rest))
    assert (await StreamedAttempt(model).fail()).code == LONG


async def test_reasoning_details_of_openrouter_are_reasoning(model: OpenAIChatModel, provider: Provider) -> None:
    details = [
        {"type": "reasoning.text", "text": "Let me "},
        {"type": "reasoning.summary", "summary": "think."},
        {"type": "reasoning.encrypted", "data": "x"},
        "odd",
    ]
    message = {"content": "The answer.", "reasoning_details": details}
    provider.script(sends(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()))
    completion = await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (completion.text, completion.reasoning) == ("The answer.", "Let me think.")
    provider.script(streams(*(delta({"reasoning_details": [each]}) for each in details), chunk("The answer."), STOP))
    completion = await StreamedAttempt(model).run()
    assert (completion.text, completion.reasoning) == ("The answer.", "Let me think.")
    both = {"content": "The answer.", "reasoning": "Let me think.", "reasoning_details": details}
    provider.script(sends(json.dumps({"choices": [{"message": both, "finish_reason": "stop"}]}).encode()))
    completion = await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert completion.reasoning == "Let me think."


@pytest.mark.parametrize(
    "text",
    ["a " * 1_000_000, "\ufdfa" * 1_000_000, "a" + "\u0315\u0300" * 40_000],
    ids=["words", "long forms", "marks"],
)
def test_long_requests_are_compared_in_bounded_time(text: str) -> None:
    wording = " ".join(FAULTS)
    report = read_error_report({"error": {"message": wording}}, 400)
    started = time.process_time()
    assert not classify(report, {"messages": [{"role": "user", "content": text + wording}]}).is_model_fault
    assert time.process_time() - started < 0.5
