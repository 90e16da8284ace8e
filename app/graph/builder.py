"""Graph builder: compiles the pipeline of a turn, whose diagram is in `docs/explanation/turn-pipeline.md`."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from app.graph.context import ChatContext
from app.graph.edges import ConditionalEdge, route_to_llm, should_continue
from app.graph.nodes import error_handler_node, llm_node, postprocess_node, preprocess_node
from app.graph.state import ChatState
from app.observability.tracing import span

P = ParamSpec("P")
T = TypeVar("T")

ChatGraph = CompiledStateGraph[ChatState, ChatContext, ChatState, ChatState]


def build_chat_graph() -> ChatGraph:
    """Compile the graph. It holds no state, so one per process serves all runs; each run passes its own context.

    There is no checkpointer: the table of messages is the conversation's memory.
    """
    graph = StateGraph(ChatState, context_schema=ChatContext)
    graph.add_node("preprocess", _traced("preprocess", preprocess_node))
    graph.add_node("llm", _traced("llm", llm_node))
    graph.add_node("postprocess", _traced("postprocess", postprocess_node))
    graph.add_node("error_handler", _traced("error_handler", error_handler_node))

    graph.add_edge(START, "preprocess")
    graph.add_conditional_edges(
        "preprocess", ConditionalEdge(should_continue), {"continue": "llm", "error": "error_handler"}
    )
    graph.add_conditional_edges(
        "llm", ConditionalEdge(route_to_llm), {"success": "postprocess", "retry": "llm", "error": "error_handler"}
    )
    graph.add_edge("postprocess", END)
    graph.add_edge("error_handler", END)
    return graph.compile(name="chat")


def _traced(name: str, node: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the node with a span around it."""

    @wraps(node)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with span(f"node {name}"):
            return await node(*args, **kwargs)

    return run
