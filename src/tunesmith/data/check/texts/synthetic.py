"""Made-up personal data and secrets that pass the real rules, to measure what the checks find.

Nothing here belongs to anybody on purpose: numbers are drawn until their check digit fits.  The same seed
makes the same values.
"""

import base64
import json
import string
from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from tunesmith.data.check.texts import numbers
from tunesmith.data.check.texts.detectors import DUMMY_CARDS, Kind, is_dummy_number

NAMES = [
    "anna", "jonas", "maria", "peter", "lucia", "omar", "chen", "priya", "sofia", "david", "elena", "hugo",
    "marta", "liam", "nora",
]  # fmt: skip
SURNAMES = [
    "keller", "moreau", "rossi", "novak", "jansen", "silva", "okafor", "tanaka", "lindqvist", "murphy",
    "haddad", "kowalski",
]  # fmt: skip
HOSTS = [
    "northwind-traders.com",
    "bluefern.io",
    "acmelogistics.net",
    "riverbank.org",
    "kestrel-labs.co.uk",
    "posteo.net",
]
BASE62 = string.ascii_letters + string.digits


class Planted(NamedTuple):
    """A text with a value in it, and where it stands."""

    text: str
    value: str
    start: int


def digits(random: Random, count: int, first: str = string.digits) -> str:
    """Digits, the first of them one of `first`."""
    return random.choice(first) + "".join(random.choices(string.digits, k=count - 1))


def draw(random: Random, make: Callable[[Random], str], fits: Callable[[str], bool]) -> str:
    """Draw until it fits; one in a hundred or so does."""
    while not fits(made := make(random)):
        pass
    return made


def email(random: Random) -> str:
    """An address at a host that is not reserved for examples."""
    sign = random.choice((".", "_", "", "-"))
    number = random.choice(("", str(random.randint(1, 99))))
    return f"{random.choice(NAMES)}{sign}{random.choice(SURNAMES)}{number}@{random.choice(HOSTS)}"


