"""Fake provider with low overhead: `python -m benchmarks.provider --port 9000 --tokens 300 --rate 25`.

It implements OpenAI's protocol on sockets, in a separate process. All answers have the same tokens. A streamed answer
sends them at the given rate, each token in a separate packet.
"""

import argparse
import asyncio
import json
from typing import cast

import uvloop

WORD = " lorem"
"""Each token of an answer."""


def main() -> None:
    """Serve until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provider", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=300, help="tokens per answer")
    parser.add_argument("--rate", type=float, default=25, help="tokens per second of a stream")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, _Answer(arguments.tokens, arguments.rate)))


class _Answer:
    """The bytes of all answers, precomputed."""

    def __init__(self, tokens: int, rate: float) -> None:
        self.tokens = tokens
        self.interval = 1 / rate
        usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
        message = {"role": "assistant", "content": (WORD * tokens).strip()}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        document = json.dumps({**_envelope("chat.completion"), "choices": [choice], "usage": usage}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.whole = head % len(document) + document
        self.head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.head += _delta_event({"role": "assistant", "content": ""})
        self.token = _delta_event({"content": WORD})
        self.end = _delta_event({}, "stop") + _event(
            {**_envelope("chat.completion.chunk"), "choices": [], "usage": usage}
        )
        self.end += _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _envelope(object_type: str) -> dict[str, object]:
    return {"id": "chatcmpl-1", "object": object_type, "created": 1, "model": "fast", "system_fingerprint": "fp_1"}


def _delta_event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event({**_envelope("chat.completion.chunk"), "choices": [choice]})


def _event(document: object) -> bytes:
    return _chunk(b"data: " + json.dumps(document).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Connection(asyncio.Protocol):
    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's call
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._received = b""
        if json.loads(body).get("stream"):
            self._transport.write(self._answer.head)
            self._send(1, self._loop.time())
        else:
            self._transport.write(self._answer.whole)

    def _send(self, number: int, due: float) -> None:
        if number > self._answer.tokens:
            self._timer = None
            self._transport.write(self._answer.end)
            return
        self._transport.write(self._answer.token)
        due += self._answer.interval
        self._timer = self._loop.call_at(due, self._send, number + 1, due)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve(port: int, answer: _Answer) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    main()
