"""Keys of rows: which are known, which are slips, which must not be left out; metadata and groups."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from tunesmith.core.formats.problems import Findings, escape, shorten

BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
SLIP_RATIO = 0.75
"""An unknown key this like a known one is taken for a slip of the pen."""
SHARED_KEYS = ("metadata", "group")
"""Keys that every layout may have: anything about the row, and which rows belong together."""

UNREAD_WEIGHT = "this says what is learned, and is not read here: write weight, 0 or 1, on assistant messages"
UNREAD_KEYS = {
    "function_call": "function_call is not read: write tool_calls",
    "functions": "functions is not read: write tools",
    "refusal": "refusals are not read yet",
    "audio": "audio is not read: tunesmith is for text",
    "audios": "audio is not read: tunesmith is for text",
    "images": "images are not read: tunesmith is for text",
    "image": "images are not read: tunesmith is for text",
    "videos": "video is not read: tunesmith is for text",
    "video": "video is not read: tunesmith is for text",
    **dict.fromkeys(("loss", "loss_weight", "train", "training", "train_detail"), UNREAD_WEIGHT),
    "channel": "channels are not read: write what is thought as reasoning_content, and leave the others out",
}
"""Keys that change what is learned: refused when they hold something, never left out in silence."""
TELLING_KEYS = (
    *(
        "messages",
        "conversations",
        "conversation",
        "prompt",
        "completion",
        "completions",
        "chosen",
        "rejected",
    ),
    *("label", "labels", "kto_tag", "steps", "preferred_output", "non_preferred_output"),
    *("chosen_messages", "rejected_messages"),
)
"""Keys that other layouts learn from: a row that has one beside its own is laid out otherwise."""


ASKED_KEYS = ("context", "passage", "input", "system", "system_prompt", "system_message", "tools")
"""Keys that the answer hangs on: where a layout has no place for one that says something, a mapping has."""


def check_keys(row: Mapping[str, object], known: Sequence[str], pointer: str, found: Findings) -> None:
    """Unknown keys: refused when they matter or look like a slip, else left out and reported."""
    for key in (key for key in row if key not in known):
        value = row[key]
        here = f"{pointer}/{escape(key)}"
        if value is not None and value != [] and key in UNREAD_KEYS:
            found.refuse(here, UNREAD_KEYS[key], value)
        elif value is not None and not pointer and key in TELLING_KEYS:
            found.refuse(here, f"the key {key!r} belongs to another layout", value)
        elif not pointer and key in ASKED_KEYS and value and not (isinstance(value, str) and value.isspace()):
            what = f"the answer hangs on {key!r}, and this layout has no place for it: name it in a --mapping"
            found.refuse(here, what, value)
        elif value is not None and (meant := get_close_matches(key, known, n=1, cutoff=SLIP_RATIO)):
            found.refuse(here, f"unknown key; did you mean {meant[0]!r}?", value)
        else:
            found.change(here, f"unknown key {shorten(key)!r} left out", value)


def missing_key(row: Mapping[str, object], key: str) -> str:
    """What to say about a row without a key that it needs."""
    meant = get_close_matches(key, row, n=1, cutoff=SLIP_RATIO)
    return f"the key {key!r} is missing" + (f"; is it {shorten(meant[0])!r}?" if meant else "")


def read_metadata(row: Mapping[str, object], found: Findings) -> dict[str, Any]:
    """Metadata as written; the row's `group` joins it as `group_id`."""
    given, own = row.get("metadata"), row.get("group")
    if given is None and own is None:
        return {}
    if given is not None and not isinstance(given, dict):
        found.refuse("/metadata", "metadata must be an object", given)
        return {}
    metadata: dict[str, Any] = dict(given or {})
    named = [("/metadata/group_id", metadata.get("group_id")), ("/group", own)]
    for pointer, group in named:
        if group is not None and (isinstance(group, bool) or not isinstance(group, str | int) or group == ""):
            found.refuse(pointer, "a group must be a text or a whole number", group)
    groups = {str(group) for _, group in named if group is not None}
    if len(groups) > 1:
        found.refuse("/group", "group and metadata.group_id differ", own)
    if own is not None:
        metadata["group_id"] = own
    return metadata


def read_text(value: object, pointer: str, found: Findings, *, verbatim: bool = False) -> str | None:
    """A text that has to be there and to say something; None when it does not.

    --fix takes spaces off its ends, unless it is `verbatim`.
    """
    key = pointer.rpartition("/")[2]
    if not isinstance(value, str):
        found.refuse(pointer, f"{key} must be a text", value)
    elif not value.strip():
        found.refuse(pointer, f"empty {key}", value)
    else:
        return value if verbatim else trimmed(value, pointer, found)
    return None


def trimmed(value: str, pointer: str, found: Findings) -> str:
    """With --fix, a text without spaces and blank lines at its ends; of several lines the indent stays."""
    if not found.fix:
        return value
    body = BLANK_LINES.sub("", value.rstrip())
    body = body if "\n" in body else body.lstrip()
    if body != value:
        found.change(pointer, "spaces taken off the ends", value)
    return body


LABELS = {"true": True, "false": False, "1": True, "0": False, "-1": False}


def read_label(value: object, pointer: str, found: Findings) -> bool | None:
    """Whether an answer is wanted; `1`, `0`, `-1` and the words are taken, as a change."""
    if isinstance(value, bool):
        return value
    plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    label = LABELS.get(plain.strip().lower()) if isinstance(value, str | int | float) else None
    if label is None:
        found.refuse(pointer, "a label must be true or false", value)
    else:
        found.change(pointer, f"label {shorten(plain)} read as {str(label).lower()}", value)
    return label
