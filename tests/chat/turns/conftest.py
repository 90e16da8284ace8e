from collections.abc import Iterator
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import ModelSetting, Settings
from tests.fixtures.services import Chat


@pytest.fixture(scope="module")
def metered_service(settings: Settings) -> Iterator[TestClient]:
    """A service with default quotas and prices of models."""
    changed = settings.model_copy(
        update={
            "QUOTA_TOKENS_PER_DAY": 10_000,
            "QUOTA_COST_PER_DAY": 1000,
            "LLM_MODELS": [
                ModelSetting(name="gpt-primary", prompt_price=Decimal(1000), completion_price=Decimal(100_000))
            ],
        }
    )
    with TestClient(main.create(changed)) as client:
        yield client


@pytest.fixture
def metered(metered_service: TestClient, chat: Chat) -> Chat:
    return Chat(metered_service, chat.user)
