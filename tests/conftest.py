import os

# The entry modules read their settings at import. These settings open no connections; fixtures create their own.
from app.config import Settings
from tests.support.request_timeout import extend_request_timeout

for name in Settings.model_fields:
    os.environ.pop(name, None)
os.environ["DATABASE_URL"] = "postgresql://nobody@localhost/nothing"
os.environ["SECRET_KEY"] = "a secret key for tests of 32 bytes or more"
os.environ["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"

# Before other modules import the value.
extend_request_timeout()

import pytest  # noqa: E402 - after the settings above
from hypothesis import settings  # noqa: E402 - likewise

# The time of an example depends on what else the machine does.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.dedicated_servers",
    "tests.fixtures.database",
    "tests.fixtures.services",
    "tests.fixtures.declared_responses",
    "tests.fixtures.world",
    "tests.fixtures.processes",
    "tests.fixtures.streaming",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
