"""Which tokens of an example are learned, found in a second way: the proof against faults in `render`.

Nothing is shared with `render`.  There a turn is found by what the template prompts with; here its content is
replaced by a mark that stands nowhere else, the mark is found in what the template writes, and characters are
carried over to tokens by the tokenizer's offsets.  The end of a turn is the text that the template writes
right after a marked answer.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.recipe import Objective
from tunesmith.runtime.step import Encoded

MARK = "\ue0f1mark{}\ue0f2"
"""Characters of Unicode's private area, which no text means anything by."""


class Comparison(NamedTuple):
    """How an example's weights compare with the second way."""

    num_learned: int
    """Tokens that the second way learns."""
    differences: tuple[int, ...]
    """Places of tokens with another weight."""
    problem: str
    """Why there is no comparison; empty: there is one."""

    @property
    def agrees(self) -> bool:
        """Whether both ways learn the same."""
        return not self.differences and not self.problem


def compare(example: Example, encoded: Encoded, tokenizer: Any, objective: Objective) -> Comparison:
    """Compare the weights of an example, encoded whole, with those found here."""
    if not tokenizer.is_fast:
        return Comparison(0, (), "this tokenizer does not say which characters a token stands for")
    ids = list(encoded.token_ids)
    if example.is_text:
        expected = by_text(example, ids, tokenizer, objective)
    else:
        learn = "assistant" if objective.kind == "text" else objective.learn
        expected = by_marks(example, ids, tokenizer, learn)
    if isinstance(expected, str):
        return Comparison(0, (), expected)
    pairs = zip(expected, encoded.weights, strict=True)
    different = tuple(place for place, (wanted, weight) in enumerate(pairs) if wanted != weight)
    return Comparison(sum(weight != 0 for weight in expected), different, "")


def by_text(example: Example, ids: list[int], tokenizer: Any, objective: Objective) -> list[float] | str:
    """Weights of plain text: those of the characters, or of whatever tokens read as a learned text."""
    if ids[-1:] != [tokenizer.eos_token_id]:
        return "the text does not end with the end-of-text token"
    body = ids[:-1]
    first = int(body[:1] == [tokenizer.bos_token_id])
    given, body = [0.0] * first, body[first:]
    middle = objective.fill_in_the_middle if objective.kind == "text" else None
    if middle is not None and body[:1] == tokenizer.encode(middle.prefix, add_special_tokens=False):
        return [*given, *[1.0] * len(body), 1.0]  # rearranged: all of it is learned
    texts = [text for message in example.messages for text in weighted(message)]
    whole = "".join(text for text, _ in texts)
    found = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    if list(found["input_ids"]) != body:
        learned = by_reading(texts, body, tokenizer)
        return learned if isinstance(learned, str) else [*given, *learned, texts[-1][1]]
    painted = [weight for text, weight in texts for _ in text]
    learned = [min(painted[begin : max(begin + 1, stop)]) for begin, stop in found["offset_mapping"]]
    return [*given, *learned, texts[-1][1]]


def weighted(message: Message) -> list[tuple[str, float]]:
    """The texts of a message with their weights."""
    whole = (message.content or "", 1.0 if message.weight is None else message.weight)
    return list(message.parts) or [whole]


def by_reading(texts: list[tuple[str, float]], body: list[int], tokenizer: Any) -> list[float] | str:
    """Weights where parts have tokens of their own: each text is read off as many tokens as it takes."""
    expected: list[float] = []
    for text, weight in texts:
        start = len(expected)

        def num_read(stop: int, start: int = start) -> int:
            return len(tokenizer.decode(body[start:stop]))

        stop = bisect_left(range(len(body) + 1), len(text), lo=start, key=num_read)
        # a character may take several tokens, of which only the last makes it readable
        while stop < len(body) and tokenizer.decode(body[start:stop]) != text:
            stop += 1
        if tokenizer.decode(body[start:stop]) != text:
            return "the tokens do not read as the text"
        expected += [weight] * (stop - start)
    return expected if len(expected) == len(body) else "tokens are left over"


