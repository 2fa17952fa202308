"""Checks for things an answer should not say: refusals, disclaimers of other models, bare politeness."""

import re
from collections.abc import Iterator

from tunesmith.core.refusals import find_refusal
from tunesmith.data.check.port import Check, Found
from tunesmith.data.check.texts.parts import Part, answers_of, found_at, last_question
from tunesmith.data.corpus import CorpusRow

MAX_POLITE = 300
"""Characters; a longer answer says something."""

DISCLAIMER = re.compile(
    r"\bas of my (?:last|latest|most recent|knowledge|current)[^.\n]{0,30}(?:update|cut-?off|training"
    r"|knowledge)"
    r"|\bmy (?:knowledge|training)(?: data)? (?:cut-?off|only (?:goes|includes|extends)|ends in"
    r"|was last updated"
    r"|(?:goes|extends|is current) (?:only )?up to)|\bmy (?:last|latest|most recent) (?:knowledge )?(?:update"
    r"|training)"
    r"|\b(?:my|the) knowledge cut-?off|\bas an ai(?: language)? (?:model|assistant)\b"
    r"|\bas a large language model\b"
    r"|\bi(?: am|['’]m) (?:just |only )?an ai (?:language )?model\b|\bi(?: am|['’]m) (?:just|only) an ai\b"
    r"|\bi (?:do not|don['’]t) have (?:real-?time|current|up-to-date) (?:access|information|data)"
    r"|作为(?:一个|一名)?(?:ai|人工智能)(?:语言模型|助手|模型)|截至我的知识|als ki-(?:sprachmodell|modell)"
)
DISCLAIMER_SIGNS = (
    " my ", "as of my", "knowledge cut", " ai", "language model", "real-time", "real time", "up-to-date",
    "current", "作为", "截至", "als ki",
)  # fmt: skip

MODELS = (
    r"(?:chat ?gpt|gpt-?[345][\w.]*|claude|bard|gemini|llama|vicuna|alpaca|deepseek(?:-\w+)?|qwen"
    r"|tongyi(?: qianwen)?"
    r"|mistral|mixtral|copilot|bing chat|grok|kimi|ernie bot|chatglm|glm-\d|baichuan|yi-\d+b|koala"
    r"|open assistant"
    r"|falcon|phi-\d|gemma|command r|palm|lamda|meta ai|doubao|minimax|hunyuan)"
)
MAKERS = (
    r"(?:open ?ai|anthropic|google(?: deepmind)?|meta(?: ai)?|deepseek|alibaba(?: cloud)?|mistral(?: ai)?"
    r"|microsoft|xai"
    r"|baidu|moonshot(?: ai)?|zhipu(?: ai)?|lmsys|cohere|01\.ai|bytedance|tencent)"
)
IDENTITY = re.compile(
    rf"\bi(?: am|['’]m) (?:(?:an? )?(?:ai|large|language|virtual)[^.,\n]{{0,50}}? (?:called|named"
    rf"|known as) )?{MODELS}(?!\w| (?:user|owner|fan|expert|trainer|farmer|breeder|herder))"
    rf"|\bmy name is {MODELS}(?=[,.! ]*(?:$|\n|and i(?: am|['’]m) an? (?:ai|large|language|virtual)|an? (?:ai"
    rf"|large|language)|[.,!]))"
    rf"|\b(?:i was|i am|i['’]m|i have been|assistant|model|ai)\b[^.\n]{{0,60}}? (?:created|developed|trained"
    rf"|made|built|designed)"
    rf" (?:and \w+ )?by {MAKERS}\b"
    r"|我(?:是|叫)[^。\n]{0,12}?(?:通义千问|千问|qwen|chatgpt|deepseek|文心一言|kimi|豆包|智谱|claude|gpt)"
    r"|我是?由\s?(?:openai|阿里|百度|深度求索|谷歌|智谱|月之暗面)[^。\n]{0,12}(?:开发|训练|创造)"
)
FIRST_PERSON = re.compile(r"\b(?:i|i['’]m|my|me)\b|我")
IDENTITY_SIGNS = (
    "gpt", "claude", "bard", "gemini", "llama", "vicuna", "alpaca", "deepseek", "qwen", "tongyi",
    "mistral", "mixtral", "copilot", "bing chat", "grok", "kimi", "ernie", "glm", "baichuan", "koala",
    "open assistant", "falcon", "phi-", "gemma", "command r", "palm", "lamda", "openai", "open ai",
    "anthropic", "google", "meta", "alibaba", "microsoft", "xai", "baidu", "moonshot", "zhipu", "lmsys",
    "cohere", "01.ai", "bytedance", "tencent", "千问", "文心", "豆包", "智谱", "阿里",
    "百度", "深度求索", "谷歌", "月之暗面", "yi-", "doubao", "minimax", "hunyuan",
)  # fmt: skip

