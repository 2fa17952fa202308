"""Four needs, four answers: `tunesmith decide` on cases whose right answer is known.

    python examples/decisions.py [base] [prompt] [data] [tuning]

Each case is made here, measured with the embedded model, and the verdict is held against what it has to be.
All four take about 22 minutes on two cores; exits with 1 when a verdict is another one.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

FOLDER = Path("decisions")
CAPITALS = """France Paris, Germany Berlin, Italy Rome, Spain Madrid, Portugal Lisbon, Austria Vienna,
Belgium Brussels, Denmark Copenhagen, Sweden Stockholm, Norway Oslo, Finland Helsinki, Poland Warsaw,
Hungary Budapest, Romania Bucharest, Bulgaria Sofia, Greece Athens, Turkey Ankara, Russia Moscow,
Ukraine Kyiv, Ireland Dublin, Iceland Reykjavik, Japan Tokyo, China Beijing, Thailand Bangkok, Vietnam Hanoi,
Indonesia Jakarta, Iran Tehran, Iraq Baghdad, Egypt Cairo, Morocco Rabat, Kenya Nairobi, Canada Ottawa,
Cuba Havana, Peru Lima, Chile Santiago, Venezuela Caracas, Uruguay Montevideo, Australia Canberra,
Croatia Zagreb, Serbia Belgrade, Slovakia Bratislava, Estonia Tallinn, Latvia Riga, Lithuania Vilnius,
Lebanon Beirut, Jordan Amman, Qatar Doha, Nepal Kathmandu, Afghanistan Kabul, Pakistan Islamabad, Ghana Accra,
Senegal Dakar, Bangladesh Dhaka, Cyprus Nicosia, Malta Valletta, Tunisia Tunis, Libya Tripoli, Sudan Khartoum,
Uganda Kampala, Zambia Lusaka, Zimbabwe Harare, Angola Luanda, Armenia Yerevan, Georgia Tbilisi"""
COLOURS = [
    "red",
    "green",
    "blue",
    "white",
    "black",
    "brown",
    "yellow",
    "purple",
    "pink",
    "gray",
    "orange",
    "golden",
]
CODE_WORDS = ["amber", "river", "piano", "bottle", "window", "garden", "pepper", "hammer", "mirror", "candle"]
THINGS = [
    "apple",
    "car",
    "house",
    "river",
    "shirt",
    "chair",
    "bird",
    "flower",
    "stone",
    "boat",
    "lamp",
    "door",
]


@dataclass(frozen=True)
class Case:
    """A need, and the verdict that it has to get."""

    need: str
    data: Callable[[], str]
    """Makes the data set and returns its folder."""
    verdict: str
    settings: tuple[str, ...]


def tunesmith(*words: str) -> Any:
    """Run a command and return its result."""
    command = [sys.executable, "-m", "tunesmith", *words, "--workspace", str(FOLDER / "workspace"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def prepared(name: str, pairs: list[tuple[str, str]], *, validation: int = 40) -> str:
    """Questions and answers as a data set."""
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in pairs
    ]
    path = FOLDER / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [str(path), "--name", name, "--test", "4", "--validation", str(validation)]
    return str(tunesmith("data", "prepare", *words)["folder"])


def capitals() -> str:
    """What every model knows, answered as the model answers anyway."""
    pairs = [pair.rsplit(" ", 1) for pair in " ".join(CAPITALS.split()).split(", ")]
    return prepared(
        "capitals",
        [
            (f"What is the capital of {country}?", f"The capital of {country} is {city}.")
            for country, city in pairs
        ],
    )


def colours() -> str:
    """A form of answer that nobody can guess and a few examples show."""
    return prepared("colours", [(f"{colour} {thing}", colour) for colour, thing in product(COLOURS, THINGS)])


def spelling() -> str:
    """Letters in code words that stand nowhere but in the data: small models look them up badly."""
    words = dict(zip("abcdefghij", CODE_WORDS, strict=True))
    pairs = [(" ".join(three), " ".join(words[one] for one in three)) for three in permutations(words, 3)]
    return prepared("spelling", pairs, validation=100)


def addresses() -> str:
    """Human-labelled US addresses into JSON fields."""
    source = Path(tunesmith("data", "fetch", "addresses")["folder"])
    words = [str(source / "rows.jsonl"), "--name", "addresses", "--test", "100", "--validation", "100"]
    return str(tunesmith("data", "prepare", *words)["folder"])


def few_addresses() -> str:
    """The same with 48 rows to learn from."""
    words = [addresses(), "--rows", "48", "--by", "random", "--embeddings", "words"]
    return str(tunesmith("data", "select", *words)["folder"])


CASES = {
    "base": Case(
        "say capitals in a sentence", capitals, "base_is_enough", ("--metric", "token_f1", "--target", "0.6")
    ),
    "prompt": Case(
        "name the colour in one word", colours, "prompt_is_enough", ("--metric", "exact", "--target", "0.75")
    ),
    "data": Case(
        "address fields from 48 examples",
        few_addresses,
        "better_data",
        ("--target", "0.2", "--budget-minutes", "8"),
    ),
    "tuning": Case(
        "spell in code words of our own, 600 examples", spelling, "fine_tune", ("--metric", "exact")
    ),
}


def main() -> None:
    """Decide each case and say how it went."""
    FOLDER.mkdir(exist_ok=True)
    wrong = 0
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        result = tunesmith("decide", case.data(), *case.settings)
        right = result["verdict"] == case.verdict
        wrong += not right
        print(f"{name}: {case.need}\n  {result['verdict']}{'' if right else f' (wrong: {case.verdict})'}")
        print(f"  {result['sentence']}")
        print(f"  {result['seconds'] / 60:.1f} minutes, {result['folder']}/{result['page']}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
