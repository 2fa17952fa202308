"""Checks for what a pipeline left in the texts: template markers, placeholders, think tags, nulls."""

import re
from collections.abc import Iterator

from tunesmith.data.check.port import Check, Found
from tunesmith.data.check.texts.parts import answers_of, found_at, last_question, parts_of
from tunesmith.data.check.texts.personal import PLACEHOLDER as MASKED
from tunesmith.data.corpus import CorpusRow

MARKERS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|python_tag|>",
    "<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
    "<|endofprompt|>", "<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "[INST]",
    "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]", "[TOOL_RESULTS]", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
    "<|CHATBOT_TOKEN|>", "<|USER_TOKEN|>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>", "<|header_start|>", "<|header_end|>", "<|eot|>", "[gMASK]", "<sop>",
    "<|observation|>", "<_user>", "<_bot>", "<reserved_106>", "<reserved_107>", "<|prompter|>",
    "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|endofturn|>", "<|role_start|>",
)  # fmt: skip
"""Turn markers of the common families: ChatML, Llama 2–4, Gemma, Phi, Zephyr, Mistral, Command, DeepSeek,
GLM, Harmony, Baichuan, OpenAssistant, Granite."""
BARE_MARKERS = re.compile(r"(?:^|(?<=\s))</s>|<s>(?=\s|$|\[)|(?<=\S)</s>\s*$")
HEADINGS = re.compile(
    r"^(?:### ?(?:Instruction|Response|Input|Human|Assistant)|Human|Assistant|USER|ASSISTANT): ?",
    re.MULTILINE,
)
MARKER_SIGNS = (
    "<|", "<｜", "[INST", "[/INST", "SYS>>", "_turn>", "_PROMPT]", "TOOL", "<s>", "</s>", "MASK]", "<_",
    "<reserved", "<sop>",
)  # fmt: skip

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,200}`", re.DOTALL)
PLACEHOLDER = re.compile(
    r"\{\{ ?[A-Za-z_][\w.\- ]{0,40} ?\}\}"
    r"|<(?P<tag>[A-Z][A-Z0-9_ ]{2,30})>"
    r"|\[(?:INSERT|Insert|insert|YOUR|Your|your|NAME|Name|COMPANY|Company|DATE|Date|ADDRESS|Recipient"
    r"|Sender|PLACEHOLDER|placeholder|TBD|TODO|FILL)(?:[ _'][\w ,'/’-]{1,60})?\]"
    r"|\[(?:ENTER|Enter|enter) (?:YOUR|[Yy]our|[Tt]he|[Nn]ame|NAME|[Dd]ate|[Hh]ere)\b[^\]\n]{0,60}\]"
    r"|\bTODO(?=:|\)|\]|$)|\blorem ipsum\b|\bLorem ipsum\b|\bXXX+\b(?=:)",
    re.MULTILINE,
)
PLACEHOLDER_SIGNS = ("{{", "<", "[", "TODO", "orem ipsum", "XXX")
HTML_TAGS = frozenset(
    [
        "HTML", "HEAD", "BODY", "TITLE", "DIV", "SPAN", "TABLE", "TBODY", "THEAD", "IMG", "FORM", "INPUT",
        "SCRIPT", "STYLE", "LINK", "META", "FONT", "CENTER", "PRE", "CODE", "DOCTYPE", "FRAME", "FRAMESET",
        "BLOCKQUOTE", "BUTTON", "SELECT", "OPTION", "TEXTAREA", "IFRAME", "STRONG", "SMALL", "BASE",
        "AREA", "MAP", "DIR", "MENU", "ADDRESS", "APPLET", "PARAM", "STRIKE", "BIG", "SUB", "SUP", "TEXT",
        "DELETED", "REMOVED",
    ]
)  # fmt: skip

THINK = re.compile(r"<(/?)(think|thinking|thought|reasoning|scratchpad|answer)>")
NULLS = re.compile(r"^\s*(?:nan|none|null|n/?a|<noinput>|<no ?input>|undefined|#n/a|nil)\s*$", re.IGNORECASE)
NULL_ENDS = re.compile(r"(?:\n|^)(?:nan|NaN|None|null|<noinput>|<no input>|undefined)\s*$")
COPIED_WORDS = 12
"""A prompt of fewer words may well stand again in its answer."""


def find_markers(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Markers of chat templates inside texts: templated text that would be templated again."""
    for part in parts_of(row.example):
        if not any(sign in part.text for sign in MARKER_SIGNS):
            continue
        marker = next((marker for marker in MARKERS if marker in part.text), None)
        if marker is not None:
            start = part.text.index(marker)
            yield found_at(part, start, start + len(marker), "error", marker)
        elif match := BARE_MARKERS.search(part.text):
            yield found_at(part, *match.span(), "error", match[0].strip())


def find_headings(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Headings of flattened dialogues (`### Response:`, `Human:`) inside an answer."""
    for part in answers_of(row.example):
        if ":" not in part.text or part.role == "text":
            continue
        marks = {match[0].strip(" #:").lower() for match in HEADINGS.finditer(part.text)}
        if (
            marks & {"instruction", "response"}
            or {"human", "assistant"} <= marks
            or {"user", "assistant"} <= marks
        ):
            match = HEADINGS.search(part.text)
            assert match is not None, "the marks came from matches"
            yield found_at(part, *match.span(), "warning", match[0].strip())


