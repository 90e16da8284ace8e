from typing import get_args

import pytest

from app.graph.edges import route_to_llm, should_continue
from app.graph.state import ChatState, PipelineStatus

STATUSES = get_args(PipelineStatus)


def state(status: PipelineStatus) -> ChatState:
    return {"user_message": "Hi", "user_id": 1, "status": status}


@pytest.mark.parametrize("status", STATUSES)
def test_only_a_preprocessed_question_is_routed_to_the_model(status: PipelineStatus) -> None:
    assert should_continue(state(status)) == ("continue" if status == "preprocessed" else "error")


@pytest.mark.parametrize("status", STATUSES)
def test_an_attempt_is_routed_to_success_retry_or_error(status: PipelineStatus) -> None:
    assert route_to_llm(state(status)) == {"llm_completed": "success", "retry": "retry"}.get(status, "error")
