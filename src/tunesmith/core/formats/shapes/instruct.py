"""Rows in which somebody asks and somebody answers, each as a text: Alpaca and its relatives.

They become conversations (user → assistant), so that the model's own chat template goes around them: their
keys name speakers or roles of a task and carry no separator, and the prompt that Alpaca's authors put around
them (Taori et al. 2023) belongs to a base model without a template.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, missing_key, read_metadata, read_text
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.turns import GAP, settle

NO_INPUT = ("nan", "none", "null", "n/a", "<noinput>", "<no input>", "no input")
"""Words that exporters and models write for an input that is not there."""
OUTPUTS = ("output", "response", "answer")
"""What Alpaca's answer is called."""


def read_input(row: Row, found: Findings) -> str:
    """What the instruction works on; nothing when it is missing, null, or a word for nothing (--fix)."""
    key = input_key(row)
    value = row.get(key)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        found.refuse(f"/{key}", f"{key} must be a text", value)
        return ""
    if value.strip().lower() in NO_INPUT:
        found.mend(f"/{key}", f"the {key} is a word for nothing", f"{key} emptied", value)
        return ""
    return value if value.strip() else ""


def input_key(row: Row) -> str:
    """Alpaca's word, or Dolly's (databricks-dolly-15k)."""
    return "context" if "context" in row and "input" not in row else "input"


def read_question(row: Row, found: Findings) -> str | None:
    """Instruction and input as one text, an empty line between."""
    if "instruction" not in row:
        found.refuse("", missing_key(row, "instruction"), row)
        return None
    instruction, given = row["instruction"], read_input(row, found)
    if given and isinstance(instruction, str) and not instruction.strip():
        return given  # LLaMA-Factory lets the instruction be empty where there is an input
    text = read_text(instruction, "/instruction", found)
    return text if text is None or not given else f"{text}{GAP}{given}"


def read_system(row: Row, found: Findings) -> tuple[Message, ...]:
    """The system turn, when there is one."""
    value = row.get("system")
    if value is None or value == "":
        return ()
    text = read_text(value, "/system", found)
    return () if text is None else (Message("system", text),)


def read_history(row: Row, found: Findings) -> tuple[Message, ...]:
    """Earlier rounds: pairs of question and answer."""
    value = row.get("history")
    if value is None:
        return ()
    if not isinstance(value, list):
        found.refuse("/history", "history must be a list of [question, answer]", value)
        return ()
    turns: list[Message] = []
    for position, pair in enumerate(value):
        here = f"/history/{position}"
        if not isinstance(pair, list) or len(pair) != 2:
            found.refuse(here, "a round of history must be [question, answer]", pair)
            continue
        question, answer = read_text(pair[0], f"{here}/0", found), read_text(pair[1], f"{here}/1", found)
        if question is not None and answer is not None:
            turns += (Message("user", question), Message("assistant", answer))
    return tuple(turns)


def fits_alpaca(row: Row) -> tuple[str, ...]:
    """An instruction and an output, by one of its names."""
    for output in OUTPUTS:
        if keys := explained(row, ("instruction", output), (input_key(row), "system", "history")):
            return keys
    return ()


def read_alpaca(row: Row, found: Findings) -> Example | None:
    """System, history, instruction with input, output."""
    outputs = [key for key in OUTPUTS if key in row]
    output = outputs[0] if outputs else "output"
    check_keys(row, ("instruction", input_key(row), "system", "history", output, *SHARED_KEYS), "", found)
    if not outputs:
        found.refuse("", missing_key(row, "output"), row)
    before = len(found.problems)
    system, history, question = read_system(row, found), read_history(row, found), read_question(row, found)
    answer = read_text(row[output], f"/{output}", found) if outputs else None
    metadata = read_metadata(row, found)
    if len(found.problems) > before or question is None or answer is None:
        return None
    turns = (*system, *history, Message("user", question), Message("assistant", answer))
    return Example(settle(turns, f"/{output}", found), metadata=metadata)


class Keys(NamedTuple):
    """What a question and its answer are called."""

    question: str
    answer: str


PAIRS: Mapping[str, Keys] = {
    "prompt-response": Keys("prompt", "response"),
    "question-answer": Keys("question", "answer"),
    "question-response": Keys("question", "response"),
    "query-response": Keys("query", "response"),
    "text-input-output": Keys("text_input", "output"),
    "input-output": Keys("input", "output"),
}
"""Layouts of one question and one answer (`text_input`, `output`: Gemini's tuning)."""


def question_shape(name: str, keys: Keys) -> Shape:
    """The layout of two keys, and perhaps a system turn."""

    def fits(row: Row) -> tuple[str, ...]:
        return explained(row, keys, ("system",))

    def read(row: Row, found: Findings) -> Example | None:
        check_keys(row, (*keys, "system", *SHARED_KEYS), "", found)
        for key in keys:
            if key not in row:
                found.refuse("", missing_key(row, key), row)
                return None
        texts = [read_text(row[key], f"/{key}", found) for key in keys]
        system, metadata = read_system(row, found), read_metadata(row, found)
        if texts[0] is None or texts[1] is None:
            return None
        turns = (*system, Message("user", texts[0]), Message("assistant", texts[1]))
        return Example(turns, metadata=metadata)

    return Shape(name, f"{keys.question} and {keys.answer}", fits, read)


SHAPES = (
    Shape(
        "alpaca",
        "instruction and output (response, answer), input, system, history",
        fits_alpaca,
        read_alpaca,
    ),
    *(question_shape(name, keys) for name, keys in PAIRS.items()),
)
