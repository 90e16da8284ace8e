"""Conditional edges of the graph. They are coroutines because LangGraph runs plain functions in a thread."""

from typing import Literal

from app.graph.state import ChatState


async def should_continue(state: ChatState) -> Literal["continue", "error"]:
    """Route after preprocessing: to the model, or to the error handler."""
    return "continue" if state["status"] == "preprocessed" else "error"


async def route_to_llm(state: ChatState) -> Literal["success", "retry", "error"]:
    """Route after an attempt: to postprocessing, to another attempt, or to the error handler."""
    match state["status"]:
        case "llm_completed":
            return "success"
        case "retry":
            return "retry"
        case _:
            return "error"
