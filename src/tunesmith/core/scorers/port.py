"""What a scorer sees of an item, and what a scorer is."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

from pydantic import create_model

from tunesmith.core.config import Schema, build
from tunesmith.core.conversation import Example

Kind = Literal["share", "unit", "number"]
"""What values a score has: 0 or 1, from 0 to 1, any."""
Needs = Literal["answer", "likelihood", "choices"]
"""What has to be asked of the model: an answer, how likely the right one is, how likely each choice is."""


class Likelihood(NamedTuple):
    """How likely a text is for a model, and how long it is."""

    logprob: float
    """Natural logarithm of its probability, the end of the turn included."""
    tokens: int
    bytes: int
    """Length of the text in UTF-8."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said of an item, as far as it was asked."""

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    likelihood: Likelihood | None = None
    """Of the right answer."""
    choices: tuple[Likelihood, ...] = ()
    """Of each of the item's choices."""


@dataclass(frozen=True)
class Case:
    """An item and the reply to it."""

    example: Example
    reply: Reply = field(default_factory=Reply)

    @cached_property
    def golds(self) -> tuple[str, ...]:
        """The right answer, and others that the item accepts (`accepted` in its metadata)."""
        more = self.example.metadata.get("accepted", ())
        return (self.example.answer, *(more if isinstance(more, list | tuple) else (more,)))


class Trust(NamedTuple):
    """How far a scorer that learned can be believed: what it said of held-out texts."""

    source: str
    """What it learned from."""
    texts: int
    positive: int
    """Those that it has to find."""
    auc: float
    """How often one of these scores higher than another text."""
    auc_low: float
    auc_high: float
    found: float
    """Share of them that it finds at its threshold."""
    false_alarms: float
    """Share of the other texts that it takes for one."""


class Faulty(ValueError):
    """An item lacks what a scorer needs, or holds it in another form."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A way to score; `function` takes a Case, and its options by name."""

    name: str
    function: Callable[..., float]
    kind: Kind = "unit"
    needs: Needs = "answer"
    better: Literal["higher", "lower"] | None = "higher"
    """None: neither is better, it only says what an answer is like."""
    weight: Callable[[Case], float] | None = None
    """With it the score of a set is Σ weight·score / Σ weight, such as bits over all bytes."""
    shown: Callable[[float], float] | None = None
    """Monotone; turns the score of a set into what is shown, such as a mean loss into a perplexity."""
    trust: Callable[..., Trust] | None = None
    """For one that learned: what held-out texts say of it, with the same options."""

    @property
    def what(self) -> str:
        """What it measures, in one line."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")

    def options(self) -> type[Schema]:
        """The schema of its options: the function's keyword-only parameters."""
        return options_of(self.name, self.function)


@cache
def options_of(name: str, function: Callable[..., float]) -> type[Schema]:
    """A schema of a function's keyword-only parameters; made once, for making one takes milliseconds."""
    parameters = inspect.signature(function).parameters.items()
    fields: dict[str, Any] = {
        parameter_name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter_name, parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(name, __base__=Schema, **fields)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A scorer with its options, under the name that its scores get."""

    name: str
    scorer: Scorer
    options: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, scorer: Scorer, options: Mapping[str, Any], *, where: str) -> "Chosen":
        """Checked options.  Raises ConfigError that names the option."""
        checked = build(scorer.options(), options, source=where)
        return cls(name, scorer, dict(checked))

    def score(self, case: Case) -> float:
        """The score of one reply.  Raises Faulty for an item that cannot be scored so."""
        return float(self.scorer.function(case, **self.options))


def of_texts(function: Callable[..., float]) -> Callable[..., float]:
    """A scorer of two texts as a scorer of a case: the best of the answers that the item accepts."""

    def best(case: Case, **options: Any) -> float:
        return max(function(gold, case.reply.text, **options) for gold in case.golds)

    best.__doc__ = function.__doc__
    mine = inspect.signature(function).parameters.values()
    asked = inspect.Parameter("case", inspect.Parameter.POSITIONAL_ONLY)
    keywords = [parameter for parameter in mine if parameter.kind is parameter.KEYWORD_ONLY]
    best.__signature__ = inspect.Signature([asked, *keywords])  # type: ignore[attr-defined]
    return best


def text_scorers(*functions: Callable[..., float], kind: Kind) -> tuple[Scorer, ...]:
    """Scorers of (right answer, answer), named like their functions."""
    return tuple(Scorer(function.__name__, of_texts(function), kind) for function in functions)
