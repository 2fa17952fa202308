"""One row through the template and the tokenizer, looked at from several sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.progress import counted
from tunesmith.data.check.port import Finding
from tunesmith.runtime.fitting import fit
from tunesmith.runtime.step import Encoded
from tunesmith.runtime.templates import token_ids, traits_of

if TYPE_CHECKING:
    from tunesmith.runtime.encoding import Encoder

SHOWN_CHARACTERS = 200


class Reading(NamedTuple):
    """A row in the model's own tokens."""

    num_tokens: int
    num_learned: int
    share_cut: float
    """Share of the learned tokens that the longest length cuts away from the right."""


@dataclass
class Faults:
    """What was found in the sampled rows, by the check that reports it."""

    render: list[Finding] = field(default_factory=list)
    spans: list[Finding] = field(default_factory=list)
    ends: list[Finding] = field(default_factory=list)
    nothing: list[Finding] = field(default_factory=list)
    special: list[Finding] = field(default_factory=list)
    begins: list[Finding] = field(default_factory=list)


def read_row(position: int, example: Example, encoder: Encoder, limit: int, faults: Faults) -> Reading | None:
    """Encode a row and look at what came out; None when it cannot be encoded."""
    faults.special += special_in_text(position, example, encoder.tokenizer)
    try:
        encoded = encoder.encode(example, key=str(position))
    except (DataError, ModelError) as error:
        faults.render.append(Finding(position, "error", error.what, told(error)))
        return None
    if not encoded.num_supervised:
        text = "no token of this row is learned: training leaves it out"
        faults.nothing.append(Finding(position, "error", 0, {"text": text}))
    faults.spans += wrong_spans(position, example, encoded, encoder)
    if not example.is_text:
        faults.ends += unlearned_ends(position, example, encoded, encoder)
    faults.begins += begins_twice(position, encoded, encoder.tokenizer)
    learned = max(1, encoded.num_supervised)
    cut = fit(encoded, limit, "truncate_right").learned_cut
    return Reading(len(encoded.token_ids), encoded.num_supervised, cut / learned)


def told(error: DataError | ModelError) -> dict[str, str]:
    """An error as evidence."""
    found = {"text": error.message().split("\n")[0]}
    if error.next_step:
        found["mend"] = error.next_step
    return found


def wrong_spans(position: int, example: Example, encoded: Encoded, encoder: Encoder) -> Iterator[Finding]:
    """Learned tokens that the second way of finding them does not confirm."""
    from tunesmith.runtime import mask_oracle

    found = mask_oracle.compare(example, encoded, encoder.tokenizer, encoder.recipe.objective)
    if found.problem:
        yield Finding(position, "warning", found.problem, {"text": found.problem})
    elif found.differences:
        first = found.differences[0]
        around = encoder.tokenizer.decode(list(encoded.token_ids[max(0, first - 5) : first + 5]))
        text = f"learned and read tokens are told apart otherwise from token {first} on: {around}"
        yield Finding(position, "error", len(found.differences), {"text": text})


def unlearned_ends(position: int, example: Example, encoded: Encoded, encoder: Encoder) -> Iterator[Finding]:
    """Answers whose end is not learned: the model would run on."""
    mark = traits_of(encoder.tokenizer).end_of_turn
    if mark is None:
        text = "the template ends an answer without a special token: the model would never stop"
        yield Finding(position, "error", "no end", {"text": text})
        return
    end = token_ids(mark, encoder.tokenizer)[0]
    expected = ends_expected(example, learn_of(encoder))
    pairs = zip(encoded.token_ids, encoded.weights, strict=True)
    runs = [list(run) for is_learned, run in groupby(pairs, key=lambda pair: pair[1] != 0) if is_learned]
    taught = sum(token == end for run in runs for token, _ in run)
    if taught < expected:
        text = f"{counted(expected, 'answer')} to be learned, and {counted(taught, 'end')} of them ({mark})"
        yield Finding(position, "error", expected - taught, {"text": text})


def learn_of(encoder: Encoder) -> str:
    """What the recipe says is learned."""
    objective = encoder.recipe.objective
    return "all" if objective.kind == "text" else objective.learn


def ends_expected(example: Example, learn: str) -> int:
    """How many answers are learned to their end."""
    answers = [turn for turn in example.messages if turn.role == "assistant"]
    return sum(map(to_its_end, answers[-1:] if learn == "last" else answers))


def to_its_end(message: Message) -> bool:
    """The end of a turn goes with the turn, or with its last part."""
    weight = message.parts[-1][1] if message.parts else message.weight
    return message.weight != 0 and weight != 0


def special_in_text(position: int, example: Example, tokenizer: Any) -> Iterator[Finding]:
    """Words of the data that the tokenizer reads as control tokens: a turn would end in the middle."""
    special = special_ids(tokenizer)
    for place, message in enumerate(example.messages):
        content = message.content or ""
        found = [token for token in token_ids(content, tokenizer) if token in special]
        if found:
            name = str(tokenizer.decode(found[:1]))
            at = max(0, content.find(name))
            evidence = {
                "pointer": f"/messages/{place}/content",
                "text": content[max(0, at - 60) : at + SHOWN_CHARACTERS],
                "tokens": sorted({str(tokenizer.decode([token])) for token in found}),
            }
            yield Finding(position, "error", name, evidence)


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Control tokens of the tokenizer, without the one that stands for unknown text."""
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return frozenset((added | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id})


def begins_twice(position: int, encoded: Encoded, tokenizer: Any) -> Iterator[Finding]:
    """A begin-of-text token that stands there twice: the template writes one, and so does somebody else."""
    first = tokenizer.bos_token_id
    if first is not None and list(encoded.token_ids[:2]) == [first, first]:
        text = f"{tokenizer.decode([first])} stands there twice"
        yield Finding(position, "error", 2, {"text": text})
