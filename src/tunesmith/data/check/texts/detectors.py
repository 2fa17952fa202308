"""What personal data and secrets look like, and how each candidate is proved to be one.

A pattern only proposes; a check digit, a range, a prefix or the entropy decides.  What is reserved for
examples (RFC 2606 and 6761 names, RFC 5737 and 3849 addresses, 555 numbers, the card makers' test numbers) is
left alone.  All patterns start behind a look-behind and have bounded repeats, so they stay linear.
"""

import base64
import binascii
import ipaddress
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tunesmith.data.check.texts import numbers

Kind = Literal[
    "email_address", "phone_number", "ip_address", "payment_card", "bank_account", "national_id",
    "secret_key", "url_password", "random_string",
]  # fmt: skip

DUMMY_CARDS = frozenset(
    [
        "4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556", "5555555555554444",
        "5105105105105100", "2223003122003222", "5200828282828210", "378282246310005", "371449635398431",
        "6011111111111117", "6011000990139424", "30569309025904", "38520000023237", "3530111333300000",
        "3566002020360505", "4222222222222", "4000000000000002",
    ]
)  # fmt: skip
"""Test numbers of payment processors."""

DUMMY_ACCOUNTS = frozenset(
    [
        "GB82WEST12345698765432", "GB29NWBK60161331926819", "DE89370400440532013000",
        "FR1420041010050500013M02606", "NL91ABNA0417164300", "ES9121000418450200051332",
        "CH9300762011623852957", "BE68539007547034", "IT60X0542811101000000123456", "AT611904300234573201",
    ]
)  # fmt: skip
"""The examples of SWIFT's registry."""

