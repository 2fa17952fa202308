"""Checks of harmful language, by short word lists: weak evidence, meant to show where to look.

No list or model fit to be taken in was found on the package index in November 2026 (detoxify fetches weights
from a hub, alt-profanity-check reads a pickle, better-profanity stands still since 2020).
"""

import re
from collections import Counter
from collections.abc import Iterator

from tunesmith.core.stats import wilson
from tunesmith.data.check.port import Check, Context, Fact, Finding, Found, Severity
from tunesmith.data.check.texts.parts import found_at, parts_of
from tunesmith.data.corpus import CorpusRow

SLURS = (
    r"nigg(?:er|a)s?|faggots?|kikes?|chinks|wetbacks?|trann(?:y|ies)|ragheads?|towelheads?|subhumans?"
    r"|untermensch"
)
ABUSE = (
    r"(?:mother)?fuck(?:s|ed|ing|er|ers)?|(?:bull)?shit(?:s|ty)?|bitch(?:es)?|bastards?|assholes?|cunts?|whores?"
    r"|sluts?|dickheads?|wankers?|scumbags?|douchebags?|morons?|idiots?|imbeciles?|retard(?:s|ed)?"
)
THREATS = (
    r"kill (?:yourself|urself|all (?:the )?\w+s)|i(?:'ll| will| am going to|'m going to) (?:kill|rape|murder"
    r"|hurt) (?:you|her|him|them)"
    r"|(?:you|they|she|he) (?:should|deserves? to) (?:die|be (?:shot|killed|raped|hanged))|go die|gas the \w+"
)
WORDS = re.compile(rf"\b(?:(?P<slur>{SLURS})|(?P<threat>{THREATS})|(?P<abuse>{ABUSE}))\b")
SIGN = re.compile(
    r"nigg|fagg|kike|chink|wetb|trann|raghea|towelh|subhum|unterm|fuck|shit|bitch|basta|assho|cunt|whore|slut"
    r"|dickh|wank|scumb|douche|moron|idiot|imbec|retard|kill |rape|murder|hurt |deserve|should |go die"
    r"|gas the"
)
"""Something of this stands in every text with such words; most have none and are done with."""

GROUPS: dict[str, str] = {
    "women": "woman women girl girls female females wife wives mother mothers",
    "men": "man men boy boys male males husband husbands father fathers",
    "Black people": "african-american african-americans",
    "Muslims": "muslim muslims islamic",
    "Jews": "jew jews jewish",
    "Christians": "christian christians catholic catholics",
    "immigrants": "immigrant immigrants refugee refugees migrants migrant asylum",
    "gay people": "gay gays lesbian lesbians homosexual homosexuals bisexual",
    "trans people": "transgender transsexual",
    "old people": "elderly pensioner pensioners",
    "disabled people": "disabled handicapped autistic",
    "Asians": "asian asians chinese",
    "Hispanics": "hispanic hispanics latino latinos mexican mexicans",
    "Arabs": "arab arabs",
    "Roma": "gypsy gypsies roma",
}
"""Words for groups of people; few and plain, so counts are a floor."""
GROUP_OF = {word: group for group, words in GROUPS.items() for word in words.split()}
NEGATIVE = frozenset(
    [
        "bad", "worse", "worst", "evil", "criminal", "criminals", "crime", "terrorist", "terrorists",
        "terror", "violent", "violence", "dangerous", "danger", "stupid", "lazy", "dirty", "hate", "hated",
        "disgusting", "ugly", "inferior", "illegal", "thief", "thieves", "liar", "liars", "murder",
        "murderer", "killed", "kill", "attack", "attacked", "rape", "rapist", "threat", "weak", "useless",
        "greedy", "fraud", "blame", "guilty", "awful", "terrible", "horrible", "nasty", "crazy", "insane",
        "hysterical", "bossy", "emotional", "aggressive", "primitive", "backward", "disease", "invasion",
        "invaders", "problem", "problems",
    ]
)  # fmt: skip
WORD = re.compile(r"[a-z][a-z'-]{1,30}")
WINDOW = 8
"""Words on either side of a group's word that count as near."""
MIN_MENTIONS = 20


def find_toxic(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Slurs, threats and abuse by word; what is to be learned weighs more than what is read."""
    for part in parts_of(row.example):
        if not SIGN.search(part.lower):
            continue
        matches = list(WORDS.finditer(part.lower))
        grave = [match for match in matches if match.lastgroup != "abuse"]
        if not grave and len(matches) < max(1, threshold):
            continue
        match = (grave or matches)[0]
        severity: Severity = "warning" if grave and part.is_answer else "note"
        kinds = dict(Counter(match.lastgroup or "" for match in matches))
        yield found_at(part, *match.span(), severity, len(matches), words=kinds)


def find_imbalance(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """How often a negative word stands near the words for each group, against all groups together."""
    mentions, negative = Counter[str](), Counter[str]()
    for row in context.corpus:
        for part in parts_of(row.example):
            words = WORD.findall(part.lower)
            for place, word in enumerate(words):
                if (group := GROUP_OF.get(word)) is not None:
                    near = words[max(0, place - WINDOW) : place + WINDOW + 1]
                    mentions[group] += 1
                    negative[group] += not NEGATIVE.isdisjoint(near)
    if not mentions:
        return
    table = {
        group: {"mentions": count, "near_negative": negative[group]}
        for group, count in mentions.most_common()
    }
    yield Fact("group_terms", table)
    for group, count in mentions.items():
        others = mentions.total() - count
        usual = wilson(negative.total() - negative[group], others)[1] if others >= MIN_MENTIONS else 1.0
        low, high = wilson(negative[group], count)
        if count >= MIN_MENTIONS and low > threshold * usual:
            evidence = {
                "text": f"{group}: a negative word near {negative[group]} of {count} mentions "
                f"({low:.0%} to {high:.0%}); other groups up to {usual:.0%}"
            }
            yield Finding(None, "note", round(negative[group] / count, 3), evidence)


CHECKS = (
    Check(
        "toxic_words",
        "Slurs and threats, and at least this many words of abuse in one text, by a short English word list: "
        "it misses "
        "most harm and finds quotations too, so it only shows where to look.",
        "safety",
        row=find_toxic,
        threshold=2.0,
    ),
    Check(
        "group_term_imbalance",
        "Groups of people whose words stand near a negative word more than this many times as often as those "
        "of the "
        "other groups (near ends of 95 % intervals); English word lists, so only a hint.",
        "safety",
        whole=find_imbalance,
        threshold=1.5,
    ),
)
