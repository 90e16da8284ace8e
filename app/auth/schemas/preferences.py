"""Schemas of the preferences of an account.

The services do not read preferences. Those of the web application are typed; other clients may store fields of their
own beside them.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    MISSING,
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from app.auth.schemas.partial_update import PartialUpdate
from app.core.content_limits import LANGUAGE_TAG
from app.core.schema_types import JsonObject, ResponseModel

Theme = Literal["system", "light", "dark"]
Density = Literal["comfortable", "compact"]
LanguageTag = Annotated[str, StringConstraints(max_length=35, pattern=f"^{LANGUAGE_TAG}$")]


class PreferencesUpdate(PartialUpdate):
    """An update of the preferences of the web application. Fields that are left out stay unchanged."""

    theme: Theme | MISSING = Field(MISSING, examples=["dark"], description="Colours of the pages.")
    language: LanguageTag | MISSING | None = Field(
        MISSING, examples=["pt-BR"], description="BCP 47 tag. `null`: that of the browser."
    )
    density: Density | MISSING = Field(MISSING, examples=["compact"], description="Spacing of the pages.")
    send_on_enter: StrictBool | MISSING = Field(
        MISSING, examples=[False], description="Whether Enter sends a question. False: Ctrl+Enter sends it."
    )
    show_details: StrictBool | MISSING = Field(
        MISSING, examples=[True], description="Whether answers show model, tokens, cost and times."
    )


def _or_default(default: object) -> WrapValidator:
    """Return a validator that replaces invalid values by the default: earlier releases stored any JSON."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - as the field
        try:
            return handler(value)
        except ValidationError:
            return default

    return WrapValidator(validate)


class Preferences(ResponseModel):
    """Preferences of the owner, complete, and the fields that other clients have stored beside them."""

    model_config = ConfigDict(extra="allow")

    theme: Annotated[Theme, _or_default("system")] = Field("system", description="Colours of the pages.")
    language: Annotated[LanguageTag | None, _or_default(None)] = Field(
        None, description="BCP 47 tag. `null`: that of the browser."
    )
    density: Annotated[Density, _or_default("comfortable")] = Field("comfortable", description="Spacing of the pages.")
    send_on_enter: Annotated[StrictBool, _or_default(default=True)] = Field(
        default=True, description="Whether Enter sends a question. False: Ctrl+Enter sends it."
    )
    show_details: Annotated[StrictBool, _or_default(default=False)] = Field(
        default=False, description="Whether answers show model, tokens, cost and times."
    )


def _check_known(preferences: dict[str, JsonValue]) -> dict[str, JsonValue]:
    known = {name: value for name, value in preferences.items() if name in PreferencesUpdate.model_fields}
    try:
        if known:
            PreferencesUpdate.model_validate(known)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ValueError(f"{problem['loc'][0]}: {problem['msg']}") from None
    return preferences


PreferencesObject = Annotated[JsonObject, AfterValidator(_check_known)]
"""All preferences of an account: any JSON object, in which the fields of the web application are valid."""
