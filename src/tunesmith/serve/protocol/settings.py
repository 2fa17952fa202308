"""The settings that chat and text completions share."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from tunesmith.runtime.sampling.port import MAX_SEED
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import Neutral, Strict
from tunesmith.serve.protocol.grammar import ResponseFormat, StructuredOutputs, grammar_of

MAX_STOPS = 16
"""OpenAI takes 4; lm-eval's tasks send more."""
MAX_ANSWERS = 128
MAX_TOKEN_DIGITS = 10


class StreamOptions(Strict):
    """How a stream is written."""

    include_usage: bool | None = None
    # Random padding against observers of an encrypted stream: there is nothing to pad on this one.
    include_obfuscation: bool | None = None


class Settings(Strict):
    """How tokens are chosen and when an answer ends."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(ge=1, le=MAX_ANSWERS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    # -1 is vLLM's way to say "all".
    top_k: Annotated[int | None, Field(ge=-1, lt=2**31)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    repetition_penalty: Annotated[float | None, Field(gt=0, le=100)] = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int | None, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] = None
    stop: str | list[str] | None = None
    include_stop_str_in_output: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _check_stop(cls, value: object) -> object:
        texts = [value] if isinstance(value, str) else value
        if value is not None and not (
            isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        ):
            raise ValueError("expected a string or an array of strings")
        if isinstance(texts, list) and (len(texts) > MAX_STOPS or "" in texts):
            raise ValueError(f"expected at most {MAX_STOPS} stop strings, none of them empty")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _check_tokens(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for key in value or {}:
            if not (key.isascii() and key.isdigit() and len(key) <= MAX_TOKEN_DIGITS):
                raise ValueError(f"expected token ids as keys, but got '{key[:40]}'")
        return value

    @property
    def answers(self) -> int:
        """How many answers to each prompt."""
        return 1 if self.n is None else self.n

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool(self.stream_options is not None and self.stream_options.include_usage)

    def check_together(self, drawn: int) -> None:
        """Raise ApiProblem for fields that do not go together; `drawn` answers are made to each prompt."""
        if self.stream_options is not None and not self.stream:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise ApiProblem(message, param="stream_options", code="invalid_value")
        if self.seed is not None and self.seed + drawn - 1 > MAX_SEED:
            message = f"Invalid 'seed': answer i is drawn with seed + i, which may not go over {MAX_SEED}."
            raise ApiProblem(message, param="seed", code="invalid_value")

    def choices(self) -> dict[str, Any]:
        """The fields of `GenerationRequest` with which both kinds of request are drawn."""
        return {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": max(self.top_k or 0, 0),
            "min_p": self.min_p or 0.0,
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "repetition_penalty": 1.0 if self.repetition_penalty is None else self.repetition_penalty,
            "logit_bias": {int(token): bias for token, bias in (self.logit_bias or {}).items()},
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "include_stop": bool(self.include_stop_str_in_output),
            "grammar": grammar_of(self.response_format, self.structured_outputs),
        }


GUIDED = "is not taken any more (vLLM dropped it in 0.12): use 'structured_outputs'"
OLD_NAMES: Neutral = dict.fromkeys(
    ("guided_json", "guided_regex", "guided_choice", "guided_grammar"), ((), GUIDED)
)
"""What older clients of vLLM send."""
