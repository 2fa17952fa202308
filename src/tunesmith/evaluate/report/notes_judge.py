"""Words about judges: what people say of them, what they are asked, what order and length do to them."""

from tunesmith.core.page import numbers
from tunesmith.evaluate.report.facts import Facts
from tunesmith.evaluate.report.facts_judge import Measure, RankingFacts, ValidationFacts
from tunesmith.evaluate.report.facts_models import JudgeFacts, Score
from tunesmith.evaluate.report.notes import in_sentence, percent_with_range, scorer_name


def judges(facts: Facts) -> list[JudgeFacts]:
    """Every judge that graded a report of the page, once."""
    return list(dict.fromkeys(one for model in (*facts.models, *facts.hard) for one in model.judges))


def asked(judge: JudgeFacts) -> str:
    """What a judge was asked."""
    sees = "with" if judge.with_reference else "without"
    question = judge.question.strip()
    how = f"graded each answer from 1 to {judge.highest}, {sees} the right one at hand"
    return f"{judge.model} {how}: “{question}”"


def believed(one: ValidationFacts) -> str:
    """What to believe, and what would have been believed."""
    by = scorer_name(one.judge)
    return (
        f"People would accept {percent_with_range(one.corrected)} of the answers of {in_sentence(one.label)};"
        f" {by[:1].lower()}{by[1:]} alone says {percent_with_range(one.alone)}."
    )


def basis(one: ValidationFacts) -> str:
    """How many verdicts it rests on, and how it was made."""
    open_ones = f" {numbers.count(one.num_conflicts)} more are in dispute." if one.num_conflicts else ""
    return (
        f"People looked at {numbers.count(one.num_reviewed)} of {numbers.count(one.num_items)} answers"
        f" ({one.method}).{open_ones} From {one.threshold:g} on the score counts as right."
    )


def estimates(one: ValidationFacts) -> tuple[tuple[str, str, Score], ...]:
    """Name, meaning and value of what people say, what the judge says, and both."""
    return (
        ("People alone", f"{numbers.count(one.num_reviewed)} answers", one.people),
        (
            scorer_name(one.judge) + " alone",
            f"{numbers.count(one.num_items)} answers",
            one.alone,
        ),
        ("Both together", "its errors taken off (PPI++)", one.corrected),
    )


def coefficient(one: Measure) -> str:
    """'0.62 (0.45 to 0.78)'."""
    if one.value is None:
        return "undefined"
    text = f"{one.value:.2f}" if one.low is None else f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
    return text.replace("-", numbers.MINUS)


def errors(one: ValidationFacts) -> str:
    """Which way it errs."""
    refused, accepted = one.too_kind + one.both_wrong, one.too_strict + one.both_right
    return (
        f"Of {numbers.count(refused)} answers that people refused it let {numbers.count(one.too_kind)} pass;"
        f" of {numbers.count(accepted)} that they accepted it refused {numbers.count(one.too_strict)}."
    )


def length(one: ValidationFacts) -> str:
    """Whether it pays for length."""
    bias = one.length_bias
    if bias.value is None or bias.low is None or bias.high is None:
        return "Too few verdicts, or answers of one length: whether it pays for length is not known."
    said = (
        "It pays for length"
        if bias.low > 0
        else "It punishes length"
        if bias.high < 0
        else "No bias for length was seen"
    )
    ends = f"{numbers.points(bias.low)} to {numbers.points(bias.high)}"
    return (
        f"{said}: for each doubling of the words it grows kinder than people by"
        f" {numbers.points(bias.value)} points (95{numbers.THIN}% interval {ends})."
    )


def places(best: int, worst: int) -> str:
    """'1' or '1–2'."""
    return f"{best}" if best == worst else f"{best}{numbers.DASH}{worst}"


def strength(value: float) -> str:
    """'+0.68', '−0.30'."""
    return f"{value + 0.0:+.2f}".replace("-", numbers.MINUS)


def order(ranking: RankingFacts) -> str:
    """Who stands first, and who may stand there as well."""
    best = ranking.ranked[0]
    equals = [in_sentence(one.label) for one in ranking.ranked[1:] if one.best_rank == 1]
    first = in_sentence(best.label)
    if equals:
        said = f"{first} stands first, but cannot be told from {', '.join(equals)}"
    else:
        said = f"{first} is the best of {len(ranking.ranked)}"
    asked_for = f" The judge was asked: “{ranking.question.strip()}”" if ranking.question else ""
    return (
        f"{said[:1].upper()}{said[1:]}: its answer is preferred to the average one’s with a probability of"
        f" {numbers.percent(best.chance)}.{asked_for}"
    )


def position(ranking: RankingFacts) -> str:
    """Whether the judge looks at the order of the answers."""
    if ranking.consistent is None or not ranking.by_judge:
        return "A score decides: the order of the answers cannot matter."
    first = ranking.first_favoured
    favours = ""
    if first is not None and first.low is not None and first.high is not None:
        leans = first.low > 0.5, first.high < 0.5
        said = {(True, False): "it favours the first", (False, True): "it favours the last"}.get(leans)
        favours = (
            f" Of its single verdicts {percent_with_range(first)} name the answer seen first:"
            f" {said or 'no bias for a place was seen'}."
        )
    return f"{percent_with_range(ranking.consistent)} of its verdicts do not turn with the order.{favours}"


def longer(ranking: RankingFacts) -> str:
    """How often the longer answer won."""
    found = ranking.longer_favoured
    if found is None:
        return "Whether longer answers win is not known: no two of them were decided, or no report was given."
    rest = (
        "the strengths above hold length equal"
        if ranking.style
        else "longer answers may be better ones; tunesmith rank --style holds length equal"
    )
    won, number = percent_with_range(found), numbers.count(found.num_items)
    return f"The longer answer won {won} of {number} decided comparisons: {rest}."


def unchecked(facts: Facts) -> str:
    """What is missing when a judge graded and nobody looked; nothing otherwise."""
    if not judges(facts) or facts.validations:
        return ""
    return "No person looked at the graded answers: how often the judge is wrong is not known."


def compared(ranking: RankingFacts) -> str:
    """What the order rests on."""
    unread = f", {numbers.count(ranking.num_unread)} without a verdict" if ranking.num_unread else ""
    return (
        f"{numbers.count(ranking.num_comparisons)} comparisons on {numbers.count(ranking.num_items)} items"
        f"{unread}; the strength is the log-odds of being preferred to the average of all."
    )


def style(ranking: RankingFacts) -> str:
    """What each feature of style is worth."""
    weights = ", ".join(f"{name} {numbers.gap(weight, 'number')}" for name, weight in ranking.style)
    return f"Held equal in the strengths, log-odds for one standard deviation more: {weights}."
