"""Components and settings of a local stack. The end-to-end tests run it."""

from pathlib import Path

from local.stack import Stack

PORT = 20_080


def test_user_settings_replace_local_components(tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": "postgresql://h/d",
        "REDIS_URL": "redis://h",
        "OPENAI_API_KEY": "sk-x",
        "MAIL_URL": "smtp://h",
    }
    stack = Stack(tmp_path, PORT, environment)
    assert (stack.postgres, stack.redis, stack.model, stack.mail_directory) == (None, None, None, None)
    assert "MAIL_URL" not in stack.settings
    assert "sk-x" not in str(stack._written_settings())


def test_written_settings_create_the_same_stack(tmp_path: Path) -> None:
    first = Stack(tmp_path, PORT, {})
    second = Stack(tmp_path, PORT, first._written_settings())
    assert None not in {second.postgres, second.redis, second.model, second.mail_directory}
    assert second._written_settings() == first._written_settings()


def test_written_settings_include_the_users_model(tmp_path: Path) -> None:
    environment = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "LLM_MODEL": "mine"}
    assert environment.items() <= Stack(tmp_path, PORT, environment)._written_settings().items()
