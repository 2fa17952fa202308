"""The family of simple facts, and its table: about 330 things that school teaches, by kind and level.

Left out is whatever has two usual answers: the opposite of big, the young of a dog, the continent of Turkey.
"""

import random
from collections.abc import Mapping

from tunesmith.evaluate.retention.port import FOUND, NUMBER, Form, Item


def table(text: str) -> dict[str, str]:
    """Pairs written as `key=value; key=value`."""
    return dict(pair.strip().split("=") for pair in text.split(";"))


FACTS: Mapping[str, Mapping[int, dict[str, str]]] = {
    "capital": {
        1: table(
            "France=Paris; Italy=Rome; Spain=Madrid; Germany=Berlin; Japan=Tokyo; China=Beijing; "
            "Russia=Moscow; Egypt=Cairo; Greece=Athens; Portugal=Lisbon; Austria=Vienna; Ireland=Dublin; "
            "England=London"
        ),
        2: table(
            "Poland=Warsaw; Sweden=Stockholm; Norway=Oslo; Finland=Helsinki; Denmark=Copenhagen; "
            "Hungary=Budapest; Cuba=Havana; Peru=Lima; Canada=Ottawa; Australia=Canberra; Turkey=Ankara; "
            "Kenya=Nairobi; Thailand=Bangkok; Iraq=Baghdad; Iran=Tehran; Argentina=Buenos Aires; "
            "Belgium=Brussels; Vietnam=Hanoi"
        ),
        3: table(
            "Ghana=Accra; Ethiopia=Addis Ababa; Nepal=Kathmandu; Latvia=Riga; Estonia=Tallinn; "
            "Lithuania=Vilnius; Slovenia=Ljubljana; Croatia=Zagreb; Bulgaria=Sofia; Romania=Bucharest; "
            "Serbia=Belgrade; Albania=Tirana; Senegal=Dakar; Jordan=Amman; Uruguay=Montevideo; "
            "Ecuador=Quito; Venezuela=Caracas; New Zealand=Wellington; Jamaica=Kingston; Morocco=Rabat; "
            "Tunisia=Tunis; Armenia=Yerevan; Zambia=Lusaka; Uganda=Kampala; Laos=Vientiane; "
            "Angola=Luanda; Pakistan=Islamabad; Nigeria=Abuja"
        ),
    },
    "opposite": {
        1: table(
            "hot=cold; up=down; day=night; on=off; black=white; full=empty; wet=dry; north=south; "
            "east=west; first=last; inside=outside; true=false; high=low; tall=short; rich=poor; "
            "always=never; early=late"
        ),
        2: table(
            "push=pull; buy=sell; win=lose; thick=thin; deep=shallow; heavy=light; strong=weak; "
            "question=answer; love=hate; war=peace; birth=death; asleep=awake; remember=forget; "
            "before=after; positive=negative; entrance=exit; clean=dirty"
        ),
        3: table(
            "maximum=minimum; success=failure; victory=defeat; ancient=modern; vertical=horizontal; "
            "interior=exterior; guilty=innocent; increase=decrease; public=private; ascend=descend; "
            "include=exclude; absent=present; optimist=pessimist; import=export; arrival=departure; "
            "singular=plural; debit=credit"
        ),
    },
    "plural": {
        1: table(
            "cat=cats; box=boxes; bus=buses; dog=dogs; dish=dishes; tree=trees; class=classes; bird=birds"
        ),
        2: table(
            "child=children; man=men; woman=women; foot=feet; tooth=teeth; mouse=mice; goose=geese; "
            "knife=knives; leaf=leaves; baby=babies; city=cities; wolf=wolves; wife=wives; "
            "shelf=shelves; loaf=loaves; thief=thieves; story=stories; half=halves"
        ),
        3: table(
            "ox=oxen; crisis=crises; analysis=analyses; thesis=theses; oasis=oases; "
            "phenomenon=phenomena; criterion=criteria; bacterium=bacteria; basis=bases; "
            "diagnosis=diagnoses; louse=lice; hypothesis=hypotheses"
        ),
    },
    "past": {
        1: table("play=played; walk=walked; jump=jumped; open=opened; work=worked; ask=asked; help=helped"),
        2: table(
            "go=went; see=saw; eat=ate; run=ran; take=took; give=gave; write=wrote; drink=drank; "
            "swim=swam; break=broke; think=thought; buy=bought; teach=taught; sing=sang; fly=flew"
        ),
        3: table(
            "seek=sought; freeze=froze; shake=shook; steal=stole; bind=bound; cling=clung; flee=fled; "
            "lend=lent; sting=stung; tear=tore; grind=ground; strike=struck; spin=spun; swear=swore"
        ),
    },
    "colour": {
        1: table(
            "a ripe banana=yellow; fresh snow=white; healthy grass=green; coal=black; blood=red; a "
            "carrot=orange; a ripe tomato=red; milk=white; a lemon=yellow; a clear sky at noon=blue"
        ),
        2: table(
            "an emerald=green; a ruby=red; a sapphire=blue; a flamingo=pink; a raven=black; a polar "
            "bear's fur=white; spinach=green; a British post box=red; a sunflower's petals=yellow; chalk "
            "cliffs=white"
        ),
        3: table(
            "the maple leaf on the flag of Canada=red; the disc on the flag of Japan=red; jade=green; "
            "the cross on the flag of Finland=blue; the mixture of blue and yellow paint=green; the "
            "mixture of red and yellow paint=orange; the cross on the flag of Switzerland=white; "
            "ivory=white; the star on the flag of Vietnam=yellow; the mixture of red and white paint=pink"
        ),
    },
    "young": {
        1: table("cat=kitten; cow=calf; sheep=lamb"),
        2: table("duck=duckling; lion=cub; horse=foal; pig=piglet; frog=tadpole; hen=chick"),
        3: table("goose=gosling; swan=cygnet; kangaroo=joey; deer=fawn; goat=kid; eagle=eaglet; owl=owlet"),
    },
    "number": {
        1: table(
            "days are in a week=7; months are in a year=12; hours are in a day=24; minutes are in an "
            "hour=60; sides does a triangle have=3; wheels does a bicycle have=2; legs does a dog "
            "have=4; seconds are in a minute=60; sides does a square have=4; fingers does a hand have, "
            "the thumb counted=5"
        ),
        2: table(
            "legs does a spider have=8; legs does an insect have=6; letters are in the English "
            "alphabet=26; arms does an octopus have=8; years are in a century=100; years are in a "
            "decade=10; sides does a hexagon have=6; sides does a pentagon have=5; degrees are in a "
            "right angle=90; strings does a violin have=4; faces does a cube have=6; planets are in the "
            "Solar System=8; days are in a leap year=366"
        ),
        3: table(
            "squares are on a chessboard=64; keys does a standard piano have=88; edges does a cube "
            "have=12; sides does a nonagon have=9; degrees do the angles of a triangle add up to=180; "
            "chambers does the human heart have=4; bones does the body of an adult human have=206; "
            "protons does an atom of carbon have=6; sides does a dodecagon have=12; protons does an atom "
            "of oxygen have=8; cards does a standard deck without jokers have=52; years are in a "
            "millennium=1000"
        ),
    },
    "roman": {
        1: table("I=1; V=5; X=10; II=2; III=3"),
        2: table("IV=4; IX=9; XII=12; L=50; C=100; XX=20; VIII=8; XV=15"),
        3: table("D=500; M=1000; XIX=19; XL=40; XC=90; CD=400; XIV=14; LXX=70; MCM=1900; XLIV=44"),
    },
    "element": {
        2: table("H=hydrogen; O=oxygen; C=carbon; N=nitrogen; He=helium; Ca=calcium"),
        3: table(
            "Fe=iron; Au=gold; Ag=silver; Na=sodium; K=potassium; Pb=lead; Cu=copper; Hg=mercury; Sn=tin"
        ),
    },
    "author": {
        2: table("Hamlet=Shakespeare; Oliver Twist=Dickens; Romeo and Juliet=Shakespeare; the Odyssey=Homer"),
        3: table(
            "Pride and Prejudice=Austen; War and Peace=Tolstoy; Don Quixote=Cervantes; "
            "Frankenstein=Shelley; Animal Farm=Orwell; Moby-Dick=Melville; Faust=Goethe; "
            "Macbeth=Shakespeare; Emma=Austen; Anna Karenina=Tolstoy; Great Expectations=Dickens; Crime "
            "and Punishment=Dostoevsky"
        ),
    },
    "continent": {
        1: table(
            "France=Europe; China=Asia; Kenya=Africa; Germany=Europe; India=Asia; Nigeria=Africa; "
            "Italy=Europe"
        ),
        2: table(
            "Japan=Asia; Ghana=Africa; Sweden=Europe; Vietnam=Asia; Morocco=Africa; Poland=Europe; "
            "Zambia=Africa"
        ),
        3: table(
            "Nepal=Asia; Senegal=Africa; Latvia=Europe; Laos=Asia; Angola=Africa; Slovenia=Europe; "
            "Malawi=Africa"
        ),
    },
    "language": {
        1: table("France=French; Italy=Italian; Japan=Japanese; Germany=German; Russia=Russian"),
        2: table(
            "Mexico=Spanish; Brazil=Portuguese; Austria=German; Egypt=Arabic; Greece=Greek; Poland=Polish"
        ),
        3: table(
            "Argentina=Spanish; Hungary=Hungarian; Denmark=Danish; Iraq=Arabic; Chile=Spanish; Cuba=Spanish"
        ),
    },
}  # fmt: skip