DUMMY_IDS = frozenset(("078051120", "219099999", "123456789", "111111111"))
PUBLIC_SERVERS = frozenset(
    ["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220"]
)
EXAMPLE_NAMES = ("example", "test", "invalid", "localhost", "local", "internal")
EXAMPLE_HOSTS = re.compile(
    r"(?:^|[.@])(?:example\.(?:com|net|org|edu|co\.uk|de|fr)|(?:your|my)?-?(?:domain|company|site|email)\.com"
    r"|test\.com|localhost)$",
    re.IGNORECASE,
)
FILE_ENDINGS = frozenset(["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "py", "html", "json"])
DUMMY_PASSWORDS = re.compile(
    r"(?i)^(?:pass(?:word|wd)?|pwd|secret|user(?:name)?|token|key|changeme|admin|root|test|guest|postgres|x+"
    r"|\*+)"
    r"[0-9]{0,4}$|[<>{}$%*…]|your|example|x{4}|\.\.\."
)
ENCODED_LINE = 48
VERSION_BEFORE = re.compile(r"(?i)(?:\bv|version|release|section|build|chapter|\bver\.?|firmware|§) ?$")

COUNTRY_CODE = re.compile(
    r"1[2-9]|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-689]\d|35\d|37\d|38\d|42\d|50\d|59\d|67\d|68\d|69\d|85\d|88\d|96\d|97\d|99\d"
)
"""Country calling codes (ITU-T E.164)."""

DRAMA_NUMBERS = re.compile(
    r"(?:0|44)(?:2079460\d{3}|7700900\d{3}|1632960\d{3}|8081570\d{3}|3069990\d{3}|11[3-8]4960\d{3}"
    r"|1[2-9]\d4960\d{3}|2890180\d{3}|2920180\d{3})$"
)
"""British numbers kept free for films (Ofcom)."""


@dataclass(frozen=True)
class Detector:
    """One way in which a kind of datum is written."""

    kind: Kind
    pattern: re.Pattern[str]
    is_real: Callable[[re.Match[str]], bool]
    hints: tuple[str, ...] = ()
    """One of these stands in every text that has it; none: there are at least `digits` digits."""
    digits: int = 0
    group: int | str = 0
    """Which group of the pattern is the datum."""


def only_digits(text: str) -> str:
    """The digits of a text."""
    return "".join(letter for letter in text if letter in "0123456789")


def compact(text: str) -> str:
    """Letters and digits only, in capitals."""
    return "".join(letter for letter in text if letter.isalnum()).upper()


def is_email(match: re.Match[str]) -> bool:
    """Not a reserved name, not a file, not `git@host:path`."""
    name, domain = match["name"].lower(), match["domain"].lower()
    if "://" in match.string[max(0, match.start() - 70) : match.start()].rsplit(" ", 1)[-1]:
        return False  # user:password@host of a URL is another kind
    ending = domain.rsplit(".", 1)[-1]
    if ending in EXAMPLE_NAMES or ending in FILE_ENDINGS or EXAMPLE_HOSTS.search(domain):
        return False
    return name != "git" and ".." not in name and not name.startswith("your")


def is_dummy_number(digits: str) -> bool:
    """Counting up, or one digit again and again."""
    return "1234567" in digits or "2345678" in digits or len(set(digits[-7:])) == 1


def is_zip(text: str) -> bool:
    """Whether a text ends in an American ZIP+4 code."""
    return re.search(r"(?:^|[^0-9])[0-9]{5}-[0-9]{4}$", text) is not None


def is_phone(match: re.Match[str]) -> bool:
    """A number beside a word for telephones, or with its country's code."""
    digits = only_digits(match["number"])
    international = match["number"].startswith("+")
    if (
        is_dummy_number(digits)
        or DRAMA_NUMBERS.match(digits)
        or not 7 <= len(digits) <= 15
        or is_zip(match[0])
    ):
        return False
    if digits.startswith("1") and len(digits) == 11:
        return digits[4:7] != "555" and digits[1] in "23456789"
    return not international or (len(digits) >= 8 and COUNTRY_CODE.match(digits) is not None)


def is_american_phone(match: re.Match[str]) -> bool:
    """Area and exchange as the North American plan has them; exchange 555 is for examples."""
    digits = only_digits(match[0])[-10:]
    return digits[3:6] != "555" and digits[1:3] != "11" and not is_dummy_number(digits)


def is_national_phone(match: re.Match[str]) -> bool:
    """Nine to twelve digits with the zero of long distance in front, not counting up in groups."""
    digits = only_digits(match[0])
    groups = [int(group) for group in re.findall(r"[0-9]+", match[0])]
    counts = all(right - left == 1 for left, right in pairwise(groups))
    return (
        9 <= len(digits) <= 12
        and not counts
        and not is_zip(match[0])
        and not is_dummy_number(digits)
        and not DRAMA_NUMBERS.match(digits)
    )


def is_public_address(match: re.Match[str]) -> bool:
    """A public address (version 4, or global unicast of version 6) that is no version number."""
    text = match[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or text in PUBLIC_SERVERS:
        return False
    if address.version == 6:
        return int(address) >> 125 == 1
    is_numbering = len(text) < 9 or VERSION_BEFORE.search(
        match.string, max(0, match.start() - 10), match.start()
    )
    return not is_numbering


def is_payment_card(match: re.Match[str]) -> bool:
    """A card number that is nobody's test number."""
    digits = only_digits(match[0])
    return numbers.is_card(digits) and digits not in DUMMY_CARDS


def is_bank_account(match: re.Match[str]) -> bool:
    """An account number that is no example of the registry."""
    text = compact(match[0])
    return numbers.is_iban(text) and text not in DUMMY_ACCOUNTS


def is_national(valid: numbers.Valid) -> Callable[[re.Match[str]], bool]:
    """A test of an identity number by its country's rule."""

    def is_real(match: re.Match[str]) -> bool:
        text = compact(match["id"])
        return text not in DUMMY_IDS and valid(text)

    return is_real


def entropy(text: str) -> float:
    """Bits per character (Shannon), from the text's own letters."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def letter_class(letter: str) -> int:
    """Small letter, capital, digit, or another."""
    return 0 if letter.islower() else 1 if letter.isupper() else 2 if letter.isdigit() else 3


def changes(text: str) -> float:
    """Share of neighbours of unlike classes; of random letters about .6."""
    return sum(letter_class(a) != letter_class(b) for a, b in pairwise(text)) / max(1, len(text) - 1)


def is_key(match: re.Match[str]) -> bool:
    """Letters and digits mixed as in a generated key, and no example."""
    text = match[0]
    return "EXAMPLE" not in text and any(letter.isdigit() for letter in text) and entropy(text[-24:]) >= 3.0


def is_token(match: re.Match[str]) -> bool:
    """A JSON Web Token: its first part is a JSON object with `alg` (RFC 7519, RFC 7515)."""
    head = match[0].split(".", 1)[0]
    try:
        value = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(value, dict) and "alg" in value


def is_password(match: re.Match[str]) -> bool:
    """No placeholder, and not on an example's host."""
    return not DUMMY_PASSWORDS.search(match["value"]) and not EXAMPLE_HOSTS.search(match["host"].lower())


def is_assigned_secret(match: re.Match[str]) -> bool:
    """A value that looks generated or chosen as a password, not a variable or a placeholder."""
    value = match["value"]
    is_name = re.fullmatch(r"[A-Za-z_]\w*(?:[.:/-]+\w+)+", value) is not None and entropy(value) < 4
    mixed = any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value)
    return mixed and not is_name and not DUMMY_PASSWORDS.search(value) and entropy(value) >= 2.75


def is_random(match: re.Match[str]) -> bool:
    """Small letters, capitals and digits in no order, as generators make them."""
    text = match[0]
    edges = (
        match.string[max(0, match.start() - 1) : match.start()],
        match.string[match.end() : match.end() + 1],
    )
    if len(text) >= ENCODED_LINE and edges == ("\n", "\n"):
        return False  # a line of an encoded attachment
    kinds = {letter_class(letter) for letter in text}
    in_words = sum(map(len, re.findall(r"[a-z]{3,}", text))) / len(text)
    return {0, 1, 2} <= kinds and changes(text) >= 0.4 and in_words < 0.45 and entropy(text) >= 3.8


def always(match: re.Match[str]) -> bool:
    """The pattern is proof enough."""
    return match is not None


def key(pattern: str, *hints: str) -> Detector:
    """A detector of keys by their makers' prefix."""
    return Detector("secret_key", re.compile(rf"(?<![A-Za-z0-9_-])(?:{pattern})"), is_key, hints)


def identity(pattern: str, valid: numbers.Valid, *hints: str, digits: int = 5) -> Detector:
    """A detector of a country's identity numbers; with hints, only beside one of those words."""
    return Detector("national_id", re.compile(pattern), is_national(valid), hints, digits, "id")


SECRETS = (
    Detector(
        "secret_key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]|-(?!----END )){0,20000}+(?:-----END [A-Z0-9 ]{0,30}KEY(?: BLOCK)?-----)?"
        ),
        always,
        ("PRIVATE KEY",),
    ),
    Detector(
        "secret_key",
        re.compile(r"(?<![\w-])eyJ[\w-]{10,2000}+\.eyJ[\w-]{8,4000}+\.[\w-]{10,2000}", re.ASCII),
        is_token,
        ("eyJ",),
    ),
    key(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])", "AKIA", "ASIA", "ABIA", "ACCA"),
    key(r"gh[pousr]_[A-Za-z0-9]{36,255}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    key(r"github_pat_[A-Za-z0-9_]{22,255}", "github_pat_"),
    key(r"glpat-[\w-]{20,64}", "glpat-"),
    key(r"sk-(?:ant-|proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,256}", "sk-"),
    key(r"gsk_[A-Za-z0-9]{40,64}|xai-[A-Za-z0-9]{60,90}|r8_[A-Za-z0-9]{37}", "gsk_", "xai-", "r8_"),
    key(r"xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-[A-Za-z0-9-]{10,250}", "xox", "xapp-"),
    key(r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,247}"
        r"|whsec_[A-Za-z0-9+/=]{24,64}", "k_live_", "k_test_", "whsec_"),
    key(r"AIza[\w-]{35}(?![\w-])|ya29\.[\w-]{20,400}|GOCSPX-[\w-]{28}", "AIza", "ya29.", "GOCSPX-"),
    key(r"hf_[A-Za-z0-9]{30,64}", "hf_"),
    key(r"npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,400}", "npm_", "pypi-AgE"),
    key(r"SG\.[\w-]{16,32}\.[\w-]{16,64}|(?:AC|SK)[0-9a-f]{32}(?![\w])", "SG.", "AC", "SK"),
    key(r"do[opr]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
        r"|dapi[a-f0-9]{32}", "_v1_", "shp", "dapi"),
    key(r"[0-9]{8,10}:AA[\w-]{33}|key-[0-9a-f]{32}(?![\w])", ":AA", "key-"),
    Detector(
        "secret_key",
        re.compile(r"https://hooks\.slack\.com/services/T\w{6,12}/B\w{6,12}/\w{20,30}", re.ASCII),
        always,
        ("hooks.slack.com",),
    ),
    Detector("secret_key", re.compile(r"AccountKey=[A-Za-z0-9+/=]{60,100}"), always, ("AccountKey=",)),
    Detector(
        "url_password",
        re.compile(r"\b[a-z][a-z0-9+]{1,15}://[^\s/@:\"'<>]{1,64}:(?P<value>[^\s/@\"'<>]{1,128})"
            r"@(?P<host>[\w.-]{1,200})"),
        is_password,
        ("://",),
        group="value",
    ),
    Detector(
        "secret_key",
        re.compile(
            r"(?i)(?:passwor[dt]|passwd|pwd|secret|api[_ -]?key|access[_ -]?key|auth[_ -]?token"
            r"|access[_ -]?token)"
            r"[\"']?(?: is)?[ \t]{0,3}[:=][ \t]{0,3}[\"'`]?(?P<value>[^\s\"'`,;()\[\]{}<>]{8,128}+)"
        ),
        is_assigned_secret,
        ("asswor", "ASSWOR", "asswd", "pwd", "PWD", "ecret", "ECRET", "ey", "EY", "oken", "OKEN"),
        group="value",
    ),
)  # fmt: skip

