"""The graph as LangGraph Studio runs it: with a context created from the settings.

Studio sends a state and no context. The chat service gives every run its context and does not use this module.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NotRequired
from uuid import UUID

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from app.chat.lifespan import default_policy
from app.config import Settings
from app.graph.builder import build_chat_graph
from app.graph.context import ChatContext
from app.graph.ports.chat_model import TurnOwner
from app.graph.ports.messages import SessionHistory
from app.graph.ports.tool_calls import ToolCallPiece
from app.graph.state import ChatState
from app.services.llm.catalog import ModelCatalog
from app.services.llm.model_router import ModelRouter

_NOBODY = TurnOwner(user_id=0, user_uuid=UUID(int=0))


class StudioInput(TypedDict):
    """Input of a run: a direct question."""

    user_message: str
    context: NotRequired[dict[str, Any]]
    """The `context` of a question."""


StudioGraph = CompiledStateGraph[ChatState, None, StudioInput, ChatState]


def build_studio_graph(load_settings: Callable[[], Settings]) -> StudioGraph:
    """Compile a graph that runs the chat graph with a context created from the settings, which each run loads.

    Text that the model streams is sent as custom events. Nothing is stored, and no quota applies.
    """
    chat_graph = build_chat_graph()

    async def chat(state: StudioInput, runtime: Runtime[None]) -> dict[str, Any]:
        settings = await asyncio.to_thread(load_settings)
        question: ChatState = {
            "user_message": state["user_message"],
            "user_id": _NOBODY.user_id,
            "context": state.get("context") or {},
            "status": "initialized",
        }
        async with _open_context(settings, runtime.stream_writer) as context:
            result = await chat_graph.ainvoke(question, context=context)
        # A thread keeps the fields of its earlier runs: those that this run did not set are cleared.
        return {**dict.fromkeys(ChatState.__annotations__), **result}

    graph = StateGraph(ChatState, input_schema=StudioInput)
    graph.add_node("chat", chat)
    graph.add_edge(START, "chat")
    graph.add_edge("chat", END)
    return graph.compile(name="chat")


@asynccontextmanager
async def _open_context(settings: Settings, write: Callable[[Any], None]) -> AsyncIterator[ChatContext]:
    model = ModelRouter.from_settings(settings)
    try:
        yield ChatContext(
            model=model,
            conversation_history=_NoHistory(),
            policy=default_policy(settings, ModelCatalog.from_settings(settings)),
            owner=_NOBODY,
            deadline=asyncio.get_running_loop().time() + settings.LLM_TURN_TIMEOUT,
            sink=_EventSink(write),
        )
    finally:
        await model.close()


class _NoHistory:
    """`ConversationHistory` of a direct question."""

    async def load(self, _session_id: UUID, *, before_depth: int, limit: int) -> SessionHistory:  # noqa: ARG002
        return SessionHistory()


class _EventSink:
    """`TextSink` that sends text as custom events of the run."""

    has_tool_calls = False

    def __init__(self, write: Callable[[Any], None]) -> None:
        self.text = ""
        self._write = write

    def publish(self, piece: str) -> None:
        self.text += piece
        self._write({"text": piece})

    def publish_reasoning(self, piece: str) -> None:
        if piece:
            self._write({"reasoning": piece})

    def publish_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Take none: Studio offers no tools."""