def by_marks(example: Example, ids: list[int], tokenizer: Any, learn: str) -> list[float] | str:
    """Weights of a conversation, by marked renderings."""
    for turns in variants(example):
        text = rendering(turns, example, tokenizer)
        if text is None:
            continue
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if list(found["input_ids"]) == ids:
            break
    else:
        return "the template does not write these tokens"
    end = end_mark(tokenizer)
    if not end:
        return "the template writes nothing after an answer"
    learned = [learn == "all"] * len(text)
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    for place in answers[-1:] if learn == "last" else answers:
        start = answer_start(turns, place, example, text, tokenizer)
        if start is None:
            return f"what turn {place} says is not found where a mark was"
        paint(learned, example.messages[place], start, text, end)
    return [float(stop > begin and all(learned[begin:stop])) for begin, stop in found["offset_mapping"]]


def variants(example: Example) -> Iterator[list[dict[str, Any]]]:
    """The turns in each form that templates want: null or empty contents, arguments as text or as objects."""
    for empty, as_object in itertools.product((None, ""), (True, False)):
        turns = []
        for message in example.messages:
            turn = {key: value for key, value in message.to_json().items() if key != "weight"}
            turn["content"] = empty if message.content is None else message.content
            if "tool_calls" in turn and as_object:
                turn["tool_calls"] = [opened(call) for call in turn["tool_calls"]]
            turns.append(turn)
        yield turns


def opened(call: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as an object."""
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}


def rendering(turns: Sequence[dict[str, Any]], example: Example, tokenizer: Any) -> str | None:
    """What the template writes; None where it fails."""
    tools = [dict(tool) for tool in example.tools] or None
    try:
        return str(tokenizer.apply_chat_template(list(turns), tools=tools, tokenize=False))
    except Exception:  # a template can raise anything at a form that is not its own; another form may do
        return None


def end_mark(tokenizer: Any) -> str:
    """What the template writes right after an answer, up to and with the first special token."""
    mark = MARK.format("end")
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": mark}]
    after = str(tokenizer.apply_chat_template(turns, tokenize=False)).partition(mark)[2]
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    ends = [after.find(token) + len(token) for token in special if token in after]
    return after[: min(ends)] if ends else ""


def prompt_mark(tokenizer: Any) -> str:
    """What the template adds to have an answer begin."""
    asked = [{"role": "user", "content": "question"}]
    plain, prompting = (
        str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=add))
        for add in (False, True)
    )
    return prompting[len(plain) :] if prompting.startswith(plain) else ""


def answer_start(
    turns: list[dict[str, Any]], place: int, example: Example, text: str, tokenizer: Any
) -> int | None:
    """Where an assistant turn begins to speak: where a mark in its stead comes to stand.

    What the template writes between its prompt and the mark is for the model to say as well.
    """
    mark, prompt = MARK.format(place), prompt_mark(tokenizer)
    for rest in (turns[place + 1 :], []):
        marked = rendering(
            [*turns[:place], {"role": "assistant", "content": mark}, *rest], example, tokenizer
        )
        if marked is not None and mark in marked:
            before = marked.partition(mark)[0]
            if not text.startswith(before):
                return None
            prompted = before.rfind(prompt) if prompt else -1
            return len(before) if prompted < 0 else prompted + len(prompt)
    return None


def paint(learned: list[bool], message: Message, start: int, text: str, end: str) -> None:
    """Set which characters of one assistant turn are learned."""
    content = message.content or ""
    said = text.find(content, start)
    if said < 0:
        content = content.strip()  # the template trims
        said = text.find(content, start)
    stop = text.find(end, said + len(content)) + len(end)
    whole = message.weight is None or message.weight != 0
    learned[start:stop] = [whole] * (stop - start)
    if message.parts:
        learned[start:said] = [message.parts[0][1] != 0] * (said - start)
        place = said
        for piece, weight in message.parts:
            learned[place : place + len(piece)] = [weight != 0] * len(piece)
            place += len(piece)
        learned[place:stop] = [message.parts[-1][1] != 0] * (stop - place)
