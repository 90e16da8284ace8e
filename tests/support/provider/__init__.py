"""Scriptable HTTP server with the API of a language model provider, faults included.

It serves `POST .../chat/completions` (complete answers and event streams) and `GET /v1/models` over real sockets, in a
separate thread, so that the client under test meets real network behaviour, including connection resets:

    with running_provider() as provider:
        provider.script(fails(503), answers("Hello."), model="gpt-4")
        provider.always(echoes())
        ...
        assert provider.calls[0].messages[-1]["content"] == "Hi"
"""

from tests.support.provider.answers import NEVER, answers, echoes, held, streams, streams_from_queue
from tests.support.provider.documents import DONE, chunk
from tests.support.provider.faults import drips, fails, floods, redirects, resets, sends, sends_no_choices, stalls
from tests.support.provider.server import Provider, running_provider
from tests.support.provider.wire import Behaviour, Call, Wire

__all__ = [
    "DONE",
    "NEVER",
    "Behaviour",
    "Call",
    "Provider",
    "Wire",
    "answers",
    "chunk",
    "drips",
    "echoes",
    "fails",
    "floods",
    "held",
    "redirects",
    "resets",
    "running_provider",
    "sends",
    "sends_no_choices",
    "stalls",
    "streams",
    "streams_from_queue",
]
