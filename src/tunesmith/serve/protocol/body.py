"""From the bytes of a request to checked fields."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from tunesmith.serve.problems import ApiProblem, invalid_field, unknown, unsupported

MAX_DEPTH = 100
"""Arrays and objects inside each other; a JSON schema that anybody writes by hand has ten."""


class Strict(BaseModel):
    """No conversions: "0.5" is no number, 1 is no boolean."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


S = TypeVar("S", bound=Strict)
Neutral = Mapping[str, tuple[tuple[object, ...], str]]
"""A field that is not acted on → values (beside null) that ask for nothing, and why not others."""

IDENTIFIERS = frozenset(
    {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)
"""OpenAI's fields that say who asks or what to keep ready, and never change an answer."""


MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512


def small(value: dict[str, str]) -> dict[str, str]:
    """Metadata within OpenAI's limits; raises ValueError."""
    if len(value) > MOST_PAIRS:
        raise ValueError(f"at most {MOST_PAIRS} pairs, but got {len(value)}")
    for key, text in value.items():
        if len(key) > LONGEST_KEY or len(text) > LONGEST_VALUE:
            raise ValueError(
                f"keys have at most {LONGEST_KEY} characters and values {LONGEST_VALUE}: see '{key[:40]}'"
            )
    return value


Metadata = Annotated[dict[str, str], AfterValidator(small)]
"""Pairs that a client says about something of its own."""


class Noted(NamedTuple):
    """What the record and the errors say about a request."""

    endpoint: str
    model: str | None
    streamed: bool
    parameters: dict[str, Any]
    """The settings, without what was said."""
    messages: list[dict[str, Any]]
    """What was said."""
    fields: frozenset[str]
    """Names that an error of the engine may be about."""
    said: str
    """The field that holds what was said."""
    stored: bool = False
    """Whether the client asked to keep the answer."""
    metadata: dict[str, str] | None = None
    """What it says about the answer that is kept."""


def read_object(body: bytes) -> dict[str, Any]:
    """The body's JSON object; raises ApiProblem."""
    try:
        value = json.loads(body, parse_constant=no_constant)
        if b"\\u" in body:
            # An escaped half of a surrogate pair is JSON but no text: nothing behind here could write it.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ApiProblem(
            f"We could not parse the JSON body of your request ({error}). The body must be valid JSON."
        ) from None
    if not isinstance(value, dict):
        raise ApiProblem("The JSON body of your request must be an object.")
    if too_deep(value):
        raise ApiProblem(f"The JSON body of your request is nested more than {MAX_DEPTH} levels deep.")
    return value


def no_constant(name: str) -> NoReturn:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no JSON value")


def too_deep(value: object) -> bool:
    """Whether arrays and objects are nested beyond MAX_DEPTH; what walks them later is recursive."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def check(model: type[S], value: Mapping[str, Any], neutral: Neutral) -> S:
    """The request; raises ApiProblem with OpenAI's wording for the first thing wrong."""
    known = [*names_of(model), *neutral, *IDENTIFIERS]
    asked = {name: given for name, given in value.items() if not asks_nothing(name, given, neutral, known)}
    try:
        return model.model_validate(asked)
    except ValidationError as error:
        raise invalid_field(error.errors(include_url=False)[0], known) from None


def names_of(model: type[Strict]) -> list[str]:
    """The fields of a request as clients write them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def asks_nothing(name: str, value: object, neutral: Neutral, known: list[str]) -> bool:
    """Whether a field asks for nothing; raises ApiProblem when it asks for what is not done here."""
    if name in IDENTIFIERS:
        return True
    if name in neutral:
        values, reason = neutral[name]
        # `1 == True` in Python, and `n: true` is no number.
        same = any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)
        if value is not None and not same:
            raise unsupported(name, reason)
        return True
    if name not in known:
        raise unknown(name, known)
    return False


def shown(request: Strict, hidden: set[str]) -> dict[str, Any]:
    """The settings of a request as the record keeps them."""
    return request.model_dump(by_alias=True, exclude_none=True, exclude=hidden)
