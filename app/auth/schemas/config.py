"""Schemas of the public configuration."""

from pydantic import Field

from app.config.registration import RegistrationMode
from app.core.content_limits import FeedbackReason
from app.core.schema_types import ResponseModel


class PasswordRules(ResponseModel):
    """Rules for new passwords. The most common passwords are refused, too."""

    min_length: int
    max_length: int


class UsernameRules(ResponseModel):
    """Rules for user names."""

    min_length: int
    max_length: int
    pattern: str = Field(description="Regular expression that the whole name must match.")


class Limits(ResponseModel):
    """Maximum lengths in characters, numbers and sizes."""

    full_name_length: int
    message_length: int
    system_prompt_length: int
    session_title_length: int
    tags: int = Field(description="Tags of a session.")
    tag_length: int
    feedback_comment_length: int
    search_length: int
    api_keys: int = Field(description="API keys of an account.")
    import_bytes: int = Field(description="Size of a file to import, in bytes.")


class FeedbackReasons(ResponseModel):
    """Reasons that a feedback may give, by its rating."""

    up: list[FeedbackReason]
    down: list[FeedbackReason]


class PublicConfig(ResponseModel):
    """What pages need to know before a login."""

    product_name: str
    login_notice: str = Field(description="Text that the login page shows; empty: none.")
    registration: RegistrationMode = Field(
        description="`open`: everybody may register. `invitation` and `closed`: only with an invitation."
    )
    mail_enabled: bool = Field(description="False: there are no links to verify an address or to reset a password.")
    email_verification_required: bool = Field(
        description="Whether an account can log in only after its address is verified."
    )
    unverified_may_chat: bool
    password: PasswordRules
    username: UsernameRules
    sharing_enabled: bool
    limits: Limits
    feedback_reasons: FeedbackReasons
