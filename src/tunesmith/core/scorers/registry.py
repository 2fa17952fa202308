"""Every scorer by name, and how a suite chooses among them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ConfigError, UserError, nearest
from tunesmith.core.scorers import (
    behaviour,
    calls,
    generated,
    json_values,
    labels,
    likelihoods,
    programs,
    rules,
    texts,
    toxicity,
)
from tunesmith.core.scorers.plugins import load_plugin
from tunesmith.core.scorers.port import Case, Chosen, Faulty, Scorer
from tunesmith.core.values import is_container


def own(case: Case) -> float:
    """The score by the scorer that the item's own metadata name (`scorer`: a name, or type and options)."""
    spec = case.example.metadata.get("scorer")
    if not isinstance(spec, str | Mapping):
        raise Faulty("the item's metadata name no scorer")
    try:
        chosen = choose(spec, where="the item's scorer")
    except ConfigError as error:
        raise Faulty(str(error)) from None
    if chosen.scorer.kind == "number" or chosen.scorer.needs != "answer":
        raise Faulty(f"{chosen.scorer.name} gives no number from 0 to 1 from an answer")
    return chosen.score(case)


SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for family in (
        texts.SCORERS,
        json_values.SCORERS,
        rules.SCORERS,
        programs.SCORERS,
        labels.SCORERS,
        calls.SCORERS,
        likelihoods.SCORERS,
        behaviour.SCORERS,
        generated.SCORERS,
        toxicity.SCORERS,
        (Scorer("own", own),),
    )
    for scorer in family
}
Spec = str | Mapping[str, Any]
"""A scorer's name, or `{type: name, …options}`, perhaps with the `name` that its scores get."""


def find(name: str, *, where: str) -> Scorer:
    """A scorer by its name or as `module:function`; ConfigError names the nearest known one."""
    if ":" in name:
        return load_plugin(name)
    if name not in SCORERS:
        raise ConfigError("unknown scorer", value=name, where=where, next_step=nearest(name, SCORERS))
    return SCORERS[name]


def choose(spec: Spec, *, where: str = "--scorers") -> Chosen:
    """The scorer of a spec, its options checked."""
    if isinstance(spec, str):
        spec = {"type": spec}
    options = dict(spec)
    kind = options.pop("type", None)
    if not isinstance(kind, str):
        step = "write a scorer's name, or a mapping with `type`"
        raise ConfigError("a scorer without a type", value=str(spec), where=where, next_step=step)
    name = str(options.pop("name", kind))
    return Chosen.of(name, find(kind, where=where), options, where=f"{where} {kind}")


def choose_all(specs: Iterable[Spec], *, where: str = "--scorers") -> tuple[Chosen, ...]:
    """Several; ConfigError for two of one name."""
    chosen = tuple(choose(spec, where=where) for spec in specs)
    names = [one.name for one in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        step = "give one of the two a name of its own (name: …)"
        raise ConfigError("two scorers have one name", value=twice[0], where=where, next_step=step)
    return chosen


def scorers_for(examples: Sequence[Example]) -> list[str]:
    """Scorers for a set of examples by what their answers are; the first is the primary one."""
    if examples and all(example.messages[-1].tool_calls for example in examples):
        return ["tool_calls", "tool_names"]
    if examples and all(is_container(example.answer) for example in examples):
        return ["exact_json", "field_f1", "json_valid"]
    return ["exact", "token_f1"]


def score_case(scorers: Sequence[Chosen], case: Case) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of one reply, and why the others could not be given.

    A scorer that fails is an outcome with its reason: the reply scores 0 there where 0 is the worst.  What is
    wrong with the suite or the machine is none: it is raised (UserError).
    """
    scores: dict[str, float] = {}
    failed: dict[str, str] = {}
    for chosen in scorers:
        try:
            scores[chosen.name] = chosen.score(case)
        except Faulty as error:
            failed[chosen.name] = str(error)
        except UserError:
            raise
        except Exception as error:  # a scorer of the user's own may raise anything
            failed[chosen.name] = f"{type(error).__name__}: {error}"
    return scores, failed
