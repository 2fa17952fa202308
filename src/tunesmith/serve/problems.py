"""Errors as OpenAI words them: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
RATE_LIMIT = "rate_limit_error"
RETRY_SECONDS = 1


class ApiProblem(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message, self.status, self.kind, self.param, self.code = message, status, kind, param, code
        self.headers = dict(headers or {})
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}


def model_not_found(name: str, known: Iterable[str]) -> ApiProblem:
    """404 with the nearest name that exists."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.4)
    advice = f"Did you mean `{close[0]}`?" if close else f"This server has: {', '.join(names)}."
    message = f"The model `{name}` does not exist or you do not have access to it. {advice}"
    return ApiProblem(message, status=404, param="model", code="model_not_found")


def unsupported(param: str, reason: str) -> ApiProblem:
    """400 for a field that OpenAI knows and this server does not do."""
    return ApiProblem(
        f"Unsupported parameter: '{param}' {reason}.", param=param, code="unsupported_parameter"
    )


def overloaded(reason: str, retry_after: str | None = None) -> ApiProblem:
    """429 for a request that can succeed a little later; OpenAI's client tries again by itself."""
    return ApiProblem(
        f"The server is overloaded, please try again later ({reason}).",
        status=429,
        kind=RATE_LIMIT,
        code="rate_limit_exceeded",
        headers={"retry-after": retry_after or str(RETRY_SECONDS)},
    )


def unknown(param: str, known: Iterable[str]) -> ApiProblem:
    """400 for a field that nobody knows."""
    close = get_close_matches(param.rsplit(".", 1)[-1], list(known), n=1, cutoff=0.6)
    advice = f" Did you mean '{close[0]}'?" if close else ""
    return ApiProblem(
        f"Unrecognized request argument supplied: '{param}'.{advice}", param=param, code="unknown_parameter"
    )


TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
}
"""Pydantic's name of a type error → what was expected."""

RANGES = {
    "greater_than_equal": ("ge", "below minimum value", ">="),
    "greater_than": ("gt", "below minimum value", ">"),
    "less_than_equal": ("le", "above maximum value", "<="),
    "finite_number": (None, "not a finite number", ""),
}


def json_name(value: object) -> str:
    """What JSON calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "an integer", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def path_of(location: Iterable[str | int]) -> str:
    """('messages', 0, 'role') → 'messages[0].role'."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def invalid_field(detail: ErrorDetails, known: Iterable[str]) -> ApiProblem:
    """400 for the first thing that is wrong with the fields of a request."""
    param, kind = path_of(detail["loc"]), detail["type"]
    if kind == "missing":
        return ApiProblem(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if kind == "extra_forbidden":
        return unknown(param, known)
    if kind in TYPES:
        got = json_name(detail["input"])
        message = f"Invalid type for '{param}': expected {TYPES[kind]}, but got {got} instead."
        return ApiProblem(message, param=param, code="invalid_type")
    if kind in RANGES:
        key, what, sign = RANGES[kind]
        message = f"Invalid '{param}': {what}."
        if key is not None:
            message += f" Expected a value {sign} {detail['ctx'][key]:g}, but got {detail['input']} instead."
        return ApiProblem(message, param=param, code="invalid_value")
    if kind == "literal_error":
        given, expected = str(detail["input"])[:100], detail["ctx"]["expected"]
        message = f"Invalid value: '{given}'. Supported values are: {expected}."
        return ApiProblem(message, param=param, code="invalid_value")
    reason = detail["msg"].removeprefix("Value error, ")
    return ApiProblem(f"Invalid '{param}': {reason}.", param=param, code="invalid_value")
