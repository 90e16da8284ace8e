"""Command that asks the configured models."""

import json
import os
import subprocess
import sys

from local.paths import PROJECT
from tests.support.provider import Behaviour, Call, Provider, Wire, answers, fails


def run(provider: Provider, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": "sk-canary",
        "LLM_MODEL": "first",
        "LLM_FALLBACK_MODEL": "second",
        **settings,
    }
    command = [sys.executable, "-m", "app.cli", "doctor"]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def requires_other_name() -> Behaviour:
    async def behave(call: Call, wire: Wire) -> None:
        if "max_tokens" in call.body:
            error = {"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}
            await wire.json(400, {"error": error})
        else:
            await answers("yes")(call, wire)

    return behave


def test_each_model_is_asked_plain_and_streamed(provider: Provider) -> None:
    provider.always(requires_other_name(), model="first")
    ended = run(provider)
    lines = [line.partition(" (")[0] for line in ended.stdout.splitlines()]
    assert lines == [
        "first: plain: ok, finish reason stop, tokens counted",
        "first: streamed: ok, finish reason stop, tokens counted",
        "second: plain: ok, finish reason stop, tokens counted",
        "second: streamed: ok, finish reason stop, tokens counted",
        "first: max_tokens: sent as max_completion_tokens, as the model requires",
    ]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [call.stream for call in provider.calls] == [False, False, True, False, True]


def test_failure_is_reported_and_no_key_is_printed(provider: Provider) -> None:
    provider.always(fails(401, message="Incorrect API key: sk-canary"), model="second")
    ended = run(provider)
    assert ended.returncode == 1
    assert "second: plain: failed: provider_rejected, HTTP status 401" in ended.stdout
    assert "sk-canary" not in ended.stdout + ended.stderr


def test_missing_provider_is_one_line(provider: Provider) -> None:
    ended = run(provider, OPENAI_BASE_URL="", OPENAI_API_KEY="")
    assert ended.returncode == 1
    assert ended.stderr.startswith("configuration: OPENAI_API_KEY: is required")
    assert len(ended.stderr.splitlines()) == 1


def test_models_of_other_providers_are_asked_there(provider: Provider) -> None:
    provider.always(answers("Let me think.\n</think>\nyes", usage=None), model="engine-7")
    house = {"name": "house", "base_url": provider.base_url, "api_key_env": "HOUSE_KEY"}
    models = [{"name": "second", "provider": "house", "provider_model": "engine-7", "max_output_tokens": 40}]
    ended = run(provider, LLM_PROVIDERS=json.dumps([house]), LLM_MODELS=json.dumps(models), HOUSE_KEY="sk-house-canary")
    lines = [line.partition(" (0")[0] for line in ended.stdout.splitlines()]
    hint = "text contains </think>: set starts_with_reasoning"
    assert lines[2:] == [
        "second (house): plain: ok, finish reason stop, tokens not counted by the engine, with reasoning",
        f"second (house): streamed: ok, finish reason stop, tokens not counted by the engine, {hint}",
    ]
    assert [call.headers["authorization"] for call in provider.calls[2:]] == ["Bearer sk-house-canary"] * 2
    assert [call.body["max_tokens"] for call in provider.calls] == [2048, 2048, 40, 40]
    assert "canary" not in ended.stdout + ended.stderr


def test_missing_key_is_one_line(provider: Provider) -> None:
    ended = run(provider, LLM_PROVIDERS='[{"name": "house", "api_key_env": "HOUSE_KEY"}]')
    assert ended.returncode == 1
    reason = "the key is missing: the environment variable HOUSE_KEY is not set or empty"
    assert ended.stderr == f"configuration: LLM_PROVIDERS: house: {reason}\n"
