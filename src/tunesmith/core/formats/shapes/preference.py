"""Preference pairs: a prompt with a better and a worse answer, under the keys that trainers use.

Explicit and implicit prompts are TRL's terms (docs/source/dataset_formats.md of huggingface/trl).
"""

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.instruct import read_question, read_system
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, read_metadata, read_text
from tunesmith.core.formats.shapes.messages import read_messages
from tunesmith.core.formats.shapes.pairs import Side, read_pair
from tunesmith.core.formats.shapes.plain import REPEATED_CHARACTERS, read_side
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.tools import read_tools

ANSWERS = ("chosen", "rejected")
ASKED = ("question", "query", "instruction")
"""Keys of a prompt that somebody asks: with answers as texts the row is a conversation."""
SCORES = ("score_chosen", "score_rejected")


def fits_explicit(row: Row) -> tuple[str, ...]:
    """A prompt and two answers."""
    # two conversations with scores are binarized UltraFeedback, which takes the prompt out of them
    scores = () if all(isinstance(row.get(key), list) for key in ANSWERS) else SCORES
    return explained(row, ("prompt", *ANSWERS), ("tools", *scores))


def read_explicit(row: Row, found: Findings) -> Example | None:
    """Three texts, verbatim (see `plain`), or three lists of turns; scores of the answers where there are."""
    check_keys(row, ("prompt", *ANSWERS, "tools", *SCORES, *SHARED_KEYS), "", found)
    before = len(found.problems)
    scores = read_scores(row, found)
    prompt, *answers = (read_side(row, key, found) for key in ("prompt", *ANSWERS))
    tools, metadata = read_tools(row.get("tools"), found), {**read_metadata(row, found), **scores}
    if len(found.problems) > before or not prompt or not all(answers):
        return None
    if prompt[0].role == "text" and isinstance(row["prompt"], str):
        if any(turn.role != "text" for side in answers for turn in side):
            prompt = prompt_of_turns(prompt[0].content or "", answers, found)
        else:
            text = prompt[0].content or ""
            prompt = (Message("text", text, weight=0.0),)
            answers = unrepeated_texts(text, answers, found)
    else:
        answers = unrepeated(prompt, answers, found)
    sides = [Side(f"/{key}", turns) for key, turns in zip(ANSWERS, answers, strict=True)]
    return read_pair(Side("/prompt", prompt), sides, found, tools=tools, metadata=metadata)


def read_scores(row: Row, found: Findings) -> dict[str, object]:
    """The scores of both answers, which have to be numbers and to agree with the order."""
    given = {key: row[key] for key in SCORES if row.get(key) is not None}
    numbers = []
    for key, score in given.items():
        if isinstance(score, bool) or not isinstance(score, int | float):
            found.refuse(f"/{key}", "a score must be a number", score)
        else:
            numbers.append(score)
    if len(numbers) == len(SCORES):
        better, worse = numbers
        if better == worse:
            found.refuse("/score_rejected", "both answers have one score: no preference", worse)
        elif better < worse:
            found.refuse("/score_chosen", "the chosen answer has the lower score: swapped?", numbers)
    return given


def prompt_of_turns(prompt: str, answers: list[tuple[Message, ...]], found: Findings) -> tuple[Message, ...]:
    """The turns that a prompt as text stands for, when the answers are turns.

    Whole conversations hold it themselves (binarized UltraFeedback); answers alone get it as a question.
    """
    asks = [any(turn.role == "user" for turn in turns) for turns in answers]
    if not any(asks):
        return (Message("user", prompt),)
    said = [turn.content for turn in answers[0] if turn.role == "user"]
    if not all(asks) or prompt not in said:
        found.refuse("/prompt", "the prompt is not what the user says in chosen and rejected", prompt)
    return ()


def unrepeated(
    prompt: tuple[Message, ...], answers: list[tuple[Message, ...]], found: Findings
) -> list[tuple[Message, ...]]:
    """Answers without the prompt's turns at their beginning (--fix)."""
    count = len(prompt)
    if all(turns[:count] != prompt for turns in answers):
        return answers
    fault, repair = "the prompt is repeated in the answers", "prompt's turns taken off the answers"
    if any(turns[:count] != prompt for turns in answers):
        found.refuse("/chosen", "the prompt is repeated in one of the answers", None)
    elif found.mend("/chosen", fault, repair, None):
        return [turns[count:] for turns in answers]
    return answers


def unrepeated_texts(
    prompt: str, answers: list[tuple[Message, ...]], found: Findings
) -> list[tuple[Message, ...]]:
    """Answers without the prompt's text at their beginning (--fix)."""
    texts = [turns[0].content or "" for turns in answers]
    if len(prompt) < REPEATED_CHARACTERS or not all(text.startswith(prompt) for text in texts):
        return answers
    rest = [text[len(prompt) :] for text in texts]
    if not all(text.strip() for text in rest):
        found.refuse("/chosen", "an answer only repeats the prompt", texts[0])
    elif found.mend(
        "/chosen", "the prompt is repeated in the answers", "prompt taken off the answers", texts[0]
    ):
        return [(Message("text", text),) for text in rest]
    return answers