ONE_WORD = "Answer with one word."
WORDINGS = {
    "capital": (
        "What is the capital of {key}? Answer with the name of the city only.",
        "Name the capital city of {key}. Write only the city.",
    ),
    "opposite": (
        f'What is the opposite of "{{key}}"? {ONE_WORD}',
        'Which word means the contrary of "{key}"? Write only that word.',
    ),
    "plural": (f'What is the plural of "{{key}}"? {ONE_WORD}', f"One {{key}}, two ...? {ONE_WORD}"),
    "past": (
        f'What is the simple past of the verb "{{key}}"? {ONE_WORD}',
        "Today I {key}. Yesterday I ...? Fill the gap with one word, the simple past.",
    ),
    "colour": (
        f"What colour is {{key}}? {ONE_WORD}",
        "Name the usual colour of this: {key}. Write only the colour.",
    ),
    "young": (
        f"What is a young {{key}} called? {ONE_WORD}",
        f"What do you call a baby {{key}}? {ONE_WORD}",
    ),
    "number": (
        "How many {key}? Answer with the number only.",
        "Fill in a number: how many {key}?\nWrite only digits.",
    ),
    "roman": (
        "Which number is the Roman numeral {key}? Answer with the number only, in digits.",
        "Write the Roman numeral {key} in ordinary digits. Give only the number.",
    ),
    "element": (
        f"Which chemical element has the symbol {{key}}? {ONE_WORD}",
        f"{{key}} is the symbol of which element? {ONE_WORD}",
    ),
    "author": (
        "Who wrote {key}? Answer with the last name only.",
        "Give only the last name of the author of {key}.",
    ),
    "continent": (
        f"On which continent is {{key}}? {ONE_WORD}",
        "Name the continent that {key} belongs to. Write only its name.",
    ),
    "language": (
        f"What is the main language of {{key}}? {ONE_WORD}",
        "Which language do most people in {key} speak? Write only the language.",
    ),
    "country": (
        "Of which country is {key} the capital? Answer with the country only.",
        "{key} is the capital of a country. Which one? Write only its name.",
    ),
}
FORMS = {
    kind: Form("facts", kind, wordings, NUMBER if kind in ("number", "roman") else FOUND)
    for kind, wordings in WORDINGS.items()
}


def known(kind: str, level: int) -> dict[str, str]:
    """The facts of a kind at a level, perhaps none; countries are capitals the other way round."""
    if kind == "country":
        return {city: country for country, city in FACTS["capital"][level].items()}
    return FACTS[kind].get(level, {})


def facts(rng: random.Random, level: int) -> Item:
    """Any fact of the level: each as often as another."""
    kind, key, gold = rng.choice([(kind, *pair) for kind in FORMS for pair in known(kind, level).items()])
    return FORMS[kind].ask(rng, level, gold, key=key)
