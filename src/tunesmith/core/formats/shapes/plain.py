"""Plain text, and a prompt with its completion.

Strings under `prompt` and `completion` (OpenAI's legacy fine-tuning; TRL's standard type) stay verbatim text,
without a chat template: whoever wrote them also wrote the separator between the two.  Rows whose keys speak
of somebody asking and somebody answering (`instruct`) become conversations instead.
Lists of messages under the same keys (TRL's conversational type) are turns.
"""

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, missing_key, read_metadata, read_text
from tunesmith.core.formats.shapes.messages import read_messages
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.tools import check_calls, read_tools
from tunesmith.core.formats.shapes.turns import settle

SENTENCE_ENDS = (".", "?", "!")
"""Behind these a completion does not begin without a space; behind others, such as `=` and `:`, it may."""
REPEATED_CHARACTERS = 12
"""A completion that begins with a prompt this long repeats it; a shorter one may only begin alike."""


def read_side(row: Row, key: str, found: Findings) -> tuple[Message, ...]:
    """A text, as one message of plain text, or a list of turns; empty where neither can be read."""
    if key not in row:
        found.refuse("", missing_key(row, key), row)
        return ()
    if isinstance(row[key], list):
        return read_messages(row[key], f"/{key}", found)
    # verbatim, also with --fix: the space at an end is what separates a prompt from its completion
    text = read_text(row[key], f"/{key}", found, verbatim=True)
    return () if text is None else (Message("text", text),)


def without_prompt(prompt: str, answer: str, key: str, found: Findings) -> str:
    """An answer that begins with its prompt again; with --fix that beginning is taken off."""
    if len(prompt.strip()) < REPEATED_CHARACTERS or not answer.startswith(prompt):
        return answer
    rest = answer[len(prompt) :]
    if not rest.strip():
        found.refuse(f"/{key}", f"{key} only repeats the prompt", answer)
    elif found.mend(f"/{key}", f"the prompt is repeated in {key}", f"prompt taken off {key}", answer):
        return rest
    return answer


def fits_text(row: Row) -> tuple[str, ...]:
    """A text alone."""
    return explained(row, ("text",))


def read_plain(row: Row, found: Findings) -> Example | None:
    """A document, verbatim."""
    check_keys(row, ("text", *SHARED_KEYS), "", found)
    if "text" not in row:
        found.refuse("", missing_key(row, "text"), row)
        return None
    text, metadata = read_text(row["text"], "/text", found, verbatim=True), read_metadata(row, found)
    return None if text is None else Example((Message("text", text),), metadata=metadata)


def fits_prompt_completion(row: Row) -> tuple[str, ...]:
    """A prompt and its completion."""
    return explained(row, ("prompt", "completion"), ("tools",))


def read_prompt_completion(row: Row, found: Findings) -> Example | None:
    """A prompt that is read and a completion that is learned; texts verbatim, lists as turns."""
    check_keys(row, ("prompt", "completion", "tools", *SHARED_KEYS), "", found)
    before = len(found.problems)
    prompt, answer = read_side(row, "prompt", found), read_side(row, "completion", found)
    tools, metadata = read_tools(row.get("tools"), found), read_metadata(row, found)
    if len(found.problems) > before or not prompt or not answer:
        return None
    if {turn.role for turn in (*prompt, *answer)} == {"text"}:
        if tools:
            found.refuse("/tools", "plain text cannot offer tools", row["tools"])
        return text_pair(prompt, answer, metadata, found)
    turns = settle((*prompt, *answer), "/completion", found)
    check_calls(turns, tools, "/completion", found)
    return Example(turns, tools, metadata)


def text_pair(
    prompt: tuple[Message, ...], answer: tuple[Message, ...], metadata: dict[str, object], found: Findings
) -> Example:
    """Two texts, the first of weight 0."""
    first, second = prompt[-1].content or "", answer[0].content or ""
    second = without_prompt(first, second, "completion", found)
    if first[-1:].isspace() and second[:1].isspace():
        found.note("/completion", "spaces on both sides of the border of prompt and completion", second[:20])
    elif (first[-1:].isalnum() or first[-1:] in SENTENCE_ENDS) and second[:1].isalnum():
        found.note("/completion", "nothing separates the prompt from the completion", second[:20])
    return Example((Message("text", first, weight=0.0), Message("text", second)), metadata=metadata)


def fits_labelled(row: Row) -> tuple[str, ...]:
    """A text and its class."""
    return explained(row, ("text", "label"))


def read_labelled(row: Row, found: Findings) -> Example | None:
    """Never: what is asked, and what the classes are called, only a mapping can say."""
    found.refuse("", "a text with a label needs a mapping that says what is asked and answered", row)
    return None


SHAPES = (
    Shape("text", "text", fits_text, read_plain),
    Shape(
        "prompt-completion",
        "prompt and completion: texts, or messages",
        fits_prompt_completion,
        read_prompt_completion,
    ),
    Shape("labelled-text", "text and label: needs a mapping", fits_labelled, read_labelled),
)