POLITE = re.compile(
    r"(?>(?:sure thing|sure|certainly|of course|absolutely|great question|great|okay|ok|good question"
    r"|thank you(?: (?:so|very) much)?|thanks|you['’]re welcome|happy to help|glad to help|no problem"
    r"|i(?:['’]d| would) be (?:happy|glad) to help(?: you)?(?: with (?:that|this))?"
    r"|i hope (?:this|that) helps|(?:please )?let me know if (?:you|there)[^.!?]{0,80}"
    r"|(?:please )?feel free to (?:ask|reach out)[^.!?]{0,60}|is there anything else[^.!?]{0,60}"
    r"|have a (?:great|nice) day|here(?: is|['’]s| you go| are)[^.!?:]{0,40}"
    r"|how can i (?:help|assist) you[^.!?]{0,40})[\s.,!?:…🙂😊-]*)++"
)
POLITE_QUESTION = re.compile(
    r"\b(?:thanks?|thank you|thx|bye|goodbye|hi|hello|hey|good (?:morning|evening|night|afternoon)|welcome"
    r"|cheers|great"
    r"|ok(?:ay)?|that'?s all|please confirm|can you help|could you help|are you|how are)\b",
    re.IGNORECASE,
)


def has_sign(part: Part, signs: tuple[str, ...]) -> bool:
    """Whether a text may match: cheap, so that most texts are done with."""
    return any(sign in part.lower for sign in signs)


def find_refusals(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers that open with a refusal."""
    for part in answers_of(row.example):
        if (span := find_refusal(part.lower)) is not None:
            yield found_at(part, *span, "warning", "refusal")


def find_disclaimers(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """A knowledge cut-off, or 'as an AI language model'."""
    for part in answers_of(row.example):
        if has_sign(part, DISCLAIMER_SIGNS) and (match := DISCLAIMER.search(part.lower)):
            yield found_at(part, *match.span(), "warning", part.text[match.start() : match.end()])


def find_identities(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers in which the assistant says that it is a model of somebody else's.

    Who is named in the row's own system prompt is no stranger.
    """
    system = " ".join(
        turn.content or "" for turn in row.example.messages if turn.role in ("system", "developer")
    )
    for part in answers_of(row.example):
        if not has_sign(part, IDENTITY_SIGNS) or not FIRST_PERSON.search(part.lower):
            continue
        for match in IDENTITY.finditer(part.lower):
            named = re.search(rf"{MODELS}|{MAKERS}", match[0])
            if named is None or named[0] not in system.lower():
                yield found_at(part, *match.span(), "error", named[0] if named else match[0])
                break


def find_politeness(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers that are nothing but politeness, to a prompt that asks for more."""
    question = last_question(row.example)
    for part in answers_of(row.example):
        is_polite = (
            len(part.text) <= MAX_POLITE and part.role == "assistant" and POLITE.fullmatch(part.lower.strip())
        )
        if is_polite and len(question.split()) > 3 and not POLITE_QUESTION.search(question):
            yield found_at(part, 0, len(part.text), "warning", len(part.text))


CHECKS = (
    Check(
        "refusals",
        "Answers that open with a refusal: right in a safety set, harmful where the task is to answer.",
        "answers",
        row=find_refusals,
    ),
    Check(
        "ai_disclaimers",
        "Answers that speak of a knowledge cut-off or say 'as an AI language model': left by the model that "
        "wrote them.",
        "answers",
        row=find_disclaimers,
    ),
    Check(
        "foreign_identities",
        "Answers in which the assistant is ChatGPT, Claude, DeepSeek … or made by their makers, unless the "
        "row's system "
        "prompt says so.",
        "answers",
        row=find_identities,
    ),
    Check(
        "empty_politeness",
        "Answers that are nothing but politeness although something was asked.",
        "answers",
        row=find_politeness,
    ),
)
