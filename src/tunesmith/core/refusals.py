"""Answers that open with a refusal: in English and, less fully, in five other languages."""

import re

OPENING = 300
"""A refusal stands in the first characters of an answer, or it is only mentioned."""

VERBS = (
    r"(?:assist|help (?:you )?with|help you (?:to )?(?:create|write|make|hack|do that)|comply|fulfill?"
    r"|provide|generate"
    r"|create|write|engage|support|do that|answer|discuss|continue|participate|promote|share|offer|complete"
    r"|produce"
    r"|give|respond|recommend|condone|encourage|access|browse|execute|process)\b"
)
CANNOT = (
    r"(?:can ?not|can['’]?t|am (?:not able|unable) to|['’]m (?:not able|unable) to|won['’]?t|will not"
    r"|must (?:decline|refuse))"
)
REFUSAL = re.compile(
    rf"^(?:\W*(?:i['’]m|i am|we['’]re)? ?(?:very |really |so |truly |deeply )?(?:sorry|afraid|apologi[sz]e"
    rf"|apologies)\b"
    rf"[^.!?\n]{{0,40}}?,? ?(?:but )?(?:as an ai[^.,\n]{{0,40}},? )?i ?{CANNOT} (?:be able to )?{VERBS}"
    rf"|\W*(?:unfortunately,? )?i ?{CANNOT} (?:assist|help (?:you )?with (?:that|this)|comply|fulfill?"
    rf"|engage in|do that"
    r"|participate|promote|condone|discuss)\b"
    rf"|\W*as an? (?:ai|artificial intelligence|large)[^.\n]{{0,60}}?,? i ?{CANNOT} "
    r"|\W*i (?:must|have to) (?:decline|refuse)\b|\W*sorry,? (?:but )?i can['’]?t (?:assist|help)"
    r"|\W*(?:es tut mir leid|tut mir leid),? (?:aber )?ich kann"
    r"|\W*je suis désolée?,? (?:mais )?je ne peux pas"
    r"|\W*lo siento,? (?:pero )?no puedo|\W*(?:很)?抱歉[,，]?我(?:无法|不能)|\W*对不起[,，]?我(?:无法|不能)"
    r"|\W*申し訳ありませんが)"
)
SIGNS = (
    "sorry", "afraid", "apolog", "i can", "i am", "i’m", "i'm", "as an", "i must", "i have to", "i won",
    "i will", "leid", "désolé", "lo siento", "抱歉", "对不起", "申し訳",
)  # fmt: skip


def find_refusal(lower: str) -> tuple[int, int] | None:
    """Where a refusal stands in the first characters of a text in lower case."""
    opening = lower[:OPENING]
    if not any(sign in opening for sign in SIGNS):
        return None
    found = REFUSAL.search(opening)
    return found.span() if found is not None else None


def is_refusal(text: str) -> bool:
    """Whether a text opens with a refusal."""
    return find_refusal(text.lower()) is not None
