"""Usage totals of a random workload, compared with a count that does not use the ledger."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import ModelSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, PASSWORD, User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Provider, answers, chunk, fails, streams

TURNS = 1000
NANO_DOLLARS = {"gpt-primary": (2_500, 10_000), "gpt-fallback": (150, 600)}
"""Price of a prompt token and of a completion token."""


@dataclass
class ExpectedUsage:
    """Expected usage."""

    turns: int = 0
    failed: int = 0
    by_fallback: int = 0
    calls: int = 0
    failed_calls: int = 0
    cached: int = 0
    unpriced: int = 0
    prompt: int = 0
    completion: int = 0
    nanos: int = 0

    def as_response(self) -> dict[str, Any]:
        """Return the usage as in the response of the API."""
        return {
            "turns": self.turns,
            "calls": self.calls,
            "cached_answers": self.cached,
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "cost_usd": dollars(self.nanos),
            "unpriced_calls": self.unpriced,
        }

    def add(self, other: "ExpectedUsage") -> None:
        for name, amount in vars(other).items():
            setattr(self, name, getattr(self, name) + amount)


def dollars(nanos: int) -> str:
    return f"{nanos // 10**9}.{nanos % 10**9:09}"


def cost_in_nanos(model: str, prompt: int, completion: int) -> int:
    of_prompt, of_completion = NANO_DOLLARS[model]
    return prompt * of_prompt + completion * of_completion


@dataclass
class Workload:
    """Users who ask random questions, and the expected usage of each user and session."""

    provider: Provider
    servers: dict[str, ChatServer]
    random: random.Random
    total: ExpectedUsage = field(default_factory=ExpectedUsage)
    by_user: defaultdict[str, ExpectedUsage] = field(default_factory=lambda: defaultdict(ExpectedUsage))
    by_session: defaultdict[str, ExpectedUsage] = field(default_factory=lambda: defaultdict(ExpectedUsage))
    sessions: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    number: int = 0

    def turn(self) -> None:
        """Run and count a random kind of turn of a random user."""
        kinds = [self.answered] * 8 + [
            self.estimated,
            self.by_fallback,
            self.failed_turn,
            self.unpriced,
            self.cached,
        ] * 2
        self.random.choice([*kinds, self.interrupted, self.cancelled])(self.random.choice(list(self.servers)))

    def answered(self, user: str) -> None:
        usage = self._usage()
        self.provider.script(answers("Fine.", usage=usage))
        self._count(
            user, self._ask(user), ExpectedUsage(1, calls=1, prompt=usage[0], completion=usage[1]), "gpt-primary"
        )

    def estimated(self, user: str) -> None:
        self.provider.script(answers("Seventeen letters", usage=None))
        session_and_answer = self._ask(user)
        self._count(
            user, session_and_answer, ExpectedUsage(1, calls=1, prompt=self._sent(), completion=5), "gpt-primary"
        )

    def by_fallback(self, user: str) -> None:
        usage = self._usage()
        self.provider.script(fails(400), answers("Fine.", usage=usage))
        expected = ExpectedUsage(1, by_fallback=1, calls=2, failed_calls=1, prompt=usage[0], completion=usage[1])
        self._count(user, self._ask(user), expected, "gpt-fallback")

    def failed_turn(self, user: str) -> None:
        self.provider.script(fails(400), fails(400))
        self._count(user, self._ask(user), ExpectedUsage(1, failed=1, calls=2, failed_calls=2), "gpt-primary")

    def unpriced(self, user: str) -> None:
        usage = self._usage()
        self.provider.script(answers("Fine.", usage=usage))
        session_and_answer = self._ask(user, model="mystery")
        self._count(
            user, session_and_answer, ExpectedUsage(1, calls=1, unpriced=1, prompt=usage[0], completion=usage[1]), None
        )

    def cached(self, user: str) -> None:
        """Ask the same direct question twice; the second answer comes from the cache."""
        usage = self._usage()
        self.provider.script(answers("Fine.", usage=usage))
        question = self._question()
        new = ExpectedUsage(1, calls=1, prompt=usage[0], completion=usage[1])
        for expected in (new, ExpectedUsage(1, calls=1, cached=1)):
            answer = self.servers[user].http.post("/direct", json={"message": question}).raise_for_status().json()
            self._count(user, (None, answer), expected, "gpt-primary")

    def interrupted(self, user: str) -> None:
        """Stream an answer during which the connection to the model is lost."""
        session = self._session(user)
        self.provider.script(answers("Once upon a time", cut_after=2))
        events = self.servers[user].ask_all(session, self._question())
        message = events[-1].data["message"]
        token_counts = ExpectedUsage(
            1, failed=1, calls=1, failed_calls=1, prompt=self._sent(), completion=tokens(message["content"])
        )
        self._count(user, (session, message), token_counts, "gpt-primary")

    def cancelled(self, user: str) -> None:
        session, server = self._session(user), self.servers[user]
        self.provider.script(streams(chunk("Once upon "), hold=True))
        with server.ask(session, self._question()) as reader:
            answer_id = reader.take(2)[0].data["message_id"]
            message = server.cancel(session, answer_id).raise_for_status().json()
            list(reader)
        token_counts = ExpectedUsage(1, calls=1, prompt=self._sent(), completion=tokens(message["content"]))
        self._count(user, (session, message), token_counts, "gpt-primary")

    def delete_a_session(self, user: str) -> None:
        if self.sessions[user]:
            session = self.sessions[user].pop(0)
            self.servers[user].http.delete(f"/sessions/{session}").raise_for_status()
            del self.by_session[session]

    def _usage(self) -> tuple[int, int]:
        return self.random.randrange(1, 5000), self.random.randrange(1, 1000)

    def _question(self) -> str:
        self.number += 1
        return f"Question {self.number}"

    def _sent(self) -> int:
        return tokens("".join(message["content"] for message in self.provider.calls[-1].messages))

    def _session(self, user: str) -> str:
        if not self.sessions[user] or self.random.random() < 0.05:
            self.sessions[user].append(self.servers[user].open())
        return self.random.choice(self.sessions[user])

    def _ask(self, user: str, **fields: object) -> tuple[str | None, dict[str, Any]]:
        """Ask in a session or directly, plain or streamed; return the session and the answer."""
        server, session = self.servers[user], self.random.choice([None, self._session(user)])
        if self.random.random() < 0.4:
            return session, server.ask_all(session, self._question(), **fields)[-1].data["message"]
        path = "/direct" if session is None else f"/sessions/{session}/messages"
        response = server.http.post(path, json={"message": self._question(), **fields}).raise_for_status().json()
        return session, response.get("ai_response", response)

    def _count(
        self,
        user: str,
        session_and_answer: tuple[str | None, dict[str, Any]],
        token_counts: ExpectedUsage,
        model: str | None,
    ) -> None:
        session, answer = session_and_answer
        token_counts.nanos = 0 if model is None else cost_in_nanos(model, token_counts.prompt, token_counts.completion)
        total = token_counts.prompt + token_counts.completion
        assert answer["tokens_used"] == total
        assert answer["metadata"]["tokens_used"] == {
            "input": token_counts.prompt,
            "output": token_counts.completion,
            "total": total,
        }
        assert answer["metadata"]["cost_usd"] == (dollars(token_counts.nanos) if model else None)
        assert answer["metadata"]["attempts"] == token_counts.calls
        for expected in (self.total, self.by_user[user], *([self.by_session[session]] if session else [])):
            expected.add(token_counts)


def tokens(text: str) -> int:
    return math.ceil(len(text) / 4)


@pytest.fixture
def workload(settings: Settings, make_user: Callable[[str], User], provider: Provider) -> Iterator[Workload]:
    models = [
        *(
            ModelSetting(name=name, prompt_price=Decimal(prompt) / 1000, completion_price=Decimal(completion) / 1000)
            for name, (prompt, completion) in NANO_DOLLARS.items()
        ),
        ModelSetting(name="mystery"),
    ]
    changes: dict[str, Any] = {
        "LLM_MODELS": models,
        "LLM_RETRIES_PER_MODEL": 0,
        "LLM_CACHE_TTL": 600,
        "LLM_BREAKER_FAILURES": 1_000_000,
    }
    with serving(main.create(settings.model_copy(update=changes))) as url:
        servers = {name: ChatServer(url, make_user(name)) for name in ("ada", "bob", "eve")}
        yield Workload(provider, servers, random.Random(5))  # noqa: S311 - not a secret
        for server in servers.values():
            server.http.close()


def test_totals_of_1000_mixed_turns_equal_an_independent_count(
    workload: Workload,
    auth_client: TestClient,
    admin_client: TestClient,
    admin: User,
    sql: Sql,
    roll_up: Callable[[int], int],
) -> None:
    def check() -> None:
        for name, server in workload.servers.items():
            usage = server.http.get("/usage").raise_for_status().json()
            # Only the total is compared: a day or a month may end during the test.
            assert usage["total"] == workload.by_user[name].as_response()
            for session in workload.sessions[name]:
                detail = server.http.get(f"/sessions/{session}").raise_for_status().json()
                assert detail["usage"] == workload.by_session[session].as_response()
        overview = admin_client.get(f"{ADMIN}/overview", headers=admin.headers).json()
        total = workload.total
        assert {name: overview["turns"][name] for name in ("total", "failed", "by_fallback_model")} == {
            "total": total.turns,
            "failed": total.failed,
            "by_fallback_model": total.by_fallback,
        }
        assert overview["model_calls"] == {
            "total": total.calls,
            "failed": total.failed_calls,
            "cached": total.cached,
            "unpriced": total.unpriced,
        }
        assert (overview["tokens"]["prompt"], overview["tokens"]["completion"]) == (total.prompt, total.completion)
        assert overview["cost_usd"] == dollars(total.nanos)

    while workload.total.turns < TURNS:
        workload.turn()
        rng = workload.random.random()
        if rng < 0.01:
            workload.delete_a_session(workload.random.choice(list(workload.servers)))
        elif rng < 0.05:
            roll_up(workload.random.randrange(1, 60))
        elif rng < 0.055:
            check()
    check()
    assert sql.value("SELECT count(*) FROM usage_pending") > 0  # the totals include usage that is not aggregated yet
    eve = workload.servers.pop("eve")
    erased = auth_client.request("DELETE", f"{AUTH}/me", json={"password": PASSWORD}, headers=eve.user.headers)
    assert erased.status_code == 200
    eve.http.close()
    check()
    while roll_up(100):
        pass
    check()
    assert sql.value("SELECT count(*) FROM llm_calls") == workload.total.calls
    assert sql.value("SELECT count(DISTINCT user_id) FROM user_usage_quarters") == 2