PERSONAL = (
    Detector(
        "email_address",
        re.compile(
            r"(?<![A-Za-z0-9À-ɏ._%+'-])(?P<name>[A-Za-z0-9À-ɏ_%+'-][A-Za-z0-9À-ɏ._%+'-]{0,63})"
            r"(?:@| ?[\[(](?:at|AT)[\])] ?)"
            r"(?P<domain>(?:[A-Za-z0-9À-ɏ-]{1,63}\.){1,6}[A-Za-z]{2,24})(?![A-Za-z0-9@])"
        ),
        is_email,
        ("@", "(at)", "[at]", "(AT)", "[AT]"),
    ),
    Detector(
        "bank_account",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])"),
        is_bank_account,
        digits=10,
    ),
    identity(
        r"(?<![\w.-])(?P<id>[0-9]{17}[0-9Xx])(?![\w-])", numbers.is_cn_resident, digits=17
    ),
    Detector(
        "payment_card",
        re.compile(
            r"(?<![\w.,-])(?<![0-9][ -])(?:[0-9]{13,19}"
            r"|[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,7}"
            r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5})(?![\w-]|[.,][0-9])"
        ),
        is_payment_card,
        digits=13,
    ),
    identity(
        r"(?<![\w.-])(?P<id>[0-9]{3}(?P<gap>[ -])[0-9]{2}(?P=gap)[0-9]{4})(?![\w-]|[.,][0-9])",
        numbers.is_us_ssn,
        digits=9,
    ),
    identity(
        r"(?i)(?:\bssn|social security)[^0-9\n]{0,20}(?P<id>[0-9]{9})(?![\w-])",
        numbers.is_us_ssn,
        "ssn", "SSN", "ecurity", "SECURITY",
    ),
    identity(
        r"(?<![\w])(?P<id>[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D])(?![\w])",
        numbers.is_uk_nino,
        digits=6,
    ),
    identity(
        r"(?<![\w-])(?P<id>(?:[0-9]{8}"
        r"|[XYZ]-?[0-9]{7})-?[A-HJ-NP-TV-Z])(?![\w-])", numbers.is_es_dni, digits=7
    ),
    identity(
        r"(?<![\w])(?P<id>[A-Z]{6}[0-9]{2}[ABCDEHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z])(?![\w])",
        numbers.is_it_fiscal,
        digits=7,
    ),
    identity(
        r"(?<![\w.-])(?P<id>[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2})(?![\w-])", numbers.is_br_cpf, digits=11
    ),
    identity(
        r"(?<![\w.-])(?P<id>[2-9][0-9]{3}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4})(?![\w-]|[ -][0-9]|[.,][0-9])",
        numbers.is_in_aadhaar,
        digits=12,
    ),
    identity(
        r"(?<![\w.-])(?P<id>[12] ?[0-9]{2} ?[01][0-9] ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2})(?![\w-]"
        r"|[.,][0-9])",
        numbers.is_fr_nir,
        digits=15,
    ),
    identity(r"(?<![\w.-])(?P<id>[0-9]{6}[-+][0-9]{4})(?![\w-])", numbers.is_se_personal, digits=10),
    identity(
        r"(?<![\w.-])(?P<id>[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y])(?![\w-])",
        numbers.is_fi_personal,
        digits=9,
    ),
    identity(r"(?i)pesel[^0-9\n]{0,12}(?P<id>[0-9]{11})(?![\w-])", numbers.is_pl_pesel, "pesel", "PESEL"),
    identity(r"(?i)\bbsn[^0-9\n]{0,12}(?P<id>[0-9]{9})(?![\w-])", numbers.is_nl_bsn, "bsn", "BSN"),
    identity(
        r"(?i)steuer[^0-9\n]{0,30}(?P<id>[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3})(?![\w-])",
        numbers.is_de_tax,
        "teuer", "TEUER",
    ),
    Detector(
        "ip_address",
        re.compile(r"(?<![\w.:-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w-]|\.[0-9])"),
        is_public_address,
        digits=4,
    ),
    Detector(
        "ip_address",
        re.compile(r"(?<![\w.:])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"),
        is_public_address,
        (":",),
    ),
    Detector(
        "phone_number",
        re.compile(r"(?<![\w+.])(?<![0-9)=*] )(?P<number>\+[1-9](?:[ .\-/()]{0,2}[0-9]){6,14})(?![0-9])"),
        is_phone,
        ("+",),
    ),
    Detector(
        "phone_number",
        re.compile(
            r"(?<![\w.\-+/$£€])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}(?P<gap>[ .-]))[2-9][0-9]{2}"
            r"(?(gap)(?P=gap)|[ .-])[0-9]{4}(?![\w/-]|[.,][0-9]|[ .-][0-9]{3})"
        ),
        is_american_phone,
        digits=10,
    ),
    Detector(
        "phone_number",
        re.compile(
            r"(?i)\b(?:tel|phone|telephone|mobile|mob|cell|fax|call|whatsapp|telefon|tél|teléfono|handy"
            r"|hotline)\b"
            r"[\s.:#()=\"'-]{0,4}(?:(?:number|no|us|me|him|her|on|at|is|free)\b[\s.:#]{0,3}){0,3}"
            r"(?P<number>\+?\(?[0-9](?:[ .\-/()]{0,2}[0-9]){6,14})(?![0-9])"
        ),
        is_phone,
        digits=7,
        group="number",
    ),
    Detector(
        "phone_number",
        re.compile(
            r"(?<![\w.,\-+/:$£€])\(?0[1-9][0-9]{0,4}\)?[ ./-][0-9]{2,8}(?:[ .-][0-9]{2,6}){0,4}(?![\w/-]"
            r"|[.,:][0-9])"
        ),
        is_national_phone,
        digits=9,
    ),
)  # fmt: skip

RANDOM = Detector(
    "random_string",
    re.compile(r"(?<![A-Za-z0-9+/_.\-])[A-Za-z0-9+_-]{24,256}={0,2}(?![A-Za-z0-9+/=_-])"),
    is_random,
    digits=2,
)

DETECTORS = (*SECRETS, *PERSONAL, RANDOM)
"""In the order in which they claim a piece of text."""