def american_phone(random: Random) -> str:
    """A number of the North American plan."""
    area = draw(random, lambda r: digits(r, 3, "23456789"), lambda text: text[1:] != "11")
    exchange = draw(random, lambda r: digits(r, 3, "23456789"), lambda text: text != "555")
    line = draw(random, lambda r: digits(r, 4), lambda text: not is_dummy_number(area + exchange + text))
    forms = ("({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "+1 {} {} {}", "1-{}-{}-{}")
    return random.choice(forms).format(area, exchange, line)


def foreign_phone(random: Random) -> str:
    """A number with its country's code, or with the zero of long distance."""
    forms = (
        lambda: f"+49 {digits(random, 3, '1')} {digits(random, 7)}",
        lambda: f"+44 {digits(random, 4, '1')} {digits(random, 6, '23456789')}",
        lambda: f"+33 {digits(random, 1, '67')} " + " ".join(digits(random, 2) for _ in range(4)),
        lambda: f"+91-{digits(random, 5, '789')}-{digits(random, 5)}",
        lambda: f"0{digits(random, 3, '1')}/{digits(random, 7, '23456789')}",
    )
    return draw(random, lambda r: r.choice(forms)(), lambda text: not is_dummy_number(text.replace(" ", "")))


def address(random: Random) -> str:
    """A public address of the internet, version 4 or 6."""
    if random.random() < 0.3:
        groups = ":".join(f"{random.randint(1, 0xFFFF):x}" for _ in range(6))
        return f"2a0{random.randint(1, 9)}:{random.randint(1, 0xFFFF):x}:{groups}"
    return f"{random.choice((5, 31, 46, 62, 77, 81, 85, 91, 142))}." + ".".join(
        str(random.randint(10, 254)) for _ in range(3)
    )


def card(random: Random) -> str:
    """A card number with Luhn's sum, in one piece or in groups."""
    start = random.choice(("4", "51", "52", "55", "37", "6011", "2221"))
    length = 15 if start == "37" else 16
    made = draw(
        random,
        lambda r: start + digits(r, length - len(start)),
        lambda text: numbers.is_card(text) and text not in DUMMY_CARDS,
    )
    if length == 15:
        return random.choice((made, f"{made[:4]} {made[4:10]} {made[10:]}"))
    gap = random.choice(("", " ", "-"))
    return gap.join(made[place : place + 4] for place in range(0, 16, 4))


def account(random: Random) -> str:
    """An IBAN with its check digits, in one piece or in groups of four."""
    country, form = random.choice((("DE", 18), ("FR", 23), ("ES", 20), ("AT", 16), ("BE", 12), ("CH", 17)))
    rest = digits(random, form)
    check = 98 - int("".join(str(int(letter, 36)) for letter in rest + country + "00")) % 97
    made = f"{country}{check:02}{rest}"
    return random.choice((made, " ".join(made[place : place + 4] for place in range(0, len(made), 4))))


def american_id(random: Random) -> str:
    """A social security number that could have been issued."""
    made = draw(
        random, lambda r: digits(r, 9), lambda text: numbers.is_us_ssn(text) and "1234567" not in text
    )
    return f"{made[:3]}-{made[3:5]}-{made[5:]}"


def british_id(random: Random) -> str:
    """A national insurance number."""
    letters = string.ascii_uppercase
    made = draw(
        random,
        lambda r: r.choice(letters) + r.choice(letters) + digits(r, 6) + r.choice("ABCD"),
        numbers.is_uk_nino,
    )
    return f"{made[:2]} {made[2:4]} {made[4:6]} {made[6:8]} {made[8]}"


def spanish_id(random: Random) -> str:
    """A DNI with its letter."""
    number = digits(random, 8)
    return number + "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def brazilian_id(random: Random) -> str:
    """A CPF in its usual form."""
    made = draw(random, lambda r: digits(r, 11), numbers.is_br_cpf)
    return f"{made[:3]}.{made[3:6]}.{made[6:9]}-{made[9:]}"


def indian_id(random: Random) -> str:
    """An Aadhaar number in groups of four."""
    made = draw(random, lambda r: digits(r, 12, "23456789"), numbers.is_in_aadhaar)
    return f"{made[:4]} {made[4:8]} {made[8:]}"


def letters(random: Random, count: int, alphabet: str = BASE62) -> str:
    """Random characters, a digit, a small letter and a capital among them where the alphabet has them."""
    wanted = [
        set(alphabet) & set(group)
        for group in (string.digits, string.ascii_lowercase, string.ascii_uppercase)
    ]
    return draw(
        random,
        lambda r: "".join(r.choices(alphabet, k=count)),
        lambda text: all(not group or group & set(text) for group in wanted),
    )


def api_key(random: Random) -> str:
    """A key with one of the makers' prefixes."""
    base32 = string.ascii_uppercase + "234567"
    forms: tuple[Callable[[], str], ...] = (
        lambda: "AKIA" + letters(random, 16, base32),
        lambda: "ghp_" + letters(random, 36),
        lambda: "github_pat_" + letters(random, 22) + "_" + letters(random, 59),
        lambda: "sk-" + letters(random, 48),
        lambda: "sk-proj-" + letters(random, 64),
        lambda: "sk-ant-api03-" + letters(random, 80),
        lambda: "xoxb-" + digits(random, 12) + "-" + letters(random, 24),
        lambda: "sk_live_" + letters(random, 24),
        lambda: "AIza" + letters(random, 35),
        lambda: "hf_" + letters(random, 34),
        lambda: "glpat-" + letters(random, 20),
        lambda: "npm_" + letters(random, 36),
        lambda: "SG." + letters(random, 22) + "." + letters(random, 43),
    )
    return random.choice(forms)()


def web_token(random: Random) -> str:
    """A signed JSON Web Token."""
    head = json.dumps({"alg": random.choice(("HS256", "RS256")), "typ": "JWT"}).encode()
    body = json.dumps({"sub": digits(random, 10), "name": random.choice(NAMES)}).encode()
    signed = [base64.urlsafe_b64encode(piece).decode().rstrip("=") for piece in (head, body)]
    return ".".join((*signed, letters(random, 43)))


def private_key(random: Random) -> str:
    """A block that looks like a private key; it opens nothing."""
    kind = random.choice(("RSA ", "EC ", "", "OPENSSH "))
    lines = "\n".join(letters(random, 64, BASE62 + "+/") for _ in range(4))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


FORMS: Mapping[Kind, tuple[Callable[[Random], str], ...]] = {
    "email_address": (email,),
    "phone_number": (american_phone, foreign_phone),
    "ip_address": (address,),
    "payment_card": (card,),
    "bank_account": (account,),
    "national_id": (american_id, british_id, spanish_id, brazilian_id, indian_id),
    "secret_key": (api_key, web_token, private_key),
    "url_password": (lambda random: letters(random, random.randint(8, 20)),),
    "random_string": (lambda random: letters(random, random.randint(32, 64)),),
}
"""How a value of each kind can be written."""

CARRIERS: Mapping[Kind, tuple[str, ...]] = {
    "email_address": ("You can write to {} about it.", "Contact: {}", "({})", "From: Anna <{}>"),
    "phone_number": ("Call me on {} tomorrow.", "Phone: {}", "My number is {}, please ring after six."),
    "ip_address": ("The server answers at {} again.", "Logged in from {}.", "host={} port=22"),
    "payment_card": ("Please charge {} for the order.", "Card number: {}", "It was paid with {}, she says."),
    "bank_account": ("Send the rent to {} please.", "IBAN: {}", "The account is {}."),
    "national_id": ("Her number is {} on the form.", "ID: {}", "It says {}."),
    "secret_key": ("The key is {} and it works.", 'token = "{}"', "export KEY={}\n"),
    "url_password": (
        "postgres://svc_app:{}@db.bluefern.io:5432/orders",
        "It is at ftp://jonas:{}@files.riverbank.org/in",
    ),
    "random_string": ("The session is {} since then.", 'value = "{}"'),
}
"""Sentences that such values stand in."""


def synthetic(kind: Kind, random: Random) -> str:
    """One made-up value of a kind."""
    return random.choice(FORMS[kind])(random)


def plant(text: str, kind: Kind, random: Random) -> Planted:
    """A text with a made-up value of a kind put behind it, in a sentence of its own."""
    value = synthetic(kind, random)
    before, _, after = random.choice(CARRIERS[kind]).partition("{}")
    head = f"{text.rstrip()} {before}" if text.strip() else before
    return Planted(head + value + after, value, len(head))