def fits_implicit(row: Row) -> tuple[str, ...]:
    """Two whole conversations."""
    if any(not isinstance(row.get(key), list) for key in ANSWERS):
        return ()
    return explained(row, ANSWERS, ("tools",))


def read_implicit(row: Row, found: Findings) -> Example | None:
    """Two conversations with one beginning."""
    check_keys(row, (*ANSWERS, "tools", *SHARED_KEYS), "", found)
    before = len(found.problems)
    sides = [Side(f"/{key}", read_messages(row.get(key), f"/{key}", found)) for key in ANSWERS]
    tools, metadata = read_tools(row.get("tools"), found), read_metadata(row, found)
    if len(found.problems) > before:
        return None
    return read_pair(Side("", ()), sides, found, tools=tools, metadata=metadata)


def fits_binarized(row: Row) -> tuple[str, ...]:
    """Two whole conversations with their scores; `prompt` and `messages` repeat parts of them."""
    if any(not isinstance(row.get(key), list) for key in ANSWERS):
        return ()
    return explained(row, (*ANSWERS, *SCORES), ("prompt", "prompt_id", "messages", "tools"))


def read_binarized(row: Row, found: Findings) -> Example | None:
    """A pair with scores, which have to agree with the order and go to the metadata."""
    for key in SCORES:
        if row.get(key) is None:
            found.refuse(f"/{key}", "a score must be a number", None)
            return None
    scores = read_scores(row, found)
    left = ("messages", "prompt_id", *SCORES)
    rest = {key: value for key, value in row.items() if key not in (*left, "prompt")}
    example = read_implicit(rest, found)
    if example is None:
        return None
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt not in [turn.content for turn in example.messages]:
        found.refuse("/prompt", "the prompt is not what the user says in chosen and rejected", prompt)
    metadata = {**example.metadata, **scores}
    return Example(
        example.messages, example.tools, metadata, chosen=example.chosen, rejected=example.rejected
    )


def fits_asked(row: Row) -> tuple[str, ...]:
    """A question and two answers, all texts (`instruction` with `input`: LLaMA-Factory's Alpaca ranking)."""
    asked = next((key for key in ASKED if key in row), None)
    if asked is None or any(not isinstance(row.get(key), str) for key in ANSWERS):
        return ()
    return explained(row, (asked, *ANSWERS), ("system", "input"))


def read_asked(row: Row, found: Findings) -> Example | None:
    """A question and two answers as a conversation."""
    asked = next((key for key in ASKED if key in row), ASKED[0])
    check_keys(row, (asked, *ANSWERS, "system", "input", *SHARED_KEYS), "", found)
    before = len(found.problems)
    respelled = {**row, "instruction": row[asked]} if asked in row else row
    question, system = read_question(respelled, found), read_system(row, found)
    answers = [read_text(row.get(key), f"/{key}", found) for key in ANSWERS]
    metadata = read_metadata(row, found)
    if len(found.problems) > before or question is None:
        return None
    sides = [
        Side(f"/{key}", (Message("assistant", text),)) for key, text in zip(ANSWERS, answers, strict=True)
    ]
    return read_pair(Side(f"/{asked}", (*system, Message("user", question))), sides, found, metadata=metadata)


OPENAI_KEYS = ("preferred_output", "non_preferred_output")


def fits_openai(row: Row) -> tuple[str, ...]:
    """OpenAI's preference rows (DPO fine-tuning guide)."""
    return explained(row, ("input", *OPENAI_KEYS))


def read_openai(row: Row, found: Findings) -> Example | None:
    """`input` holds the prompt's messages and tools; the outputs are lists of messages."""
    check_keys(row, ("input", *OPENAI_KEYS, *SHARED_KEYS), "", found)
    given = row.get("input")
    if not isinstance(given, dict):
        found.refuse("/input", "input must be an object with messages", given)
        return None
    check_keys(given, ("messages", "tools"), "/input", found)
    before = len(found.problems)
    counts = found.counts
    prompt, tools = (
        read_messages(given.get("messages"), "/messages", found),
        read_tools(given.get("tools"), found),
    )
    found.respell(counts, {"messages": "input/messages", "tools": "input/tools"})
    sides = [Side(f"/{key}", read_messages(row.get(key), f"/{key}", found)) for key in OPENAI_KEYS]
    metadata = read_metadata(row, found)
    if len(found.problems) > before:
        return None
    return read_pair(Side("/input/messages", prompt), sides, found, tools=tools, metadata=metadata)


SHAPES = (
    Shape("preference", "prompt, chosen and rejected: texts, or messages", fits_explicit, read_explicit),
    Shape("preference-implicit", "chosen and rejected: whole conversations", fits_implicit, read_implicit),
    Shape("preference-question", "question (instruction), chosen and rejected", fits_asked, read_asked),
    Shape("ultrafeedback-binarized", "chosen and rejected with their scores", fits_binarized, read_binarized),
    Shape("openai-preference", "input, preferred_output and non_preferred_output", fits_openai, read_openai),
)
