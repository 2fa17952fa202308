"""Tools as OpenAI's chat requests offer them, and the calls in answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from tunesmith.serve.backends.port import Calling, CallPiece
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import Strict

ToolName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
MOST_TOOLS = 128


class Function(Strict):
    """What a tool is.  `strict` changes nothing: arguments are enforced where a call is required."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A function that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """A tool by its name."""

    name: ToolName


class NamedTool(Strict):
    """The one tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class CalledFunction(Strict):
    """Which tool an earlier answer called, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A call in an earlier answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


WAYS = ("none", "auto", "required")
CHOICES = """expected 'none', 'auto', 'required' or {"type": "function", "function": {"name": …}}"""


def one_way(value: object) -> object:
    """A choice as clients write it: one message for all that is none, and not one for each form."""
    if isinstance(value, str) and value in WAYS:
        return value
    try:
        NamedTool.model_validate(value)
    except ValidationError:
        raise ValueError(f"{CHOICES}, but got {str(value)[:60]}") from None
    return value


ToolChoice = Annotated[Literal["none", "auto", "required"] | NamedTool, BeforeValidator(one_way)]


def calling_of(
    tools: Sequence[Tool] | None, choice: ToolChoice | None, several: bool | None
) -> Calling | None:
    """What an answer may call; None where it may call nothing.  Raises ApiProblem."""
    if not tools:
        if choice not in (None, "none", "auto"):
            message = "The 'tool_choice' parameter is only allowed when 'tools' are specified."
            raise ApiProblem(message, param="tool_choice", code="invalid_value")
        return None
    names = [tool.function.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            where = f"tools[{index}].function.name"
            raise ApiProblem(
                f"Invalid '{where}': two tools are called '{name}'.", param=where, code="invalid_value"
            )
    if choice == "none":
        return None
    offered = tuple(tool.model_dump(exclude_none=True) for tool in tools)
    if not isinstance(choice, NamedTool):
        return Calling(offered, required=choice == "required", several=several is not False)
    wanted = choice.function.name
    if wanted not in names:
        message = f"Invalid 'tool_choice': '{wanted}' is none of the tools: {', '.join(names)}."
        raise ApiProblem(message, param="tool_choice", code="invalid_value")
    return Calling(offered, required=True, only=wanted, several=False)


def joined(pieces: Sequence[CallPiece]) -> list[dict[str, Any]]:
    """Whole calls out of their pieces, as OpenAI writes them."""
    calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        call = calls.setdefault(piece.number, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or piece.id
        call["name"] += piece.name
        call["arguments"] += piece.arguments
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for _, call in sorted(calls.items())
    ]


def delta_of(piece: CallPiece) -> dict[str, Any]:
    """A piece of a call in a stream."""
    function: dict[str, Any] = {"arguments": piece.arguments}
    if piece.name:
        function = {"name": piece.name, **function}
    head: Mapping[str, Any] = {"id": piece.id, "type": "function"} if piece.id else {}
    return {"index": piece.number, **head, "function": function}
