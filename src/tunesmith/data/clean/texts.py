"""Steps that change the text of turns: white space, broken encodings."""

import re
from collections.abc import Callable
from dataclasses import replace

from tunesmith.core.conversation import Example, GradedStep, Message
from tunesmith.core.errors import MissingPackage
from tunesmith.data.clean.port import KEPT, Decide, Stage, Verdict, changed
from tunesmith.data.clean.schema import FixUnicode, MaskPii, Trim
from tunesmith.data.corpus import CorpusRow

INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad]")
"""Zero-width space, word joiner, byte order mark, soft hyphen; joiners that scripts and emoji need stay."""
LINE_ENDS = re.compile("\r\n?|\u2028|\u2029")

Change = Callable[[str], str]


def map_turn(turn: Message, change: Change) -> Message:
    """The turn with its text changed; in parts, each part by itself."""
    if turn.parts:
        parts = tuple((change(text), weight) for text, weight in turn.parts)
        return replace(turn, parts=parts, content="".join(text for text, _ in parts))
    return turn if turn.content is None else replace(turn, content=change(turn.content))


def map_texts(example: Example, change: Callable[[Message], Message]) -> Example:
    """The example with every turn changed; graded steps as turns of the assistant."""
    turns = [
        tuple(change(turn) for turn in part) for part in (example.messages, example.chosen, example.rejected)
    ]
    steps = tuple(
        GradedStep(change(Message("assistant", step.text)).content or "", step.is_right)
        for step in example.steps
    )
    return replace(example, messages=turns[0], chosen=turns[1], rejected=turns[2], steps=steps)


def by_turn(change: Callable[[Message], Message], reason: str) -> Decide:
    """A row is changed where a turn comes out otherwise."""

    def decide(row: CorpusRow) -> Verdict:
        example = map_texts(row.example, change)
        return KEPT if example == row.example else changed(example, reason)

    return decide


def trimmed(turn: Message) -> Message:
    """A turn with plain line ends, without invisible characters and white space at its ends.

    Raw text, and content in parts, keep the white space at their ends: it joins what follows.
    """
    cleaned = map_turn(turn, lambda text: INVISIBLE.sub("", LINE_ENDS.sub("\n", text)))
    return cleaned if turn.role == "text" or turn.parts else map_turn(cleaned, str.strip)


def trim(stage: Stage, settings: Trim) -> Decide:
    """White space and invisible characters."""
    return by_turn(trimmed, "white space or invisible characters")


def unicode(stage: Stage, settings: FixUnicode) -> Decide:
    """Mojibake undone by ftfy (Speer 2019); raises MissingPackage without it."""
    try:
        import ftfy
    except ImportError:
        raise MissingPackage("ftfy is not installed", next_step="pip install 'tunesmith[data]'") from None
    rules = ftfy.TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False
    )
    return by_turn(
        lambda turn: map_turn(turn, lambda text: str(ftfy.fix_text(text, rules))), "broken encoding mended"
    )


def mask_pii(stage: Stage, settings: MaskPii) -> Decide:
    """Values that the privacy checks find, each replaced by a placeholder, the same throughout a row."""
    from tunesmith.data.check.texts.personal import mask_example

    def decide(row: CorpusRow) -> Verdict:
        masked = mask_example(row.example)
        if masked.example == row.example:
            return KEPT
        return changed(masked.example, "personal data or secrets masked", kinds=dict(masked.counts))

    return decide
