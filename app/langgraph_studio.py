"""Entry point of LangGraph Studio: `langgraph dev` reads its name in `langgraph.json`."""

from app.chat.studio_graph import StudioGraph, build_studio_graph
from app.config import get_settings


def make_graph() -> StudioGraph:
    """Return the graph. Its diagram and its schemas need no settings; a run does."""
    return build_studio_graph(get_settings)
