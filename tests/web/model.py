"""The real small model behind the scriptable provider: what a test does not script, the model answers."""

import httpx

from app.graph.prompts import summary_prompt, title_prompt
from tests.support.provider import Behaviour, Call, Wire
from tests.support.waiting import LONGEST_WAIT

_BACKGROUND_INSTRUCTIONS = [title_prompt("")[0], summary_prompt([])[0]]


def is_background(call: Call) -> bool:
    """Tell whether a title or a summary is asked for, which may happen during a later test."""
    return any(call.messages[:1] == [instructions] for instructions in _BACKGROUND_INSTRUCTIONS)


def forwards(url: str) -> Behaviour:
    """Pass the request to another OpenAI-compatible server, and its answer back as it comes."""

    async def behave(call: Call, wire: Wire) -> None:
        async with (
            httpx.AsyncClient(timeout=LONGEST_WAIT, trust_env=False) as client,
            client.stream("POST", f"{url}/chat/completions", json=call.body) as response,
        ):
            content_type = response.headers["Content-Type"]
            await wire.head(response.status_code, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
            async for piece in response.aiter_bytes():
                await wire.chunk(piece)
            await wire.chunk(b"")

    return behave
