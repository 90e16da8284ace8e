"""Schemas of the public configuration."""

from pydantic import Field

from app.config.registration import RegistrationMode
from app.core.content_limits import FeedbackReason
from app.core.schema_types import ResponseModel


class PasswordRules(ResponseModel):
    """Rules for new passwords. The most common passwords are refused, too."""

    min_length: int = Field(description="Minimum length in characters.")
    max_length: int = Field(description="Maximum length in characters.")


class UsernameRules(ResponseModel):
    """Rules for user names."""

    min_length: int = Field(description="Minimum length in characters.")
    max_length: int = Field(description="Maximum length in characters.")
    pattern: str = Field(description="Regular expression that the whole name must match.")


class Limits(ResponseModel):
    """Maximum lengths in characters, numbers and sizes."""

    full_name_length: int = Field(description="Full name, in characters.")
    message_length: int = Field(description="Question, in characters.")
    system_prompt_length: int = Field(description="`system_prompt` of a context, in characters.")
    session_title_length: int = Field(description="Title of a session, in characters.")
    tags: int = Field(description="Tags of a session.")
    tag_length: int = Field(description="Tag, in characters.")
    feedback_comment_length: int = Field(description="Comment of a feedback, in characters.")
    search_length: int = Field(description="Search text, in characters.")
    api_keys: int = Field(description="API keys of an account.")
    import_bytes: int = Field(description="Size of a file to import, in bytes.")


class FeedbackReasons(ResponseModel):
    """Reasons that a feedback may give, by its rating."""

    up: list[FeedbackReason] = Field(description="Reasons of the rating `up`.")
    down: list[FeedbackReason] = Field(description="Reasons of the rating `down`.")


class PublicConfig(ResponseModel):
    """What pages need to know before a login."""

    product_name: str = Field(description="Name of the product (`PROJECT_NAME`).")
    login_notice: str = Field(description="Text that the login page shows; empty: none.")
    registration: RegistrationMode = Field(
        description="`open`: everybody may register. `invitation` and `closed`: only with an invitation."
    )
    mail_enabled: bool = Field(description="False: there are no links to verify an address or to reset a password.")
    email_verification_required: bool = Field(
        description="Whether an account can log in only after its address is verified."
    )
    unverified_may_chat: bool = Field(
        description="Whether accounts whose address is not verified may use the chat service."
    )
    password: PasswordRules = Field(description="Rules for new passwords.")
    username: UsernameRules = Field(description="Rules for new user names.")
    sharing_enabled: bool = Field(description="Whether sessions can be shared.")
    limits: Limits = Field(description="Limits of what users enter.")
    feedback_reasons: FeedbackReasons = Field(description="Reasons that a feedback may give.")
