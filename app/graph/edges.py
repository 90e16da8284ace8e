"""Conditional edges of the graph: functions of the state that name the next step."""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from app.graph.state import ChatState

Route = TypeVar("Route", bound=str)


class ConditionalEdge(Runnable[ChatState, Route], Generic[Route]):
    """A routing function that LangGraph calls directly, instead of in a thread and with a trace of each call."""

    def __init__(self, route: Callable[[ChatState], Route]) -> None:
        self.name = route.__name__
        self._route = route

    def invoke(self, input: ChatState, config: RunnableConfig | None = None, **_: Any) -> Route:  # noqa: A002, ANN401, ARG002 - names and types of the base class
        """Return the next step."""
        return self._route(input)

    async def ainvoke(self, input: ChatState, config: RunnableConfig | None = None, **_: Any) -> Route:  # noqa: A002, ANN401, ARG002
        """Return the next step."""
        return self._route(input)


def should_continue(state: ChatState) -> Literal["continue", "error"]:
    """Route after preprocessing: to the model, or to the error handler."""
    return "continue" if state["status"] == "preprocessed" else "error"


def route_to_llm(state: ChatState) -> Literal["success", "retry", "error"]:
    """Route after an attempt: to postprocessing, to another attempt, or to the error handler."""
    match state["status"]:
        case "llm_completed":
            return "success"
        case "retry":
            return "retry"
        case _:
            return "error"
