"""Answers with a verdict (KTO, arXiv:2402.01306), and steps with one each (process supervision,
arXiv:2305.20050).
"""

from tunesmith.core.conversation import Example, GradedStep, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.instruct import OUTPUTS, fits_alpaca, read_alpaca
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, read_label, read_metadata, read_text
from tunesmith.core.formats.shapes.pairs import Side, check_prompt
from tunesmith.core.formats.shapes.plain import read_prompt_completion, read_side
from tunesmith.core.formats.shapes.port import Row, Shape, explained


def fits_kto(row: Row) -> tuple[str, ...]:
    """Prompt, completion and label."""
    return explained(row, ("prompt", "completion", "label"), ("tools",))


def read_kto(row: Row, found: Findings) -> Example | None:
    """A prompt with a completion, texts or turns, and whether it is wanted."""
    label = read_label(row.get("label"), "/label", found)
    example = read_prompt_completion({key: value for key, value in row.items() if key != "label"}, found)
    if example is None or label is None:
        return None
    return Example(example.messages, example.tools, example.metadata, label=label)


def fits_alpaca_kto(row: Row) -> tuple[str, ...]:
    """Alpaca's keys and LLaMA-Factory's label."""
    keys = fits_alpaca(row)
    label = next((name for name in ("kto_tag", "label") if row.get(name) is not None), None)
    return (*keys, label) if keys and label else ()


def read_alpaca_kto(row: Row, found: Findings) -> Example | None:
    """An instruction with its output, and whether it is wanted."""
    key = "kto_tag" if "kto_tag" in row else "label"
    label = read_label(row.get(key), f"/{key}", found)
    example = read_alpaca({name: value for name, value in row.items() if name != key}, found)
    if example is None or label is None:
        return None
    return Example(example.messages, example.tools, example.metadata, label=label)


def fits_stepwise(row: Row) -> tuple[str, ...]:
    """Prompt, steps, labels."""
    return explained(row, ("prompt", "completions", "labels"))


def read_stepwise(row: Row, found: Findings) -> Example | None:
    """A prompt, and steps of an answer with a verdict on each."""
    check_keys(row, ("prompt", "completions", "labels", *SHARED_KEYS), "", found)
    before = len(found.problems)
    prompt = read_side(row, "prompt", found)
    if len(prompt) == 1 and prompt[0].role == "text":
        prompt = (Message("text", prompt[0].content, weight=0.0),)
    texts, labels = row.get("completions"), row.get("labels")
    metadata = read_metadata(row, found)
    if not isinstance(texts, list) or not texts or not isinstance(labels, list):
        found.refuse("/completions", "completions and labels must be lists of at least one step", texts)
        return None
    if len(texts) != len(labels):
        what = f"{len(texts)} steps have {len(labels)} labels"
        found.refuse("/labels", what, labels)
        return None
    steps = []
    for position, (text, label) in enumerate(zip(texts, labels, strict=True)):
        step = read_text(text, f"/completions/{position}", found)
        verdict = read_label(label, f"/labels/{position}", found)
        if step is not None and verdict is not None:
            steps.append(GradedStep(step, verdict))
    if len(found.problems) > before:
        return None
    check_prompt(Side("/prompt", prompt), found)
    return Example(prompt, metadata=metadata, steps=tuple(steps))


SHAPES = (
    Shape("kto", "prompt, completion and label", fits_kto, read_kto),
    Shape("alpaca-kto", f"instruction, {OUTPUTS[0]} and kto_tag", fits_alpaca_kto, read_alpaca_kto),
    Shape("stepwise", "prompt, completions and labels", fits_stepwise, read_stepwise),
)
