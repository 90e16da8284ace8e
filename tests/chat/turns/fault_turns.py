"""Turns against a provider that has a fault: asking, and seeing what came of it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from local.paths import log_file
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, User
from tests.support.provider import Call, Provider
from tests.support.provider_faults import FAULTS, TEXT

ATTEMPT_SECONDS = 4.0
FALLBACK_TEXT = "From the fallback."
REFUSED = "connection refused"
MODELS = {fault.name: f"model-{number}" for number, fault in enumerate(FAULTS)}
"""The model at which the provider has the fault."""
_WITH_PAUSE = {fault.name for fault in FAULTS if fault.asks_for_pause}


@dataclass
class Seen:
    """What one turn came to."""

    question: str
    fault: str
    is_streamed: bool
    has_fallback: bool
    http_status: int
    text: str
    answer_id: str
    status: str
    code: str
    finish_reason: str
    elapsed: float
    body: str = field(repr=False)
    calls: list[Call] = field(default_factory=list, repr=False)
    codes: list[str | None] = field(default_factory=list)
    """Of the attempts in the ledger."""
    accounts: list[str] = field(default_factory=list)
    """What the ledger says of the tokens of each attempt at the model that has the fault."""

    @property
    def model(self) -> str:
        return MODELS.get(self.fault, "gpt-primary")

    @property
    def calls_made(self) -> str:
        own = sum(call.model == self.model for call in self.calls)
        return f"{own} + {len(self.calls) - own}" if self.has_fallback else str(own)

    @property
    def limits(self) -> int:
        """How many time limits ran out."""
        return self.codes.count("provider_timeout")

    @property
    def pauses(self) -> int:
        """How many pauses there were that the provider had asked for, of a second or more."""
        if self.fault not in _WITH_PAUSE:
            return 0  # the service's own pauses are shorter, but a busy machine has others
        ends = [call.abandoned or call.finished or call.started for call in self.calls]
        return sum(call.started - end > 0.9 for call, end in zip(self.calls[1:], ends, strict=False))

    @property
    def time(self) -> str:
        limits = {0: [], 1: ["1 time limit"]}.get(self.limits, [f"{self.limits} time limits"])
        return " and ".join([*limits, *["the pause asked for"] * self.pauses]) or "at once"

    @property
    def shown(self) -> str:
        known = {TEXT: "the answer", FALLBACK_TEXT: "the fallback's answer", FALLBACK_RESPONSE: "the polite text"}
        if self.text == "The answer?.":
            return "the answer, cleaned"
        what = known.get(self.text) or "what had come"
        return f"{what}, unfinished" if self.status == "failed" and self.text == TEXT else what

    @property
    def row(self) -> tuple[str, ...]:
        code = f"`{self.code}`" if self.code else ""
        (tokens,) = set(self.accounts)
        return (self.calls_made, str(self.http_status), f"`{self.status}`", code, self.shown, tokens, self.time)


class Client:
    """Asks one question and sees what comes of it."""

    def __init__(self, process: ChatProcess, user: User, *, has_fallback: bool) -> None:
        self._has_fallback = has_fallback
        self._http = httpx.Client(base_url=f"{process.url}{CHAT}", headers=user.headers, timeout=120, trust_env=False)

    def ask(self, fault: str, *, is_streamed: bool) -> Seen:
        session = self._http.post("/sessions", json={}).raise_for_status().json()["session_id"]
        path = f"/sessions/{session}/messages{'/stream' if is_streamed else ''}"
        question = {"message": f"{fault}, {is_streamed}, {self._has_fallback}"}
        if fault in MODELS:
            question["model"] = MODELS[fault]
        started = time.monotonic()
        response = self._http.post(path, json=question)
        elapsed = time.monotonic() - started
        if is_streamed:
            events = [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]
            text = "".join(event.get("text", "") for event in events)
            answer = events[-1]["message"]
        else:
            answer = response.json()["ai_response"]
            text = answer["content"]
        stored = self._http.get(f"/sessions/{session}").raise_for_status()
        last = stored.json()["messages"][-1]
        assert (last["id"], last["content"], last["status"]) == (answer["id"], text, answer["status"]), fault
        assert last["metadata"] == answer["metadata"]
        return Seen(
            question=question["message"],
            fault=fault,
            is_streamed=is_streamed,
            has_fallback=self._has_fallback,
            http_status=response.status_code,
            text=text,
            answer_id=answer["id"],
            status=answer["status"],
            code=answer["metadata"].get("error", ""),
            finish_reason=answer["metadata"].get("finish_reason", ""),
            elapsed=elapsed,
            body=response.text + stored.text,
        )

    def close(self) -> None:
        self._http.close()


@dataclass
class Runs:
    """Turns at services with one set of settings each: what came of them, and the services' logs."""

    home: Path
    user: User
    seen: list[Seen] = field(default_factory=list)
    logs: str = ""

    def add(self, settings: Settings, provider: Provider) -> None:
        """Have every fault met once plain and once streamed by a service with these settings."""
        process = ChatProcess(settings, self.home)
        client = Client(process, self.user, has_fallback=bool(settings.LLM_FALLBACK_MODEL))
        try:
            with ThreadPoolExecutor(16) as pool:
                turns = [
                    pool.submit(client.ask, fault, is_streamed=is_streamed)
                    for fault in MODELS
                    for is_streamed in (False, True)
                ]
                self.seen += [turn.result() for turn in turns]
            with provider.refusing_connections():
                self.seen += [client.ask(REFUSED, is_streamed=is_streamed) for is_streamed in (False, True)]
        finally:
            client.close()
            process.stop()
        self.logs += log_file(self.home, "another-chat-service").read_text()
