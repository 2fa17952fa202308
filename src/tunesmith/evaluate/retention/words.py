"""The pack's own vocabulary; the categories share no word."""


def split(text: str) -> list[str]:
    """The words of a text between white space."""
    return text.split()


NAMES = split(
    "Anna Omar Lucy Peter Mina Victor Sara Hugo Nadia Felix Clara Jonas Alma Simon Ines Oscar Leila "
    "Martin Rosa Edgar Yuki Tomas Greta Karim Elsa Bruno Hana Daniel Maya Anton"
)
CITIES = split(
    "Lisbon Oslo Cairo Lima Kyoto Prague Nairobi Boston Dublin Hanoi Vienna Quito Sydney Tunis Warsaw "
    "Havana Milan Athens Madrid Toronto"
)
JOBS = split(
    "baker doctor teacher farmer pilot nurse painter lawyer sailor gardener plumber tailor dentist "
    "barber writer singer carpenter librarian"
)

CATEGORIES = {
    "animal": split(
        "dog cat horse cow goat lion tiger rabbit wolf bear monkey elephant zebra camel fox deer"
    ),
    "fruit": split(
        "apple banana pear peach grape mango cherry plum lemon melon strawberry apricot pineapple"
    ),
    "colour": split("red blue green yellow white black brown pink purple grey"),
    "tool": split("hammer saw screwdriver drill wrench shovel rake pliers chisel axe"),
    "vehicle": split("car bus train bicycle truck tram lorry scooter tractor motorcycle"),
    "body part": split("arm leg knee elbow nose ear shoulder ankle wrist finger"),
    "clothing": split("shirt coat hat skirt sock glove scarf jacket sweater trousers"),
    "instrument": split("piano guitar violin drum flute trumpet harp cello clarinet banjo"),
}
ANIMALS, COLOURS = CATEGORIES["animal"], CATEGORIES["colour"]

THINGS = split(
    "apples books coins pencils stamps marbles eggs cards shells buttons cookies tickets candles bottles "
    "stickers"
)

SHORT_WORDS = split(
    "cat sun map dog cup bed hat pen box car leaf milk door fish lamp moon rain ship tree wind"
)
MIDDLE_WORDS = split(
    "apple bread chair dance eagle field grape house island jungle kettle lemon market needle orange "
    "pencil rabbit silver table window"
)
LONG_WORDS = split(
    "airport blanket captain diamond evening factory gallery harvest journey kitchen library machine "
    "notebook painting railway sandwich teaspoon umbrella vacation weather"
)
LETTERED_WORDS = split(
    "banana tomato potato letter pepper balloon coffee kangaroo committee mississippi strawberry "
    "bookkeeper cucumber possession raccoon elephant pineapple successful blueberry butterfly engineer "
    "grasshopper"
)
"""Words in which a letter comes more than once."""

SENTENCES = (
    "the small dog sleeps under the table",
    "my brother bought a red bicycle yesterday",
    "our teacher reads a long story every friday",
    "a quiet river runs behind the old mill",
    "the farmer sells fresh eggs at the market",
    "two birds built a nest in the garden",
    "her sister plays the piano after dinner",
    "the train to the coast leaves at noon",
    "we found a silver key near the bridge",
    "the baker opens his shop before sunrise",
    "an old sailor told us about the storm",
    "the children painted a blue house on paper",
)
"""No word stands twice in one of them, but for the articles."""

PRAISE = split("wonderful excellent delightful fantastic superb lovely brilliant amazing")
BLAME = split("terrible awful horrible dreadful disappointing disgusting boring miserable")
REVIEWED = split("meal film hotel book concert trip play service room show game lesson")

NONSENSE = split("blip zork mard trell quon fleem drabble snirt plonk vorp glim hust tarn wibble krell nade")

WEEKDAYS = split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = split("January February March April May June July August September October November December")
