"""Maximum duration of a turn, and lifetimes that must exceed it."""

from app.config import Settings
from app.core.turn_duration import TURN_DURATION_LIMIT
from app.services.redis.keys import TOMBSTONE_SECONDS, buffer_lifetime
from tests.support.longest_turn import MAX_SECONDS, TIMEOUTS, with_longest_turns


def test_no_permitted_turn_outlasts_the_lifetimes(settings: Settings) -> None:
    seconds = with_longest_turns(settings).max_streamed_seconds
    assert seconds == MAX_SECONDS
    assert seconds < buffer_lifetime(seconds) < TOMBSTONE_SECONDS == TURN_DURATION_LIMIT.total_seconds()


def test_reasoning_timeout_that_is_shorter_than_an_attempt_does_not_shorten_the_turn(settings: Settings) -> None:
    short = settings.model_copy(
        update={
            "LLM_TURN_TIMEOUT": 60,
            "LLM_REASONING_TIMEOUT": 1,
            "LLM_STREAM_TIMEOUT": 300,
            "LLM_ATTEMPT_TIMEOUT": 60,
        }
    )
    assert short.max_streamed_seconds == 60 + 60 + 300


def test_buffers_live_for_20_minutes_with_the_default_settings() -> None:
    defaults = {name: Settings.model_fields[name].default for name in TIMEOUTS}
    assert buffer_lifetime(Settings.model_construct(**defaults).max_streamed_seconds) == 1200