def find_placeholders(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Blanks that nobody filled in; code and our own masks are left alone."""
    for part in parts_of(row.example):
        if part.role in ("call", "tool") or not any(sign in part.text for sign in PLACEHOLDER_SIGNS):
            continue
        text = CODE.sub(lambda match: " " * len(match[0]), part.text) if "`" in part.text else part.text
        seen = set()
        for match in PLACEHOLDER.finditer(text):
            if match[0] not in seen and is_blank(match, text):
                seen.add(match[0])
                yield found_at(part, *match.span(), "warning", match[0][:60])


def is_blank(match: re.Match[str], text: str) -> bool:
    """Whether `<NAME>` is a blank: not HTML, not one of a pair of tags, not our own mask."""
    tag = match["tag"]
    if tag is None:
        return True
    return tag not in HTML_TAGS and f"</{tag}>" not in text and not MASKED.fullmatch(match[0])


def find_open_thoughts(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Tags of reasoning that are opened and not closed, closed and not opened, or nested."""
    for part in answers_of(row.example):
        if "<" not in part.text:
            continue
        opened: re.Match[str] | None = None
        for match in THINK.finditer(part.text):
            is_close = bool(match[1])
            if is_close == (opened is None) or (opened is not None and opened[2] != match[2]):
                opened = match
                break
            opened = None if is_close else match
        if opened is not None:
            yield found_at(part, *opened.span(), "error", opened[0])


def find_copied_prompts(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers that begin with their prompt: the row was joined wrongly, or a base model echoed."""
    question = " ".join(last_question(row.example).split())
    if len(question.split()) < threshold:
        return
    for part in answers_of(row.example):
        start = part.text[: 2 * len(question) + 200]
        if question in " ".join(start.split()) and len(part.text) > len(question):
            yield found_at(part, 0, min(len(part.text), 60), "warning", len(question.split()))


def find_nulls(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Words for nothing where a text should be: `nan` after an empty table cell, Alpaca's `<noinput>`."""
    for part in parts_of(row.example):
        whole = NULLS.match(part.text) if len(part.text) < 30 and part.role != "tool" else None
        is_label = whole is not None and part.is_answer and part.role == "assistant"
        match = whole or (NULL_ENDS.search(part.text[-20:]) if part.role in ("user", "text") else None)
        if match is None or (is_label and match[0].strip().lower() in ("none", "n/a", "na", "null")):
            continue
        offset = 0 if whole else max(0, len(part.text) - 20)
        yield found_at(part, offset + match.start(), offset + match.end(), "warning", match[0].strip())


CHECKS = (
    Check(
        "template_markers",
        "Turn markers of chat templates inside a text (<|im_start|>, [INST], <start_of_turn> …): it would be "
        "templated twice, and the model learns to write them.",
        "format",
        row=find_markers,
    ),
    Check(
        "dialogue_headings",
        "Headings of flattened dialogues inside an answer (### Response:, Human: … Assistant:): the model "
        "learns to "
        "speak for the user.",
        "format",
        row=find_headings,
    ),
    Check(
        "placeholders",
        "Blanks that were never filled in: {{name}}, <NAME>, [Your Name], TODO:, lorem ipsum; not in code.",
        "format",
        row=find_placeholders,
    ),
    Check(
        "unbalanced_think_tags",
        "Reasoning tags that are not closed, not opened, or nested; the template then cuts the answer "
        "wrongly.",
        "format",
        row=find_open_thoughts,
    ),
    Check(
        "prompt_in_answer",
        "The answer begins by repeating its whole prompt, when that has at least this many words.",
        "format",
        row=find_copied_prompts,
        threshold=COPIED_WORDS,
    ),
    Check(
        "null_words",
        "A word for nothing instead of a text: nan, None, <noinput>, undefined; as a whole answer, None and "
        "null are "
        "taken for labels.",
        "format",
        row=find_nulls,
    ),
)
