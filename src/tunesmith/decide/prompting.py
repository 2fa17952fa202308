"""The prompts worth trying: the data's own, the labels listed, the task in words, worked examples, texts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.errors import DataError
from tunesmith.core.formats.read import read_rows
from tunesmith.core.prompts import AS_IS, PromptShape, few_shot, similar_shot, with_labels
from tunesmith.core.prompts.wording import allowed_answers, common_system
from tunesmith.decide.schema import DecideConfig

TERSE = "Give the answer and nothing else."
NUM_PASSAGES = 3
PASSAGE_CHARACTERS = 1_200
"""Longer documents are cut at paragraphs into passages of at most about this."""
TEXT_FILES = (".txt", ".md")
ALWAYS = 2
"""The first prompts (the data's own, the labels listed or the terse one) are measured whatever the budget."""


class Candidate(NamedTuple):
    """A prompt to try, and its file below the plan."""

    shape: PromptShape
    file: str


def candidates_for(train: Sequence[Example], config: DecideConfig) -> tuple[list[Candidate], list[str]]:
    """The prompts to try, cheapest first, and those that this data rules out, with the reason."""
    shapes, skipped = [AS_IS], []
    system = common_system(train)
    if (labelled := with_labels(train)) is not None:
        shapes.append(labelled)
    else:
        skipped.append("zero_shot: the answers are free text or the system turns differ; no labels to list")
    if system is not None:
        shapes.append(PromptShape("terse", f"{system}\n\n{TERSE}".strip()))
    if config.task is not None:
        shapes.append(described(train, config.task))
    for k in sorted(set(config.shots)):
        if k < len(train):
            shapes += [few_shot(train, k), similar_shot(train, k)]
        else:
            skipped.append(f"few_shot_{k}, similar_{k}: training has only {len(train)} rows")
    if config.documents is not None:
        passages = tuple(passages_of(config.documents))
        sources = [shapes[1] if len(shapes) > 1 else AS_IS, *(one for one in shapes if one.num_similar)][:2]
        shapes += [with_documents(one, passages) for one in sources]
    return [Candidate(shape, f"prompts/{shape.name}.json") for shape in shapes], skipped


def described(train: Sequence[Example], task: str) -> PromptShape:
    """The task in the user's words, with the labels listed where there are any."""
    return PromptShape("described", "\n\n".join(filter(None, [task.strip(), allowed_answers(train)])))


def with_documents(shape: PromptShape, passages: tuple[str, ...]) -> PromptShape:
    """The same prompt with passages looked up for each question (Lewis et al., arXiv:2005.11401)."""
    name = f"{shape.name}_passages"
    return replace(shape, name=name, passages=passages, num_passages=min(NUM_PASSAGES, len(passages)))


def passages_of(path: Path) -> Iterator[str]:
    """The texts of a file as passages.  Raises DataError for rows that are no texts, and for none at all."""
    found = False
    for text in texts_of(path):
        for passage in cut(text):
            found = True
            yield passage
    if not found:
        raise DataError("there is no text to look anything up in", where=path)


def texts_of(path: Path) -> Iterator[str]:
    """A text file as it is, or the texts of a file of rows."""
    if path.suffix.lower() in TEXT_FILES:
        try:
            yield path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError("not UTF-8", where=path, value=str(error), next_step="convert it first") from None
        return
    for row in read_rows(path):
        if row.example is None or not row.example.is_text:
            step = "give rows with the key `text`, or a text file"
            raise DataError("passages come from texts", where=f"{path}:{row.line}", next_step=step)
        yield row.example.answer


def cut(text: str) -> Iterator[str]:
    """Whole paragraphs up to about a passage's length; one that is longer stays whole."""
    held: list[str] = []
    for paragraph in filter(None, (part.strip() for part in text.split("\n\n"))):
        if held and sum(map(len, held)) + len(paragraph) > PASSAGE_CHARACTERS:
            yield "\n\n".join(held)
            held = []
        held.append(paragraph)
    if held:
        yield "\n\n".join(held)


def characters_of(shape: PromptShape, examples: Sequence[Example]) -> float:
    """Characters of a prompt, on average over some examples."""
    total = sum(len(turn.content or "") for example in examples for turn in shape.apply(example))
    return total / max(1, len(examples))
