"""Whether a number with a check digit is one: cards, bank accounts, national identity numbers.

Each function takes the characters without separators and answers yes or no; none raises.
"""

from collections.abc import Callable
from datetime import date

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an account number by country (SWIFT's IBAN registry)."""

CARD_RANGES = (
    (4, 4, (16, 19)),
    (51, 55, (16,)),
    (2221, 2720, (16,)),
    (34, 34, (15,)),
    (37, 37, (15,)),
    (300, 305, (14,)),
    (36, 36, (14,)),
    (38, 39, (14,)),
    (6011, 6011, (16, 19)),
    (644, 659, (16, 19)),
    (3528, 3589, (16,)),
    (62, 62, (16, 17, 18, 19)),
)
"""Issuers' prefixes from–to, and how many digits their cards have (ISO/IEC 7812)."""

VERHOEFF_TURN = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7), (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3), (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
VERHOEFF_SHIFT = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)

FISCAL_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12,
         14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Sum of digits times weights."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def is_luhn(digits: str) -> bool:
    """Luhn's sum (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A payment card: an issuer's prefix, that issuer's length, Luhn's sum, and not one digit repeated."""
    issued = any(
        first <= int(digits[: len(str(first))]) <= last and len(digits) in lengths
        for first, last, lengths in CARD_RANGES
    )
    return issued and len(set(digits)) > 2 and is_luhn(digits)


def is_iban(text: str) -> bool:
    """An account number: its country's length and remainder 1 by 97 (ISO 13616, ISO 7064)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def is_short_date(digits: str) -> bool:
    """Year, month, day in two digits each, of some century."""
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    return is_date(1900 + year, month, day) or is_date(2000 + year, month, day)


def is_us_ssn(digits: str) -> bool:
    """A social security number that can have been issued (SSA: no 000, 666, 9xx; no 00; no 0000)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def is_uk_nino(text: str) -> bool:
    """A British national insurance number (HMRC's manual NIM39110)."""
    good = text[0] not in "DFIQUV" and text[1] not in "DFIOQUV"
    return good and text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def is_es_dni(text: str) -> bool:
    """A Spanish identity number (DNI, or NIE with X, Y, Z in front): the letter is the number by 23."""
    number = str("XYZ".find(text[0])) + text[1:-1] if text[0] in "XYZ" else text[:-1]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def is_it_fiscal(text: str) -> bool:
    """An Italian tax code (codice fiscale, D.M. 23/12/1976)."""
    total = sum(FISCAL_ODD[letter] for letter in text[:15:2])
    total += sum(int(letter) if letter.isdigit() else ord(letter) - 65 for letter in text[1:15:2])
    return chr(65 + total % 26) == text[15]


def is_br_cpf(digits: str) -> bool:
    """A Brazilian taxpayer number (CPF): two digits by 11, and not one digit repeated."""
    first = weighted(digits[:9], tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = weighted(digits[:10], tuple(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[9:] == f"{first}{second}"


def is_cn_resident(text: str) -> bool:
    """A Chinese resident identity number (GB 11643-1999): a birthday and a digit by 11."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    year, month, day = int(text[6:10]), int(text[10:12]), int(text[12:14])
    return (
        1900 <= year <= 2100
        and is_date(year, month, day)
        and "10X98765432"[weighted(text[:17], weights) % 11] == text[17].upper()
    )


def is_in_aadhaar(digits: str) -> bool:
    """An Indian Aadhaar number: Verhoeff's check digit (1969), first digit 2 to 9."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = VERHOEFF_SHIFT[value]
        check = VERHOEFF_TURN[check][value]
    return digits[0] not in "01" and len(set(digits)) > 2 and check == 0


def is_fr_nir(digits: str) -> bool:
    """A French social security number (NIR): 97 minus the remainder by 97."""
    return (
        digits[0] in "12" and 1 <= int(digits[3:5]) <= 12 and 97 - int(digits[:13]) % 97 == int(digits[13:])
    )


def is_se_personal(digits: str) -> bool:
    """A Swedish personal number: a birthday and Luhn's sum."""
    return is_short_date(digits) and is_luhn(digits)


def is_fi_personal(text: str) -> bool:
    """A Finnish personal identity code, with or without the century's sign: a birthday and a sign by 31."""
    number = int(text[:6] + text[-4:-1])
    is_day = is_short_date(text[4:6] + text[2:4] + text[:2])
    return is_day and "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == text[-1]


def is_pl_pesel(digits: str) -> bool:
    """A Polish PESEL number: a birthday with the century in the month, and a digit by 10."""
    month = int(digits[2:4]) % 20
    total = weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3))
    return is_short_date(f"{digits[:2]}{month:02}{digits[4:6]}") and (10 - total) % 10 == int(digits[10])


def is_nl_bsn(digits: str) -> bool:
    """A Dutch citizen service number (the eleven test)."""
    return weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(digits)) > 1


def is_de_tax(digits: str) -> bool:
    """A German tax identification number (ISO 7064, mod 11, 10)."""
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[10])


Valid = Callable[[str], bool]
