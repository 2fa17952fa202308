"""What an answer must look like: OpenAI's `response_format`, vLLM's `structured_outputs`."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tunesmith.runtime.sampling.port import Grammar
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import Strict


class JsonSchema(Strict):
    """A schema with a name.  `strict` changes nothing: the schema is always enforced."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """Text, any JSON object, or JSON of one schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def grammar(self) -> Grammar | None:
        """What the engine is held to; None for text.  Raises ApiProblem."""
        if self.type != "json_schema":
            if self.json_schema is not None:
                message = f"'response_format.json_schema' needs the type 'json_schema', not '{self.type}'."
                raise ApiProblem(message, param="response_format", code="invalid_value")
            return Grammar("json_object") if self.type == "json_object" else None
        if self.json_schema is None:
            param = "response_format.json_schema"
            message = f"Missing required parameter: '{param}'."
            raise ApiProblem(message, param=param, code="missing_required_parameter")
        schema = self.json_schema.schema_
        # OpenAI's: without a schema the answer is any JSON object.
        return Grammar("json_object") if schema is None else Grammar("json_schema", as_text(schema))


class StructuredOutputs(Strict):
    """One of several ways to say what an answer must look like, as vLLM's clients write it."""

    json_: Annotated[Any, Field(alias="json")] = None
    regex: str | None = None
    choice: Annotated[list[str] | None, Field(min_length=1)] = None
    grammar: str | None = None
    json_object: Literal[True] | None = None

    @field_validator("json_")
    @classmethod
    def _check_json(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"expected a JSON schema, but the text is no JSON ({error})") from None
        if value is not None and not isinstance(value, dict):
            raise ValueError("expected a JSON schema: an object, or a string that holds one")
        return value

    def to_grammar(self) -> Grammar:
        """What the engine is held to; raises ApiProblem unless exactly one way is given."""
        ways = {
            "json": None if self.json_ is None else Grammar("json_schema", as_text(self.json_)),
            "regex": None if self.regex is None else Grammar("regex", self.regex),
            "choice": None if self.choice is None else Grammar("choice", as_text(self.choice)),
            "grammar": None if self.grammar is None else Grammar("lark", self.grammar),
            "json_object": None if self.json_object is None else Grammar("json_object"),
        }
        given = [grammar for grammar in ways.values() if grammar is not None]
        if len(given) != 1:
            message = f"'structured_outputs' needs exactly one of {', '.join(ways)}."
            raise ApiProblem(message, param="structured_outputs", code="invalid_value")
        return given[0]


def as_text(value: object) -> str:
    """JSON as the engine reads it; the order of keys is the order of the answer's fields."""
    return json.dumps(value, ensure_ascii=False)


def grammar_of(
    response_format: ResponseFormat | None, structured: StructuredOutputs | None
) -> Grammar | None:
    """What the engine is held to; raises ApiProblem when both ask for something."""
    asked = response_format.grammar() if response_format is not None else None
    if structured is None:
        return asked
    if asked is not None:
        message = "'structured_outputs' and 'response_format' cannot both say what the answer looks like."
        raise ApiProblem(message, param="structured_outputs", code="invalid_value")
    return structured.to_grammar()
