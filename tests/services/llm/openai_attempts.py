"""Attempts at the client of OpenAI's API."""

import json

from app.config import Settings
from app.graph.ports.chat_model import Completion, StreamTimeouts
from app.graph.ports.messages import PromptMessage
from app.services.llm.openai import OpenAIChatModel
from tests.support.fakes import model_request

QUESTION: list[PromptMessage] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße 🌍"},
]
SETTINGS = {"DATABASE_URL": "postgresql://u@h/d", "SECRET_KEY": "k" * 32}


def open_model(settings: Settings) -> OpenAIChatModel:
    """Return the client of the default provider."""
    return OpenAIChatModel.open(settings.providers()[0])


async def run_attempt(model: OpenAIChatModel, seconds: float, *, is_streamed: bool) -> Completion:
    if is_streamed:
        return await model.stream(
            model_request(QUESTION), lambda _text: None, timeouts=StreamTimeouts(seconds, seconds, seconds)
        )
    return await model.complete(model_request(QUESTION), max_seconds=seconds)


def document(**choice: object) -> bytes:
    return json.dumps(
        {"model": "m", "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop", **choice}]}
    ).encode()
