"""Proofs on what the model is shown: the mask, the end of a turn, the generation prompt.

They take the training rows' own examples, spread over all sources, encode them again and look at the result
from another side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, Final

from tunesmith.core.conversation import Example, Message
from tunesmith.core.recipe import Sft
from tunesmith.runtime.step import Encoded
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.sampling import Shown, corpus_pieces
from tunesmith.train.preflight.schema import Finding
from tunesmith.train.preflight.steps import engine_of

MOST_SECONDS: Final = 2.0
"""A proof of this family looks at the sampled rows, or at as many as it can in this time."""
NUM_SHOWN: Final = 3


def shown_rows(context: PreflightContext) -> Iterator[Shown]:
    """Training rows of all sources, spread evenly, until their number or the time is used up."""
    until = time.monotonic() + MOST_SECONDS
    for row in context.shown:
        yield row
        if time.monotonic() > until:
            return


def check_mask(context: PreflightContext) -> Finding:
    """Which tokens are learned, found in two ways; and the corpus holds just that."""
    from tunesmith.runtime import mask_oracle

    tokenizer = engine_of(context).tokenizer
    rows = num_tokens = num_learned = 0
    faults: list[str] = []
    kept: dict[str, Shown] = {}
    for row in shown_rows(context):
        rows += 1
        num_tokens += len(row.encoded.token_ids)
        num_learned += row.encoded.num_supervised
        kept[row.key] = row
        found = mask_oracle.compare(row.example, row.encoded, tokenizer, context.recipe.objective)
        if not found.agrees:
            faults.append(f"{row.where}: {found.problem or describe(row, found.differences, tokenizer)}")
    faults += corpus_faults(context, kept)
    if not num_learned:
        faults.append(f"no token of {rows:,} rows is learned")
    details = {"rows": rows, "tokens": num_tokens, "learned_tokens": num_learned, "faults": faults}
    evidence = f"{num_learned:,} of {num_tokens:,} tokens learned in {rows:,} rows, both ways agree"
    if faults:
        return Finding("failed", f"{len(faults):,} faults in {rows:,} rows: {few(faults)}", details)
    return Finding("passed", evidence, details)


def learn_of(context: PreflightContext) -> str:
    """What the recipe says is learned."""
    objective = context.recipe.objective
    return objective.learn if isinstance(objective, Sft) else "all"


def describe(row: Shown, places: Sequence[int], tokenizer: Any) -> str:
    """'2 tokens with another weight, at 14: "<|im_end|>"'."""
    token = tokenizer.decode([row.encoded.token_ids[places[0]]])
    return f"{len(places)} tokens have another weight, the first at {places[0]} ({token!r})"


def corpus_faults(context: PreflightContext, rows: Mapping[str, Shown]) -> list[str]:
    """Where the corpus holds something else than a row's encoding, or than a part of it."""
    if context.train.accounting["limits"]["block_length"]:
        return []
    faults = []
    for key, piece in corpus_pieces(context.train, list(rows)):
        whole = rows[key].encoded
        if not any(
            same(whole, piece, begin) for begin in range(len(whole.token_ids) - len(piece.token_ids) + 1)
        ):
            faults.append(f"{rows[key].where}: the corpus holds other tokens or weights than its encoding")
    return faults


def same(whole: Encoded, piece: Encoded, begin: int) -> bool:
    """Whether a piece stands in the whole from there on, tokens and weights."""
    if whole.token_ids[begin] != piece.token_ids[0]:
        return False
    place = slice(begin, begin + len(piece.token_ids))
    return list(whole.token_ids[place]) == [int(token) for token in piece.token_ids] and list(
        whole.weights[place]
    ) == [float(weight) for weight in piece.weights]


def few(faults: Sequence[str]) -> str:
    """The first faults."""
    more = f"; and {len(faults) - NUM_SHOWN:,} more" if len(faults) > NUM_SHOWN else ""
    return "; ".join(faults[:NUM_SHOWN]) + more


