"""Images in chat completions, by the capabilities of the model."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import ModelSetting, Settings
from tests.chat.openai_api.conftest import COMPLETIONS
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[TestClient]:
    models = [
        ModelSetting(name="gpt-text", capabilities=("tools",)),
        ModelSetting(name="gpt-vision", capabilities=("tools", "vision")),
        ModelSetting(name="gpt-unknown"),
    ]
    with TestClient(main.create(settings.model_copy(update={"LLM_MODELS": models}))) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "status", "calls"), [("gpt-text", 400, 0), ("gpt-vision", 200, 1), ("gpt-unknown", 200, 1)]
)
def test_only_models_known_to_have_no_vision_refuse_images(
    service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User, model: str, status: int, calls: int
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]
    response = service.post(COMPLETIONS, json={"model": model, "messages": messages}, headers=ada.headers)
    assert response.status_code == status, response.text
    assert len(provider.calls) == calls
    if status == 400:
        error = response.json()["error"]
        assert error["message"].endswith("does not accept images")
        assert error["param"] == "messages[0].content"
