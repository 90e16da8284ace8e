"""The two decisions of the pipeline. Coroutines: LangGraph takes plain functions to a thread each."""

from typing import Literal

from app.graph.state import ChatState


async def should_continue(state: ChatState) -> Literal["continue", "error"]:
    """Decide after preprocessing whether there is a question to ask."""
    return "continue" if state["status"] == "preprocessed" else "error"


async def route_to_llm(state: ChatState) -> Literal["success", "retry", "error"]:
    """Decide after an attempt at a model: an answer, another attempt, or neither."""
    match state["status"]:
        case "llm_completed":
            return "success"
        case "retry":
            return "retry"
        case _:
            return "error"