def check_end_of_turn(context: PreflightContext) -> Finding:
    """Each answer that is learned to its end teaches a token at which the server stops."""
    from tunesmith.runtime.generate import end_of_turn

    engine = engine_of(context)
    tokenizer = engine.tokenizer
    ends = end_of_turn(engine.session.model, tokenizer) & special_ids(tokenizer)
    rows = turns = 0
    faults = []
    for row in shown_rows(context):
        rows += 1
        expected = ends_expected(row.example, learn_of(context))
        turns += expected
        taught = sum(
            weight != 0 and token in ends
            for token, weight in zip(row.encoded.token_ids, row.encoded.weights, strict=True)
        )
        last = [run[-1] for run in learned_runs(row.encoded)]
        if taught < expected:
            faults.append(f"{row.where}: {expected} learned turns, {taught} of their ends are learned")
        elif learn_of(context) != "all" and sum(token in ends for token in last) < expected:
            faults.append(f"{row.where}: a learned turn goes on behind its end")
    names = ", ".join(sorted(repr(tokenizer.decode([token])) for token in ends)) or "nothing"
    pad = tokenizer.pad_token_id
    padding = "examples are laid end to end, so nothing is padded"
    if pad is not None and pad in ends:
        padding = "the pad token is the same and learned where it ends a turn: nothing is masked by it"
    details = {"rows": rows, "turns": turns, "stops_at": sorted(ends), "faults": faults}
    if faults:
        return Finding("failed", f"{few(faults)}; the server stops at {names}", details)
    if not turns:
        return Finding("not applicable", f"no row of {rows:,} is learned to an end", details)
    evidence = (
        f"{turns:,} learned ends in {rows:,} rows, all tokens that the server stops at ({names}); {padding}"
    )
    return Finding("passed", evidence, details)


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that no text can spell: a server may stop at them."""
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def ends_expected(example: Example, learn: str) -> int:
    """How many turns (or texts) of an example are learned to their end."""
    if example.is_text:
        return int(to_its_end(example.messages[-1]))
    answers = [turn for turn in example.messages if turn.role == "assistant"]
    return sum(map(to_its_end, answers[-1:] if learn == "last" else answers))


def to_its_end(message: Message) -> bool:
    """Whether the end of a turn is to be learned: it goes with the turn, or with its last part."""
    weight = message.parts[-1][1] if message.parts else message.weight
    return message.weight != 0 and weight != 0


def learned_runs(encoded: Encoded) -> list[list[int]]:
    """Token ids of each unbroken run of learned tokens."""
    pairs = zip(encoded.token_ids, encoded.weights, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != 0)
    return [[int(token) for token, _ in run] for learned, run in runs if learned]


def check_generation_prompt(context: PreflightContext) -> Finding:
    """What a server sends before an answer is, token for token, what stands before it in training."""
    if context.recipe.objective.kind == "text":
        return Finding("not applicable", "plain text is learned without a prompt")
    from tunesmith.runtime.render import render_prompt

    tokenizer = engine_of(context).tokenizer
    rows = turns = 0
    faults = []
    for row in shown_rows(context):
        if row.example.is_text:
            continue
        rows += 1
        for place in learned_turns(row.example, learn_of(context)):
            turns += 1
            before = row.example.messages[:place]
            prompt = render_prompt(before, tokenizer, tools=row.example.tools)
            if list(row.encoded.token_ids[: len(prompt)]) != prompt:
                faults.append(f"{row.where}, turn {place}: {apart(prompt, row.encoded, tokenizer)}")
            elif not row.encoded.weights[len(prompt)]:
                faults.append(f"{row.where}, turn {place}: the first token behind the prompt is not learned")
    details = {"rows": rows, "turns": turns, "faults": faults}
    if faults:
        return Finding("failed", few(faults), details)
    if not turns:
        return Finding("not applicable", "no conversation among the rows", details)
    return Finding(
        "passed", f"{turns:,} turns of {rows:,} rows begin behind just what a server sends", details
    )


def learned_turns(example: Example, learn: str) -> list[int]:
    """Places of the assistant turns that are learned from their beginning."""
    answers = [place for place, turn in enumerate(example.messages) if turn.role == "assistant"]
    chosen = answers[-1:] if learn == "last" else answers
    return [place for place in chosen if from_its_beginning(example.messages[place])]


def from_its_beginning(message: Message) -> bool:
    """Whether a turn's first token is to be learned."""
    return message.weight != 0 and (not message.parts or message.parts[0][1] != 0)


def apart(prompt: Sequence[int], encoded: Encoded, tokenizer: Any) -> str:
    """Where a prompt and the training text part."""
    pairs = zip(chain(prompt, [None]), chain(encoded.token_ids, [None]), strict=False)
    place = next(index for index, (a, b) in enumerate(pairs) if a != b)
    sent, learned = (
        tokenizer.decode([int(token) for token in ids[max(0, place - 3) : place + 3]])
        for ids in (prompt, encoded.token_ids)
    )
    return f"the server sends {sent!r} where training has {learned!r}"
