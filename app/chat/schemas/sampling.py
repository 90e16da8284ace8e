"""Sampling parameters of a question, in the native and the OpenAI-compatible API."""

from typing import Annotated, Any

from pydantic import Field


def _number(description: str, *, ge: float, le: float, example: float) -> Any:  # noqa: ANN401 - as pydantic's `Field`
    return Field(strict=True, ge=ge, le=le, allow_inf_nan=False, examples=[example], description=description)


Temperature = Annotated[
    float | None,
    _number("Sampling temperature from 0 to 2. Default: that of the settings.", ge=0, le=2, example=0.7),
]
TopP = Annotated[
    float | None,
    _number(
        "Nucleus sampling: share of the probability mass that is considered, from 0 to 1.", ge=0, le=1, example=0.9
    ),
]
FrequencyPenalty = Annotated[
    float | None, _number("Penalty for tokens by how often they have occurred, from -2 to 2.", ge=-2, le=2, example=0)
]
PresencePenalty = Annotated[
    float | None, _number("Penalty for tokens that have occurred, from -2 to 2.", ge=-2, le=2, example=0)
]
