"""Turns against a provider with a fault, and their observed outcomes."""

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
from tests.support.engine_dialects import DIALECTS
from tests.support.provider import Call, Provider
from tests.support.provider_faults import FAULTS, TEXT

ATTEMPT_SECONDS = 4.0
FALLBACK_TEXT = "From the fallback."
REFUSED = "connection refused"
ALL_FAULTS = [*FAULTS, *DIALECTS]
MODELS = {fault.name: f"model-{number}" for number, fault in enumerate(ALL_FAULTS)}
"""Model whose calls have the fault."""
_WITH_RETRY_AFTER = {fault.name for fault in ALL_FAULTS if fault.has_retry_after}


@dataclass
class Outcome:
    """Outcome of one turn."""

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
    reasoning: str
    elapsed: float
    body: str = field(repr=False)
    calls: list[Call] = field(default_factory=list, repr=False)
    codes: list[str | None] = field(default_factory=list)
    """Error codes of the attempts in the ledger."""
    token_sources: list[str] = field(default_factory=list)
    """How the ledger counts the tokens of each attempt with the faulty model: `none`, `estimated` or `counted`."""

    @property
    def model(self) -> str:
        return MODELS.get(self.fault, "gpt-primary")

    @property
    def calls_made(self) -> str:
        own = sum(call.model == self.model for call in self.calls)
        return f"{own} + {len(self.calls) - own}" if self.has_fallback else str(own)

    @property
    def timeouts(self) -> int:
        """Number of attempts that timed out."""
        return self.codes.count("provider_timeout")

    @property
    def retry_delays(self) -> int:
        """Number of delays of a second or more that the provider asked for."""
        if self.fault not in _WITH_RETRY_AFTER:
            return 0  # the delays of the service are shorter, but a busy machine adds others
        ends = [call.abandoned or call.finished or call.started for call in self.calls]
        return sum(call.started - end > 0.9 for call, end in zip(self.calls[1:], ends, strict=False))

    @property
    def wait(self) -> str:
        timeouts = {0: [], 1: ["1 attempt timeout"]}.get(self.timeouts, [f"{self.timeouts} attempt timeouts"])
        return " and ".join([*timeouts, *["`Retry-After` delay"] * self.retry_delays]) or "none"

    @property
    def content(self) -> str:
        names = {
            TEXT: "the answer",
            "The answer?.": "the answer, repaired",
            f"    {TEXT}": "the answer, indented",
            FALLBACK_TEXT: "answer of the fallback model",
            FALLBACK_RESPONSE: "fallback message",
        }
        if self.status == "failed" and self.text == TEXT:
            return "the whole text"
        content = names.get(self.text, "partial text")
        return f"{content}, and reasoning" if self.reasoning else content

    @property
    def row(self) -> tuple[str, ...]:
        code = f"`{self.code}`" if self.code else ""
        (tokens,) = set(self.token_sources)
        return (self.calls_made, str(self.http_status), f"`{self.status}`", code, self.content, tokens, self.wait)


class Client:
    """Client that asks questions and records their outcomes."""

    def __init__(self, process: ChatProcess, user: User, *, has_fallback: bool) -> None:
        self._has_fallback = has_fallback
        self._http = httpx.Client(base_url=f"{process.url}{CHAT}", headers=user.headers, timeout=120, trust_env=False)

    def ask(self, fault: str, *, is_streamed: bool) -> Outcome:
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
        return Outcome(
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
            reasoning=answer["metadata"].get("reasoning", ""),
            elapsed=elapsed,
            body=response.text + stored.text,
        )

    def close(self) -> None:
        self._http.close()


@dataclass
class Runs:
    """Outcomes of turns at several services, each with its own settings, and the logs of the services."""

    home: Path
    user: User
    outcomes: list[Outcome] = field(default_factory=list)
    logs: str = ""

    def add(self, settings: Settings, provider: Provider) -> None:
        """Run a service with these settings, with one plain and one streamed turn for every fault."""
        process = ChatProcess(settings, self.home)
        client = Client(process, self.user, has_fallback=bool(settings.LLM_FALLBACK_MODEL))
        try:
            with ThreadPoolExecutor(16) as pool:
                turns = [
                    pool.submit(client.ask, fault, is_streamed=is_streamed)
                    for fault in MODELS
                    for is_streamed in (False, True)
                ]
                self.outcomes += [turn.result() for turn in turns]
            with provider.refusing_connections():
                self.outcomes += [client.ask(REFUSED, is_streamed=is_streamed) for is_streamed in (False, True)]
        finally:
            client.close()
            process.stop()
        self.logs += log_file(self.home, "another-chat-service").read_text()
