"""Checks of the language of rows: against the corpus, and prompt against answer.

Languages are told by py3langid (naive Bayes over byte n-grams; Lui and Baldwin 2012).  Short texts, code and
data have no language here.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tunesmith.core.conversation import Example
from tunesmith.data.check.port import Check, Context, Fact, Finding
from tunesmith.data.check.texts.parts import answers_of, last_question, make_part, show_piece
from tunesmith.data.corpus import Corpus

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|[@#]\w+", re.DOTALL)
LETTERS = re.compile(r"[^\W\d_]+")
WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
MIN_LETTERS, MIN_WIDE = 60, 15
"""Fewer letters (or signs of a script of syllables or words) tell no language."""
CLASSIFIED_CHARACTERS = 800
SURE = 0.90
"""Least probability to say that a text is in a language."""
FEWEST_ROWS = 20
"""Of fewer rows none is unusual."""
ALONE = 2
UNKNOWN = ""
ALIKE = (
    frozenset(["en", "pcm", "sco", "jam"]),
    frozenset(["no", "nb", "nn", "da", "sv"]),
    frozenset(["hr", "sr", "bs", "sh", "sl", "mk"]),
    frozenset(["id", "ms", "jv", "su"]),
    frozenset(["es", "gl", "pt", "ca", "ast", "an", "oc"]),
    frozenset(["cs", "sk"]),
    frozenset(["ru", "uk", "be", "bg", "mk"]),
    frozenset(["zh", "yue", "wuu", "lzh"]),
    frozenset(["de", "lb", "nds", "gsw", "bar"]),
    frozenset(["nl", "af", "fy", "li"]),
    frozenset(["hi", "mr", "ne", "bho", "mai"]),
)
"""Languages that a classifier takes for each other in short texts."""
ASKS_FOR_LANGUAGE = re.compile(
    r"(?i)translat|übersetz|traduc|traduire|traduis|翻译|翻譯|翻訳|번역|перевед|language|\b(?:in|into|to"
    r"|from) (?:english|german"
    r"|french|spanish|italian|portuguese|dutch|russian|chinese|japanese|korean|arabic|hindi|turkish|polish"
    r"|swedish"
    r"|latin|greek|hebrew|vietnamese|thai|indonesian|ukrainian|czech|danish|norwegian|finnish)"
)


class Tongue(NamedTuple):
    """Language of a text (ISO 639) and how sure the classifier is."""

    code: str
    probability: float


@cache
def identifier() -> Any:
    """The classifier with its model, loaded when first asked."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> Tongue | None:
    """The language of a text; None for one that is too short, or mostly code, numbers or names of keys."""
    piece = text[: 4 * CLASSIFIED_CHARACTERS]
    if piece.lstrip()[:1] in ("{", "["):
        return None
    if "`" in piece or "http" in piece or "@" in piece or "#" in piece:
        piece = CODE.sub(" ", piece)
    piece = piece[:CLASSIFIED_CHARACTERS]
    letters = sum(map(len, LETTERS.findall(piece)))
    wide = 0 if piece.isascii() else len(WIDE.findall(piece))
    if (letters < MIN_LETTERS and wide < MIN_WIDE) or letters < 0.6 * len(piece.replace(" ", "")):
        return None
    code, probability = identifier().classify(piece)
    return None if code in ("zxx", "und") else Tongue(code, float(probability))


def sure_code(text: str) -> str:
    """The language, or `UNKNOWN` when there is doubt."""
    tongue = language_of(text)
    return tongue.code if tongue and tongue.probability >= SURE else UNKNOWN


def family(code: str) -> frozenset[str]:
    """The languages that a language is taken for."""
    return next((alike for alike in ALIKE if code in alike), frozenset((code,)))


class Codes(NamedTuple):
    """Numbers of the languages of prompt and answer by position, and what the numbers mean."""

    prompts: "array[int]"
    answers: "array[int]"
    names: list[str]


