"""`normalise-instructions`: system turns and openings of questions, in the form that most rows have."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tunesmith.core.conversation import Example, Message
from tunesmith.core.similarity import jaccard, shingles
from tunesmith.core.values import normalised
from tunesmith.data.clean.port import KEPT, Decide, Stage, Verdict, changed, left
from tunesmith.data.clean.schema import NormaliseInstructions
from tunesmith.data.corpus import CorpusRow

MAX_FORMS = 20_000
"""So many different texts are told apart; the majority's is among the first."""
OPENING = re.compile(r"\s*\S.{2,200}?(?::[ \t]*\n?|\n)\s*(?=\S)")
"""What comes before the question's own matter: up to the first colon or the end of the first line."""
STANDING = ("system", "developer")


@dataclass
class Forms:
    """Counts texts by what is left of them without case, punctuation and spaces."""

    total: int = 0
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count a text; an empty one counts towards the total."""
        self.total += 1
        if text and (text in self.texts or len(self.texts) < MAX_FORMS):
            self.texts[text] += 1

    def majority(self, share: float) -> str | None:
        """The usual text of the form that this share of all rows has; None without one."""
        forms: Counter[str] = Counter()
        for text, count in self.texts.items():
            forms[normalised(text)] += count
        if not forms or (best := forms.most_common(1)[0])[1] < share * self.total:
            return None
        return max(
            (text for text in self.texts if normalised(text) == best[0]),
            key=lambda text: (self.texts[text], text),
        )


def normalise_instructions(stage: Stage, settings: NormaliseInstructions) -> Decide:
    """What most training rows do, and each row brought to it or listed."""
    systems, openings = Forms(), Forms()
    for row in stage.corpus:
        if row.split == "train" and not row.example.is_text:
            systems.add(system_text(row.example))
            openings.add(opening(row.example))
    system, start = systems.majority(settings.majority), openings.majority(settings.majority)
    for name, found in (("system turn", system), ("opening of the question", start)):
        if found is None:
            stage.notes.append(f"normalise-instructions: no {name} has a share of {settings.majority:g}")

    def decide(row: CorpusRow) -> Verdict:
        if row.example.is_text:
            return KEPT
        return judged(row.example, system, start, settings)

    return decide


def judged(
    example: Example, system: str | None, start: str | None, settings: NormaliseInstructions
) -> Verdict:
    """Bring both parts to their form; a part that cannot be brought leaves the row listed."""
    found, done, stuck = example, [], []
    for name, wanted, bring in (
        ("system turn", system, with_system),
        ("opening of the question", start, with_opening),
    ):
        if wanted is None:
            continue
        brought = bring(found, wanted, settings)
        if brought is None:
            stuck.append(name)
        elif brought != found:
            found = brought
            done.append(name)
    if stuck:
        also = f" ({' and '.join(done)} could be)" if done else ""
        return left(f"{' and '.join(stuck)} cannot be brought to the usual form{also}")
    return changed(found, f"{' and '.join(done)} brought to the usual form") if done else KEPT


Bring = Callable[[Example, str, NormaliseInstructions], Example | None]
"""The example with the wanted text in its place; None where what stands there says something else."""


def with_system(example: Example, wanted: str, settings: NormaliseInstructions) -> Example | None:
    """The example with the usual system turn."""
    text = system_text(example)
    turns = [turn for turn in example.messages if turn.role in STANDING]
    if not turns:
        if settings.missing == "leave":
            return None
        return replace(example, messages=(Message("system", wanted), *example.messages))
    if len(turns) > 1 or turns[0].parts or not alike(text, wanted, settings.similarity):
        return example if text == wanted else None
    return with_turn(example, turns[0], replace(turns[0], content=wanted))


def with_opening(example: Example, wanted: str, settings: NormaliseInstructions) -> Example | None:
    """The example whose first question begins as usual."""
    text, turn = opening(example), first_question(example)
    if text == wanted:
        return example
    if turn is None or turn.parts or not text or not alike(text, wanted, settings.similarity):
        return None
    return with_turn(example, turn, replace(turn, content=wanted + (turn.content or "")[len(text) :]))


def with_turn(example: Example, old: Message, new: Message) -> Example:
    """The example with the first such turn exchanged."""
    place = example.messages.index(old)
    return replace(example, messages=(*example.messages[:place], new, *example.messages[place + 1 :]))


def alike(text: str, wanted: str, similarity: float) -> bool:
    """Whether two texts are the same instruction in other words."""
    return normalised(text) == normalised(wanted) or jaccard(shingles(text), shingles(wanted)) >= similarity


def system_text(example: Example) -> str:
    """What the standing turns say."""
    return "\n".join(turn.content or "" for turn in example.messages if turn.role in STANDING)


def first_question(example: Example) -> Message | None:
    """The first turn of the user."""
    users: Iterator[Message] = (turn for turn in example.messages if turn.role == "user")
    return next(users, None)


def opening(example: Example) -> str:
    """How the first question begins, with the space behind; empty where it has no opening of its own."""
    turn = first_question(example)
    found = OPENING.match(turn.content or "") if turn is not None else None
    return found.group() if found else ""
