"""Dialects of engines that operators run themselves, as their sources and reports of their users describe them."""

from tests.support.engines.engine import (
    DONE,
    RATE_LIMITED,
    REASONING,
    TEXT,
    TOO_LONG,
    USAGE,
    WRONG_KEY,
    Engine,
    Response,
    chunk,
    completion,
    error,
    refuse_parameters,
)

_VLLM_TOO_LONG = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
_VLLM_ERRORS = {
    TOO_LONG: Response(
        {"object": "error", "message": _VLLM_TOO_LONG, "type": "BadRequestError", "param": None, "code": 400}, 400
    ),
    WRONG_KEY: Response({"error": "Unauthorized"}, 401),
}
VLLM = Engine(
    "vLLM",
    "/vllm/v1",
    Response(
        completion(
            {"content": f"\n\n{TEXT}", "reasoning_content": REASONING, "tool_calls": []},
            usage=USAGE | {"prompt_tokens_details": None},
            prompt_logprobs=None,
        ),
        events=(
            chunk({"role": "assistant", "content": ""}, usage=USAGE | {"completion_tokens": 0}),
            chunk({"reasoning_content": REASONING}, usage=USAGE | {"completion_tokens": 1}),
            chunk({"content": f"\n\n{TEXT}"}, usage=USAGE),
            chunk({"content": ""}, "stop", usage=USAGE),
            chunk(None, usage=USAGE),
            DONE,
        ),
    ),
    _VLLM_ERRORS,
    model={"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
    reasoning=REASONING,
)
_UNOPENED = f"{REASONING}\n</think>\n\n{TEXT}"
VLLM_TEMPLATE = Engine(
    "vLLM, tag in the template",
    "/vllm-template/v1",
    Response(
        completion({"content": _UNOPENED}, usage=USAGE),
        events=(
            chunk({"role": "assistant", "content": ""}),
            *(chunk({"content": _UNOPENED[start : start + 3]}) for start in range(0, len(_UNOPENED), 3)),
            chunk({"content": ""}, "stop"),
            chunk(None, usage=USAGE),
            DONE,
        ),
    ),
    _VLLM_ERRORS,
    model={"starts_with_reasoning": True},
    reasoning=REASONING,
)
OLLAMA = Engine(
    "Ollama",
    "/ollama/v1",
    Response(
        completion({"content": TEXT, "reasoning": REASONING}, usage=USAGE, system_fingerprint="fp_ollama"),
        events=(
            chunk({"role": "assistant", "content": "", "reasoning": REASONING}, system_fingerprint="fp_ollama"),
            chunk({"role": "assistant", "content": TEXT}, system_fingerprint="fp_ollama"),
            chunk({"role": "assistant", "content": ""}, "stop", system_fingerprint="fp_ollama"),
            chunk(None, usage=USAGE),
            DONE,
        ),
    ),
    {
        TOO_LONG: error(
            400, message="the input length exceeds the context length", type="invalid_request_error", param=None
        ),
        RATE_LIMITED: error(
            429, {"retry-after": "0"}, message="too many concurrent requests", type="api_error", param=None, code=None
        ),
        WRONG_KEY: Response({"error": "unauthorized"}, 401),
    },
    reasoning=REASONING,
)
LLAMA_CPP = Engine(
    "llama.cpp",
    "/llama-cpp/v1",
    Response(
        completion({"content": TEXT}, usage=USAGE, timings={"prompt_n": 12, "predicted_per_second": 30.5}),
        events=(
            chunk({"role": "assistant", "content": None}),
            chunk({"content": "The "}),
            b": keep-alive\n\n",
            chunk({"content": "answer."}),
            chunk({}, "stop", timings={"prompt_n": 12, "predicted_per_second": 30.5}),
            chunk(None, usage=USAGE, timings={"prompt_n": 12}),
            DONE,
        ),
    ),
    {
        TOO_LONG: error(
            400,
            code=400,
            message="the request exceeds the available context size, try increasing it",
            type="exceed_context_size_error",
            n_prompt_tokens=9000,
            n_ctx=8192,
        ),
        WRONG_KEY: error(401, message="Invalid API Key", type="authentication_error", code=401),
    },
    refuse_parameters(
        ["max_completion_tokens"],
        lambda name: error(400, code=400, message=f"Unsupported param: {name}", type="invalid_request_error"),
    ),
)
SELF_HOSTED = (VLLM, VLLM_TEMPLATE, OLLAMA, LLAMA_CPP)
