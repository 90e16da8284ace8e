"""Graph of `langgraph.json`, run as LangGraph Studio runs it: with the settings only."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from app import langgraph_studio
from app.chat.studio_graph import StudioGraph, build_studio_graph
from app.config import Settings
from app.graph.builder import build_chat_graph
from app.graph.prompts import FALLBACK_RESPONSE
from local.paths import PROJECT
from tests.support.provider import Provider, answers, fails

QUESTION: Any = {"user_message": "Hi"}


@pytest.fixture
def graph(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> StudioGraph:
    """The graph that `langgraph.json` names, with the settings of the tests."""
    (reference,) = json.loads((PROJECT / "langgraph.json").read_text())["graphs"].values()
    file, _, factory = reference.partition(":")
    module = import_module(".".join(Path(file).with_suffix("").parts))
    monkeypatch.setattr(module, "get_settings", lambda: settings)
    graph: StudioGraph = getattr(module, factory)()
    return graph


async def test_run_without_a_runtime_context_returns_an_answer(graph: StudioGraph, provider: Provider) -> None:
    provider.script(answers("Good day."))
    result = await graph.ainvoke(QUESTION | {"context": {"tone": "casual"}})
    assert (result["status"], result["final_response"]) == ("completed", "Good day.")
    assert result["metadata"]["tokens_used"] == {"input": 12, "output": 3, "total": 15}
    (call,) = provider.calls
    assert call.model == "gpt-primary"
    assert call.messages[-1] == {"role": "user", "content": "Hi"}


async def test_run_streams_node_updates_and_text(graph: StudioGraph, provider: Provider) -> None:
    provider.script(answers("Good day to you."))
    nodes, text = [], ""
    async for part in graph.astream(QUESTION, stream_mode=["updates", "custom"], subgraphs=True):
        _, mode, chunk = cast("tuple[object, str, dict[str, Any]]", part)
        if mode == "updates":
            nodes += list(chunk)
        else:
            text += chunk["text"]
    assert nodes == ["preprocess", "llm", "postprocess", "chat"]
    assert text == "Good day to you."


async def test_run_returns_the_fallback_message_when_every_model_fails(graph: StudioGraph, provider: Provider) -> None:
    provider.always(fails(400))
    result = await graph.ainvoke(QUESTION)
    assert (result["status"], result["final_response"]) == ("error_handled", FALLBACK_RESPONSE)
    assert result["metadata"]["attempts"] == 2


async def test_run_clears_fields_of_the_previous_run_on_the_thread(settings: Settings, provider: Provider) -> None:
    graph = build_studio_graph(lambda: settings)
    graph.checkpointer = InMemorySaver()
    provider.always(answers("Good day."))
    thread: Any = {"configurable": {"thread_id": "1"}}
    failed = await graph.ainvoke({"user_message": " "}, thread)
    assert failed["error"] == "empty_message"
    answered = await graph.ainvoke(QUESTION, thread)
    assert (answered["status"], answered["error"], answered["final_response"]) == ("completed", None, "Good day.")
    failed = await graph.ainvoke({"user_message": " "}, thread)
    assert (failed["error"], failed["llm_response"]) == ("empty_message", None)


def test_diagram_and_schemas_need_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Settings:
        raise AssertionError

    monkeypatch.setattr(langgraph_studio, "get_settings", fail)
    graph = langgraph_studio.make_graph()
    assert set(graph.get_graph(xray=True).nodes) == {
        "__start__",
        "chat:preprocess",
        "chat:llm",
        "chat:postprocess",
        "chat:error_handler",
        "chat:__end__",
        "__end__",
    }
    assert set(graph.get_input_jsonschema()["properties"]) == {"user_message", "context"}
    assert "final_response" in graph.get_output_jsonschema()["properties"]
    assert graph.get_context_jsonschema() is None


@pytest.mark.filterwarnings("ignore:`(get_)?config_(json)?schema` is deprecated")
@pytest.mark.parametrize(
    "graph",
    [build_chat_graph(), langgraph_studio.make_graph(), *dict(langgraph_studio.make_graph().get_subgraphs()).values()],
)
def test_every_schema_of_a_graph_is_json_serializable(graph: Any) -> None:  # noqa: ANN401 - graphs of several types
    for schema in (
        graph.get_input_jsonschema(),
        graph.get_output_jsonschema(),
        graph.get_context_jsonschema(),
        graph.config_schema().model_json_schema(),
    ):
        json.dumps(schema)
