"""Which parts a local stack has. That they run, the end-to-end tests show."""

from pathlib import Path

from local.stack import Stack

PORT = 20_080


def test_what_the_user_has_replaces_the_local_part(tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://h/d",
        "REDIS_URL": "redis://h",
        "OPENAI_API_KEY": "sk-x",
        "MAIL_URL": "smtp://h",
    }
    stack = Stack(tmp_path, PORT, given)
    assert (stack.postgres, stack.redis, stack.model, stack.mail_directory) == (None, None, None, None)
    assert "MAIL_URL" not in stack.settings
    assert "sk-x" not in str(stack._written_settings())


def test_the_settings_a_stack_has_written_give_the_same_stack_again(tmp_path: Path) -> None:
    first = Stack(tmp_path, PORT, {})
    again = Stack(tmp_path, PORT, first._written_settings())
    assert None not in {again.postgres, again.redis, again.model, again.mail_directory}
    assert again._written_settings() == first._written_settings()


def test_a_model_of_ones_own_is_in_the_written_settings(tmp_path: Path) -> None:
    given = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "LLM_MODEL": "mine"}
    assert given.items() <= Stack(tmp_path, PORT, given)._written_settings().items()
