"""Messages of a request, taken leniently: text, lists of parts, or null as content."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from app.chat.openai_api.fields import PassedOn
from app.core.schema_types import Storable, check_text
from app.graph.ports.messages import ClientMessage

_PART_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
    },
}
_CONTENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": _PART_SCHEMA},
        {"type": "null"},
    ],
    "description": "Text; a list of parts of the types `text` and `image_url`; or null with tool calls.",
    "examples": ["What is my name?"],
}
_MAX_URL_LENGTH = 4 * 1024 * 1024
_IMAGE_SCHEMES = ("https://", "http://", "data:image/")
_IMAGE_DATA = re.compile(r"data:image/[a-zA-Z0-9.+-]{1,50};base64,[A-Za-z0-9+/]+={0,2}")

ShortText = Annotated[str, Field(min_length=1, max_length=200), Storable]


def _check_content(content: object) -> object:
    """Return text, or a list of parts if one of them is an image. Parts that are all text become one text.

    Raises:
        ValueError: the content has another type, or a part that is not supported.

    """
    if content is None or isinstance(content, str):
        return check_text(content) if content else content
    if not isinstance(content, list) or not content:
        raise ValueError("must be text, a list of parts, or null")
    parts = [_check_part(part) for part in content]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _check_part(part: object) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise ValueError("a part must be an object with a type")  # noqa: TRY004 - pydantic expects ValueError
    kind = part.get("type")
    if isinstance(kind, str) and kind in {"text", "refusal"}:
        text = part.get(kind)
        if not isinstance(text, str):
            raise ValueError("a text part must have a text")
        return {"type": "text", "text": check_text(text)}
    if kind == "image_url":
        return {"type": "image_url", "image_url": _check_image(part.get("image_url"))}
    raise ValueError("parts of this type are not supported: send text and image_url")


def _check_image(image: object) -> dict[str, str]:
    if isinstance(image, str):
        image = {"url": image}
    if not isinstance(image, dict) or not isinstance(url := image.get("url"), str):
        raise ValueError("an image part must have an image_url with a url")  # noqa: TRY004 - as above
    if not url.startswith(_IMAGE_SCHEMES) or len(url) > _MAX_URL_LENGTH:
        raise ValueError("the url of an image must be http(s) or a data URL of an image")
    if url.startswith("data:") and not _IMAGE_DATA.fullmatch(url):
        raise ValueError("the data URL of an image must be data:image/...;base64, and the image in base64")
    checked = {"url": check_text(url)}
    detail = image.get("detail")
    if detail is not None:
        if not isinstance(detail, str) or detail not in {"auto", "low", "high", "original"}:
            raise ValueError("the detail of an image must be auto, low or high")
        checked["detail"] = detail
    return checked


class FunctionCall(BaseModel):
    """The function that was called."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: ShortText = Field(description="Name of the function.")
    arguments: Annotated[str, Storable] = Field(strict=True, description="Arguments as the model wrote them.")


class RequestToolCall(BaseModel):
    """A tool call of an earlier answer."""

    model_config = ConfigDict(hide_input_in_errors=True)

    id: ShortText = Field(description="Id of the tool call.")
    type: Literal["function"] = Field("function", description="Always `function`.")
    function: FunctionCall = Field(description="Name and arguments of the called function.")


class RequestMessage(BaseModel):
    """One message of the conversation. Unknown fields are ignored."""

    model_config = ConfigDict(hide_input_in_errors=True)

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(description="Author of the message.")
    content: Annotated[Any, BeforeValidator(_check_content), WithJsonSchema(_CONTENT_SCHEMA)] = Field(
        None, description="Text of the message, or a list of its parts."
    )
    name: ShortText | None = Field(None, description="Name of the author, passed on.")
    tool_calls: Annotated[list[RequestToolCall], Field(fail_fast=True)] | None = Field(
        None, max_length=128, description="Tool calls of an earlier answer."
    )
    tool_call_id: ShortText | None = Field(None, description="With the role `tool`: the call it is the result of.")

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.content is None and not (self.role == "assistant"):
            raise ValueError("content must not be null")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("tool_call_id is required with the role tool")
        if isinstance(self.content, list) and self.role != "user":
            raise ValueError("only messages of the user may have images")
        return self

    @property
    def text(self) -> str:
        """The text of the message, without its images."""
        if isinstance(self.content, list):
            return "\n".join(part["text"] for part in self.content if part["type"] == "text")
        return str(self.content or "")

    @property
    def has_images(self) -> bool:
        """Whether the message has images."""
        return isinstance(self.content, list)

    def for_model(self) -> ClientMessage:
        """Return the message as the model is sent it. Few engines know the role `developer`."""
        message = ClientMessage(
            role="system" if self.role == "developer" else self.role,
            content="" if self.content is None and not self.tool_calls else self.content,
        )
        if self.name is not None:
            message["name"] = self.name
        if self.role == "assistant" and self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.role == "tool" and self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


class FunctionDefinition(BaseModel):
    """Name and arguments of a function."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] = Field(description="Name of the function.")
    description: Annotated[str, Storable] | None = Field(None, description="What the function does, for the model.")
    parameters: Annotated[dict[str, Any], PassedOn] | None = Field(None, description="JSON schema of the arguments.")
    strict: bool | None = Field(None, strict=True, description="Whether arguments must follow the schema exactly.")


def _check_tool_type(kind: object) -> object:
    if kind != "function":
        raise ValueError("only tools of the type function are supported")
    return kind


class Tool(BaseModel):
    """A function that the model may ask the client to run."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Annotated[Literal["function"], BeforeValidator(_check_tool_type)] = Field(description="Always `function`.")
    function: FunctionDefinition = Field(description="The function.")


def _check_tool_choice(choice: object) -> object:
    if choice in ("none", "auto", "required"):
        return choice
    name = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if isinstance(name, dict) and isinstance(name := name.get("name"), str):
        return {"type": "function", "function": {"name": check_text(name)}}
    raise ValueError("must be none, auto, required, or an object that names a function")


ToolChoice = Annotated[
    Any,
    AfterValidator(_check_tool_choice),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "auto", "required"]},
                {
                    "type": "object",
                    "required": ["type", "function"],
                    "properties": {
                        "type": {"const": "function"},
                        "function": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}},
                        },
                    },
                },
            ]
        }
    ),
]
"""`none`, `auto`, `required`, or the function that the model must call."""
