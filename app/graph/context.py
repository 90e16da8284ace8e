"""Injected context of one run of the graph (LangGraph's `context_schema`)."""

from dataclasses import dataclass, field

from pydantic_core import CoreSchema, core_schema

from app.graph.attempt_record import ModelAttempt
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, TurnOwner
from app.graph.ports.conversation_history import ConversationHistory
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.graph.ports.text_sink import TextSink
from app.graph.prompts import FALLBACK_RESPONSE


@dataclass(frozen=True, slots=True)
class ChatContext:
    """The dependencies and limits of one run."""

    model: ChatModel
    conversation_history: ConversationHistory
    policy: ModelPolicy
    owner: TurnOwner
    deadline: float
    """When the run must end, by the event loop's clock; for a streamed answer, when its text must have started."""
    health: ModelHealth = field(default_factory=AlwaysHealthy)
    fallback_response: str = FALLBACK_RESPONSE
    """Text of the answer if no model answers. Empty: the caller reports the error otherwise."""
    sink: TextSink | None = None
    """Receives the text while it is generated. None: the answer is requested without streaming."""
    attempts: list[ModelAttempt] = field(default_factory=list)
    """Appended to as attempts end. Outside the state, so that the attempts of a cancelled run are recorded too."""
    durations_ms: list[int] = field(default_factory=list)
    """Time spent on each attempt, with the wait before it; outside the state like `attempts`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> CoreSchema:
        """Return a schema that accepts anything, for tools that ask the graph for the schema of its context.

        A context is never read from JSON, and pydantic has no schema of protocols.
        """
        return core_schema.any_schema()

    @property
    def has_published(self) -> bool:
        """Whether readers have received a part of the answer, so that no other attempt can replace it."""
        return self.sink is not None and bool(self.sink.text or self.sink.has_tool_calls)

    @property
    def processing_time_ms(self) -> int:
        """Time spent on all attempts so far, waits included."""
        return sum(self.durations_ms)

    @property
    def published_text(self) -> str:
        """Text of the answer that has been published to readers; empty without streaming."""
        return self.sink.text if self.sink else ""
