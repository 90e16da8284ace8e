"""Runs of the compiled graph with fakes for its ports."""

import asyncio
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from app.graph.builder import build_chat_graph
from app.graph.context import ChatContext
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Completion, ModelError, TurnOwner
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.graph.ports.text_sink import TextSink
from tests.support.fakes import INSTRUCTIONS, FakeHistory, FakeModel

if TYPE_CHECKING:
    from app.graph.state import ChatState

GRAPH = build_chat_graph()
BUSY = ModelError("model_busy", retryable=True, retry_after=0)
REFUSED = ModelError("model_refused", retryable=False)
SESSION = str(uuid4())
POLICY = ModelPolicy(
    models=("primary", "fallback"),
    retries_per_model=1,
    attempt_timeout=5,
    history_messages=4,
    instructions=INSTRUCTIONS,
)


class GraphRun:
    """One run of the graph: the nodes it visited, and its final state."""

    def __init__(
        self,
        *outcomes: Completion | BaseException | None,
        history: FakeHistory | None = None,
        policy: ModelPolicy = POLICY,
        seconds: float = 10,
        health: ModelHealth | None = None,
        sink: TextSink | None = None,
    ) -> None:
        self.model = FakeModel(*outcomes)
        self.context = ChatContext(
            model=self.model,
            conversation_history=history or FakeHistory(),
            policy=policy,
            owner=TurnOwner(1, uuid4()),
            health=health or AlwaysHealthy(),
            sink=sink,
            deadline=asyncio.get_running_loop().time() + seconds,
        )
        self.nodes: list[str] = []
        self.state: dict[str, Any] = {}

    async def run(self, message: str = "Hi", **inputs: Any) -> "GraphRun":  # noqa: ANN401 - fields of the state
        state = cast("ChatState", {"user_message": message, "user_id": 1, "status": "initialized", **inputs})
        async for updates in GRAPH.astream(state, context=self.context, stream_mode="updates"):
            for node, update in cast("dict[str, dict[str, Any]]", updates).items():
                self.nodes.append(node)
                self.state |= update
        return self
