"""Limits of what users write. The auth service reports them to pages before a login."""

from collections.abc import Mapping
from typing import Literal

MAX_MESSAGE_LENGTH = 32_000

MAX_SYSTEM_PROMPT_LENGTH = 4000

MAX_TITLE_LENGTH = 200
"""Maximum length of the title of a session."""

MAX_SEARCH_LENGTH = 200

MAX_COMMENT_LENGTH = 2000
"""Maximum length of the comment in a feedback."""

LANGUAGE_TAG = r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}"
"""Language tags of BCP 47: language and up to three subtags."""

FeedbackReason = Literal[
    "accurate",
    "clear",
    "creative",
    "helpful",
    "inaccurate",
    "incomplete",
    "other",
    "refused",
    "style",
    "too_long",
    "unhelpful",
    "unsafe",
]

REASONS_BY_RATING: Mapping[Literal["up", "down"], tuple[FeedbackReason, ...]] = {
    "up": ("accurate", "clear", "creative", "helpful", "other"),
    "down": ("inaccurate", "incomplete", "refused", "style", "too_long", "unhelpful", "unsafe", "other"),
}
"""Reasons that a rating may have, in the order in which pages offer them."""
