"""Checks for personal data and secrets: one check a kind, all on one reading of the row.

A finding shows the value masked (`ja***@g***`), never whole.
"""

from collections.abc import Iterator, Mapping
from functools import partial

from tunesmith.core.conversation import Example
from tunesmith.data.check.port import Check, Found, Severity
from tunesmith.data.check.texts.detectors import Kind, entropy
from tunesmith.data.check.texts.parts import Part, excerpt, parts_of, remember_last
from tunesmith.data.check.texts.personal import Span, find, show
from tunesmith.data.corpus import CorpusRow

ABOUT: Mapping[Kind, tuple[Severity, str]] = {
    "email_address": (
        "warning",
        "E-mail addresses, but for reserved names such as example.com: a model repeats what it has learned.",
    ),
    "phone_number": (
        "warning",
        "Telephone numbers with a country's code, in a national form, or beside a word for telephones; "
        "numbers "
        "kept for films and examples are left alone.",
    ),
    "ip_address": (
        "warning",
        "Public internet addresses, version 4 and 6; private, reserved and documentation ranges and version "
        "numbers are left alone.",
    ),
    "payment_card": ("error", "Payment card numbers: an issuer's prefix and Luhn's sum; no test numbers."),
    "bank_account": ("error", "Bank accounts (IBAN): the country's length and the check by 97."),
    "national_id": (
        "error",
        "National identity numbers by their own rule: US, GB, ES, IT, FR, SE, FI, BR, CN, IN; PL, NL, DE and "
        "bare "
        "US numbers beside their name.",
    ),
    "secret_key": (
        "error",
        "Keys and passwords: makers' prefixes (AWS, GitHub, OpenAI, Anthropic, Slack, Stripe, Google, "
        "Hugging "
        "Face …), web tokens, private keys, and values given to a password or key.",
    ),
    "url_password": ("error", "Passwords inside a URL (scheme://user:password@host)."),
    "random_string": (
        "note",
        "Long strings that look generated, counted from the threshold on in bits a character: a key of an "
        "unknown "
        "maker, or only a number of a document.",
    ),
}  # fmt: skip


@remember_last
def values_of(example: Example) -> tuple[tuple[Part, Span], ...]:
    """Every value in every text of a row."""
    return tuple((part, span) for part in parts_of(example) for span in find(part.text))


def find_kind(kind: Kind, severity: Severity, row: CorpusRow, threshold: float) -> Iterator[Found]:
    """The values of one kind in a row; of one value in one text the first place."""
    seen = set()
    for part, span in values_of(row.example):
        value = part.text[span.start : span.end]
        is_known = (part.pointer, value) in seen
        if span.kind != kind or is_known or (kind == "random_string" and entropy(value) < threshold):
            continue
        seen.add((part.pointer, value))
        evidence = {"pointer": part.pointer, "text": excerpt(part.text, span.start, span.end)}
        yield Found(severity, show(kind, value), evidence)


CHECKS = tuple(
    Check(
        name=kind,
        about=about,
        family="privacy",
        row=partial(find_kind, kind, severity),
        threshold=4.0 if kind == "random_string" else 0.0,
    )
    for kind, (severity, about) in ABOUT.items()
)
