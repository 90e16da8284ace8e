"""Baseline of the benchmarks: a minimal chat service on FastAPI, LangGraph, asyncpg and httpx2.

It verifies the token, sends the history, and stores question, answer, counters and ledger. It has none of the features
for reliability: the answer is lost if the client disconnects, and there are no retries, validation, resumption, logs or
limits. Run `python -m uvicorn benchmarks.baseline_service:app` with the settings of the chat service.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import asyncpg
import httpx2
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from jose import JWTError, jwt
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from app.config import get_settings

TABLES = """
CREATE SCHEMA IF NOT EXISTS baseline;
CREATE TABLE IF NOT EXISTS baseline.sessions (
    id bigserial PRIMARY KEY, uuid uuid NOT NULL UNIQUE, user_id bigint NOT NULL, message_count int NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS baseline.messages (
    id bigserial PRIMARY KEY, uuid uuid NOT NULL UNIQUE, session_id bigint NOT NULL REFERENCES baseline.sessions,
    role text NOT NULL, content text NOT NULL, status text NOT NULL, tokens_used int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS messages_of_session ON baseline.messages (session_id, id);
CREATE TABLE IF NOT EXISTS baseline.calls (
    id bigserial PRIMARY KEY, session_id bigint NOT NULL, user_id bigint NOT NULL, model text NOT NULL,
    prompt_tokens int NOT NULL, completion_tokens int NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
"""
_USER = "SELECT id FROM users WHERE uuid = $1 AND is_active"
_START = """
WITH session AS (
    UPDATE baseline.sessions SET message_count = message_count + 2, updated_at = now()
    WHERE uuid = $1 AND user_id = $2 RETURNING id
), question AS (
    INSERT INTO baseline.messages (uuid, session_id, role, content, status)
    SELECT $3, id, 'user', $4, 'complete' FROM session RETURNING id
), answer AS (
    INSERT INTO baseline.messages (uuid, session_id, role, content, status)
    SELECT $5, session.id, 'assistant', '', 'pending' FROM session, question
)
SELECT session.id, question.id AS question_id FROM session, question
"""
_HISTORY = """
SELECT role, content FROM baseline.messages WHERE session_id = $1 AND id < $2 AND status = 'complete'
ORDER BY id DESC LIMIT 10
"""
_COMPLETE = """
WITH answer AS (
    UPDATE baseline.messages SET content = $2, status = 'complete', tokens_used = $5
    WHERE uuid = $1 RETURNING session_id
), session AS (
    UPDATE baseline.sessions SET updated_at = now() FROM answer WHERE id = answer.session_id
)
INSERT INTO baseline.calls (session_id, user_id, model, prompt_tokens, completion_tokens)
SELECT session_id, $3, $4, $6, $7 FROM answer
"""


class Question(BaseModel):
    """Body of a request."""

    message: str


class State(TypedDict, total=False):
    """State of the graph."""

    question: str
    session_id: int
    question_id: int
    messages: list[dict[str, str]]
    answer: str
    usage: dict[str, int]


@dataclass(frozen=True)
class Context:
    """Context of the graph."""

    pool: asyncpg.Pool
    model: httpx2.AsyncClient
    streams: bool


async def preprocess(state: State, runtime: Runtime[Context]) -> State:
    """Load the history and build the prompt."""
    rows = await runtime.context.pool.fetch(_HISTORY, state["session_id"], state["question_id"])
    history = [{"role": row["role"], "content": row["content"]} for row in reversed(rows)]
    system = {"role": "system", "content": "You are a helpful assistant."}
    return {"messages": [system, *history, {"role": "user", "content": state["question"]}]}


async def llm(state: State, runtime: Runtime[Context]) -> State:
    """Call the model."""
    body: dict[str, Any] = {"model": settings.LLM_MODEL, "messages": state["messages"]}
    if not runtime.context.streams:
        response = await runtime.context.model.post("/chat/completions", json=body)
        document = response.raise_for_status().json()
        return {"answer": document["choices"][0]["message"]["content"], "usage": document["usage"]}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    chunks: list[str] = []
    usage: dict[str, int] = {}
    async with runtime.context.model.stream("POST", "/chat/completions", json=body) as response:
        async for line in response.raise_for_status().aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            if chunk["choices"] and (text := chunk["choices"][0]["delta"].get("content")):
                chunks.append(text)
                runtime.stream_writer(text)
    return {"answer": "".join(chunks), "usage": usage}


async def postprocess(state: State) -> State:
    """Strip white space from the answer."""
    return {"answer": state["answer"].strip()}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("preprocess", preprocess)
    graph.add_node("llm", llm)
    graph.add_node("postprocess", postprocess)
    graph.add_edge(START, "preprocess")
    graph.add_edge("preprocess", "llm")
    graph.add_edge("llm", "postprocess")
    graph.add_edge("postprocess", END)
    app.state.graph = graph.compile()
    async with (
        asyncpg.create_pool(settings.DATABASE_URL, min_size=10, max_size=20) as pool,
        httpx2.AsyncClient(
            base_url=str(settings.OPENAI_BASE_URL), timeout=60, limits=httpx2.Limits(max_connections=1000)
        ) as model,
    ):
        await pool.execute(TABLES)
        app.state.pool, app.state.model = pool, model
        yield


settings = get_settings()
app = FastAPI(lifespan=_lifespan)


async def _current_user(request: Request) -> int:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(
            token, settings.SECRET_KEY.get_secret_value(), algorithms=["HS256"], audience="chat-bot-system"
        )
    except JWTError as error:
        raise HTTPException(401) from error
    user_id: int | None = await request.app.state.pool.fetchval(_USER, UUID(claims["sub"]))
    if user_id is None:
        raise HTTPException(401)
    return user_id


User = Annotated[int, Depends(_current_user)]


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """Report that the service is ready."""
    return {"status": "ok"}


@app.post("/api/v1/chat/sessions/{session_id}/messages")
async def send(session_id: UUID, question: Question, user_id: User) -> dict[str, Any]:
    """Answer a question in one response."""
    answer_id = uuid4()
    state = await _start(session_id, user_id, question.message, answer_id)
    result = await app.state.graph.ainvoke(state, context=Context(app.state.pool, app.state.model, streams=False))
    await _complete(answer_id, user_id, result)
    return {"id": str(answer_id), "content": result["answer"], "tokens_used": result["usage"]["total_tokens"]}


@app.post("/api/v1/chat/sessions/{session_id}/messages/stream")
async def stream(session_id: UUID, question: Question, user_id: User) -> StreamingResponse:
    """Answer a question as an event stream."""
    answer_id = uuid4()
    state = await _start(session_id, user_id, question.message, answer_id)

    async def events() -> AsyncIterator[str]:
        result: dict[str, Any] = {}
        context = Context(app.state.pool, app.state.model, streams=True)
        yield _event("message.created", {"message_id": str(answer_id)})
        async for mode, data in app.state.graph.astream(state, context=context, stream_mode=["custom", "values"]):
            if mode == "custom":
                yield _event("message.delta", {"text": data})
            else:
                result = data
        await _complete(answer_id, user_id, result)
        yield _event("message.completed", {"content": result["answer"]})

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def _start(session_id: UUID, user_id: int, question: str, answer_id: UUID) -> State:
    row = await app.state.pool.fetchrow(_START, session_id, user_id, uuid4(), question, answer_id)
    if row is None:
        raise HTTPException(404)
    return {"question": question, "session_id": row["id"], "question_id": row["question_id"]}


async def _complete(answer_id: UUID, user_id: int, result: dict[str, Any]) -> None:
    usage = result["usage"]
    await app.state.pool.execute(
        _COMPLETE,
        answer_id,
        result["answer"],
        user_id,
        settings.LLM_MODEL,
        usage["total_tokens"],
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
