"""Parser of streamed answers in OpenAI's protocol: server-sent events with chunks of a completion."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import from_json

from app.graph.ports.chat_model import ModelTokenCounts

_MAX_LINE_BYTES = 1_048_576
_FIRST_HIGH_SURROGATE, _LAST_HIGH_SURROGATE = "\ud800", "\udbff"
"""Range of the first halves of surrogate pairs."""

TokenCount = Annotated[int, Field(ge=1, le=10_000_000)]
"""Plausible count: prompts and answers are not empty, and no context window is larger."""
FinishReason = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,50}$")]


class ProviderUsage(BaseModel):
    """Token counts as the provider reported them."""

    prompt_tokens: TokenCount
    completion_tokens: TokenCount

    @property
    def token_counts(self) -> ModelTokenCounts:
        """The counts for the ledger."""
        return ModelTokenCounts(self.prompt_tokens, self.completion_tokens)


def _none_if_invalid(value: object, validate: ValidatorFunctionWrapHandler) -> ProviderUsage | None:
    try:
        usage: ProviderUsage | None = validate(value)
    except ValidationError:
        return None  # an invalid count does not invalidate the answer: it is estimated
    return usage


LenientUsage = Annotated[ProviderUsage | None, WrapValidator(_none_if_invalid)]
"""Usage that is None where the provider's is invalid."""


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta | None = None
    finish_reason: FinishReason | None = None


class _Chunk(BaseModel):
    """The part of an event that is used."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: list[_Choice] = []
    usage: LenientUsage = None
    error: object = None


class ProviderStreamError(Exception):
    """The provider reported an error in the stream."""


class StreamedAnswer:
    """Parses the events of one answer, and collects its text and metadata."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        """None: the answer is incomplete."""
        self.usage: ProviderUsage | None = None
        self.is_over = False
        """Whether the provider has sent the end of the stream."""
        self._has_removed_characters = False
        self._pieces: list[str] = []
        self._high_surrogate = ""
        # A buffer, so that a line that arrives byte by byte takes linear time.
        self._line = bytearray()

    @property
    def is_repaired(self) -> bool:
        """Whether the text differs from what the provider sent."""
        return self._has_removed_characters or self._high_surrogate != ""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def lines(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the body, and return the lines that they complete.

        Raises:
            ValueError: a line is too long.

        """
        *lines, rest = data.split(b"\n")
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        if len(self._line) > _MAX_LINE_BYTES:
            raise ValueError("the line is too long")
        return lines

    def feed(self, line: bytes) -> str:
        """Take a line, and return the text in it, which may be empty.

        Raises:
            ProviderStreamError: the line reports an error.
            ValueError, RecursionError: the line is not an event of this protocol.

        """
        if self.is_over or not line.startswith(b"data:"):
            return ""  # an empty line, a comment, an unused field, or data after the end
        data = line[5:].strip()
        if data == b"[DONE]":
            self.is_over = True
            return ""
        document = parse_json(data)
        if _is_plain_delta(document):
            self.model = document.get("model") or self.model
            text = document["choices"][0]["delta"]["content"]
        else:
            text = self._take_chunk(_Chunk.model_validate(document))
        if not text:
            return ""
        received = self._complete_characters(text)
        text = remove_unstorable(received)
        if text != received:
            self._has_removed_characters = True
        self._pieces.append(text)
        return text

    def _take_chunk(self, chunk: _Chunk) -> str | None:
        if chunk.error is not None:
            raise ProviderStreamError
        if chunk.model:
            self.model = chunk.model
        if chunk.usage is not None:
            self.usage = chunk.usage
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        return choice.delta.content if choice.delta else None

    def _complete_characters(self, text: str) -> str:
        # Some engines split surrogate pairs between events: the first half is held back until the second arrives.
        if not self._high_surrogate and not _FIRST_HIGH_SURROGATE <= text[-1] <= _LAST_HIGH_SURROGATE:
            return text
        text = (self._high_surrogate + text).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        self._high_surrogate = text[-1] if _FIRST_HIGH_SURROGATE <= text[-1] <= _LAST_HIGH_SURROGATE else ""
        return text.removesuffix(self._high_surrogate)


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON document
    """Parse a JSON document.

    Raises:
        ValueError, RecursionError: the data is not valid JSON.

    """
    try:
        return from_json(data)
    except ValueError:
        # The fast parser rejects lone surrogates, which the standard library accepts.
        return json.loads(data)


def _is_plain_delta(document: Any) -> bool:  # noqa: ANN401 - likewise
    """Return whether an event has text and nothing else. Most have, and validation by the model would be slower."""
    try:
        (choice,) = document["choices"]
        return (
            type(choice["delta"]["content"]) is str
            and choice.get("finish_reason") is None
            and document.get("usage") is None
            and document.get("error") is None
            and type(document.get("model", "")) is str
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return False


def remove_unstorable(text: str) -> str:
    """Return the text without characters that PostgreSQL (NUL) and UTF-8 (lone surrogates) cannot store."""
    if text.isascii():
        return text.replace("\x00", "")
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
