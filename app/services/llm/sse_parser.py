"""What OpenAI's protocol sends for a streamed answer: server-sent events, each a chunk of a completion."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import from_json

from app.graph.ports.chat_model import TokenCounts

_MAX_LINE_BYTES = 1_048_576
_FIRST_HIGH_SURROGATE, _LAST_HIGH_SURROGATE = "\ud800", "\udbff"
"""Between them lie the first halves of surrogate pairs."""

TokenCount = Annotated[int, Field(ge=1, le=10_000_000)]
"""No prompt and no answer is empty, and no model's window is larger."""
FinishReason = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,50}$")]


class ProviderUsage(BaseModel):
    """Tokens as the provider counted them."""

    prompt_tokens: TokenCount
    completion_tokens: TokenCount

    @property
    def token_counts(self) -> TokenCounts:
        """The same, for the ledger."""
        return TokenCounts(self.prompt_tokens, self.completion_tokens)


def _none_if_invalid(value: object, validate: ValidatorFunctionWrapHandler) -> ProviderUsage | None:
    try:
        usage: ProviderUsage | None = validate(value)
    except ValidationError:
        return None  # a good answer with an odd count is a good answer: the count is estimated
    return usage


LenientUsage = Annotated[ProviderUsage | None, WrapValidator(_none_if_invalid)]


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta | None = None
    finish_reason: FinishReason | None = None


class _Chunk(BaseModel):
    """What is read of an event. Anything else in it may change without notice."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: list[_Choice] = []
    usage: LenientUsage = None
    error: object = None


class ProviderStreamError(Exception):
    """The provider reported a fault of its own in the middle of an answer."""


class StreamedAnswer:
    """Collects the events of one answer."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        """None: the answer is not whole."""
        self.usage: ProviderUsage | None = None
        self.is_over = False
        """Whether the provider has said that nothing follows."""
        self._has_been_cleaned = False
        self._pieces: list[str] = []
        self._half = ""
        # A line that comes byte by byte costs as much as its length, and not the square of it.
        self._line = bytearray()

    @property
    def is_repaired(self) -> bool:
        """Whether the text is not what the provider sent."""
        return self._has_been_cleaned or self._half != ""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def lines(self, data: bytes) -> list[bytes]:
        """Take what came next, and return the lines that it ends.

        Raises:
            ValueError: a line does not end.

        """
        *lines, rest = data.split(b"\n")
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        if len(self._line) > _MAX_LINE_BYTES:
            raise ValueError("the line does not end")
        return lines

    def feed(self, line: bytes) -> str:
        """Take a line, and return the text in it.

        Raises:
            ProviderFaultError: the line reports a fault.
            ValueError, RecursionError: the line is no event of this protocol.

        """
        if self.is_over or not line.startswith(b"data:"):
            return ""  # an empty line, a comment, a field that this protocol does not use, or something after the end
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
        sent = self._whole_characters(text)
        text = remove_unstorable(sent)
        if text != sent:
            self._has_been_cleaned = True
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

    def _whole_characters(self, text: str) -> str:
        # Some engines cut between the halves of a surrogate pair: the first one waits for the second.
        if not self._half and not _FIRST_HIGH_SURROGATE <= text[-1] <= _LAST_HIGH_SURROGATE:
            return text
        text = (self._half + text).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        self._half = text[-1] if _FIRST_HIGH_SURROGATE <= text[-1] <= _LAST_HIGH_SURROGATE else ""
        return text.removesuffix(self._half)


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - whatever the provider sends
    """Return the document.

    Raises:
        ValueError, RecursionError: there is none.

    """
    try:
        return from_json(data)
    except ValueError:
        # The fast parser refuses half a surrogate pair, which is no reason to lose an answer.
        return json.loads(data)


def _is_plain_delta(document: Any) -> bool:  # noqa: ANN401 - likewise
    """Tell whether an event is what nearly all are, the next text and nothing else: the model would take its time."""
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
    """Return the text without what PostgreSQL's text (NUL) and UTF-8 (a lone surrogate) cannot hold."""
    if text.isascii():
        return text.replace("\x00", "")
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
