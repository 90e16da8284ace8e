"""Public configuration: the settings and limits that pages need before a login."""

from app.auth.api_keys import MAX_API_KEYS
from app.auth.schemas.config import FeedbackReasons, Limits, PasswordRules, PublicConfig, UsernameRules
from app.auth.validators import (
    MAX_FULL_NAME_LENGTH,
    MAX_PASSWORD_LENGTH,
    MAX_USERNAME_LENGTH,
    MIN_PASSWORD_LENGTH,
    MIN_USERNAME_LENGTH,
    USERNAME_PATTERN,
)
from app.config import Settings
from app.core.content_limits import (
    MAX_COMMENT_LENGTH,
    MAX_MESSAGE_LENGTH,
    MAX_SEARCH_LENGTH,
    MAX_SYSTEM_PROMPT_LENGTH,
    MAX_TITLE_LENGTH,
    REASONS_BY_RATING,
)
from app.database.models.chat.chat_session import MAX_TAG_LENGTH, MAX_TAGS


def build_public_config(settings: Settings) -> PublicConfig:
    """Return the configuration that everybody may read."""
    return PublicConfig(
        product_name=settings.PROJECT_NAME,
        login_notice=settings.LOGIN_NOTICE,
        registration=settings.REGISTRATION,
        mail_enabled=settings.MAIL_URL is not None,
        email_verification_required=settings.EMAIL_VERIFICATION_REQUIRED,
        unverified_may_chat=settings.UNVERIFIED_MAY_CHAT,
        password=PasswordRules(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH),
        username=UsernameRules(
            min_length=MIN_USERNAME_LENGTH, max_length=MAX_USERNAME_LENGTH, pattern=USERNAME_PATTERN
        ),
        sharing_enabled=settings.SHARING_ENABLED,
        limits=Limits(
            full_name_length=MAX_FULL_NAME_LENGTH,
            message_length=MAX_MESSAGE_LENGTH,
            system_prompt_length=MAX_SYSTEM_PROMPT_LENGTH,
            session_title_length=MAX_TITLE_LENGTH,
            tags=MAX_TAGS,
            tag_length=MAX_TAG_LENGTH,
            feedback_comment_length=MAX_COMMENT_LENGTH,
            search_length=MAX_SEARCH_LENGTH,
            api_keys=MAX_API_KEYS,
            import_bytes=settings.IMPORT_MAX_BYTES,
        ),
        feedback_reasons=FeedbackReasons(up=list(REASONS_BY_RATING["up"]), down=list(REASONS_BY_RATING["down"])),
    )
