"""What a judge is asked to look at."""

from dataclasses import dataclass

DEFAULT = (
    "How well does the answer do what was asked: is it right, complete, and free of what was not asked for?"
)


@dataclass(frozen=True, slots=True)
class Criteria:
    """The question put to the judge, and the scale of its grades."""

    question: str = DEFAULT
    highest: int = 5
    """Grades go from 1 to this; a score is (grade − 1) / (highest − 1)."""
    with_reference: bool = True
    """Whether the judge sees the item's right answer."""

    def score(self, grade: int) -> float:
        """A grade as a score from 0 to 1."""
        return (grade - 1) / (self.highest - 1)