_known: WeakKeyDictionary[Corpus, Codes] = WeakKeyDictionary()


def codes_of(corpus: Corpus) -> Codes:
    """The languages of a corpus, told once: two checks ask."""
    if corpus not in _known:
        names = [UNKNOWN]
        codes = Codes(array("H"), array("H"), names)
        for row in corpus:
            question, answer = texts_of(row.example)
            for place, text in ((codes.prompts, question), (codes.answers, answer)):
                code = sure_code(text)
                if code not in names:
                    names.append(code)
                place.append(names.index(code))
        _known[corpus] = codes
    return _known[corpus]


def texts_of(example: Example) -> tuple[str, str]:
    """The last question and the answer; a document has no question."""
    answers = answers_of(example)
    return (last_question(example), answers[-1].text) if answers else ("", example.answer)


def find_unusual(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Rows in a language that nearly no other row is in."""
    codes = codes_of(context.corpus)
    for name, side in (("prompt_languages", codes.prompts), ("answer_languages", codes.answers)):
        counts = Counter(codes.names[number] for number in side if number)
        total = sum(counts.values())
        if not total:
            continue
        yield Fact(name, dict(counts.most_common(20)))
        # of few rows such a share is less than one row: there a single one is alone in its language
        least = max(threshold * total, ALONE if total >= FEWEST_ROWS else 0)
        rare = {code for code in counts if in_family(counts, code) < least}
        for position, number in enumerate(side):
            if codes.names[number] in rare:
                pair = texts_of(context.corpus.row(position).example)
                part = make_part(
                    place_of(name, context, position), "", pair[name == "answer_languages"], False
                )
                evidence = show_piece(part, 0, 80, {"usual": counts.most_common(1)[0][0]})
                yield Finding(position, "warning", codes.names[number], evidence)


def in_family(counts: Counter[str], code: str) -> int:
    """Rows in a language or in one that it is taken for."""
    return sum(counts[other] for other in family(code))


def place_of(name: str, context: Context, position: int) -> str:
    """Pointer to the prompt's or the answer's text."""
    example = context.corpus.row(position).example
    answers = answers_of(example)
    if name == "answer_languages":
        return answers[-1].pointer if answers else f"/messages/{len(example.messages) - 1}/content"
    asked = [place for place, turn in enumerate(example.prompt) if turn.role in ("user", "text")]
    return f"/messages/{asked[-1] if asked else 0}/content"


def find_mixed(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Answers in another language than their prompt, where that pair of languages is unusual."""
    codes = codes_of(context.corpus)
    pairs = Counter((p, a) for p, a in zip(codes.prompts, codes.answers, strict=True) if p and a)
    total = sum(pairs.values())
    odd = {
        pair
        for pair, count in pairs.items()
        if codes.names[pair[1]] not in family(codes.names[pair[0]]) and count < threshold * total
    }
    for position, pair in enumerate(zip(codes.prompts, codes.answers, strict=True)):
        if pair not in odd:
            continue
        example = context.corpus.row(position).example
        asked = " ".join(turn.content or "" for turn in example.prompt)
        if ASKS_FOR_LANGUAGE.search(asked):
            continue
        part = answers_of(example)[-1]
        value = f"{codes.names[pair[0]]} → {codes.names[pair[1]]}"
        yield Finding(position, "warning", value, show_piece(part, 0, 80, {}))


CHECKS = (
    Check(
        "unusual_language",
        "Prompts or answers in a language, or one alike, of less than this share of the corpus, or of one "
        "row among 20 or more; told by py3langid, from 60 letters and probability .9 on.",
        "consistency",
        whole=find_unusual,
        threshold=0.01,
    ),
    Check(
        "answer_language",
        "Answers in another language than their prompt, where less than this share of the rows has that pair "
        "and the "
        "prompt asks for no language.",
        "consistency",
        whole=find_mixed,
        threshold=0.05,
    ),
)
