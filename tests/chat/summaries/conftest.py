from collections.abc import Callable
from uuid import UUID

import pytest

from app.database.connection import Database
from app.graph.model_policy import ModelPolicy
from tests.chat.summaries.summary_sessions import POLICY, Session, SummarizingModel


@pytest.fixture
def model() -> SummarizingModel:
    return SummarizingModel()


@pytest.fixture
def open_session(pool: Database, user_id: int, session: UUID, model: SummarizingModel) -> Callable[..., Session]:
    """Function that opens the session at a new process."""

    def open_session(policy: ModelPolicy = POLICY, *, summaries_enabled: bool = True) -> Session:
        return Session(pool, model, user_id, session, policy, summaries_enabled=summaries_enabled)

    return open_session
