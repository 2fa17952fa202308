"""Words of the page: names for people, the verdict, what the numbers can and cannot carry."""

from collections.abc import Sequence

from tunesmith.core.page import numbers
from tunesmith.core.scorers import SCORERS
from tunesmith.evaluate.report import answers
from tunesmith.evaluate.report.facts import (
    ComparisonFacts,
    DataFacts,
    Difference,
    Facts,
    RuleFacts,
    RunFacts,
    SliceFacts,
)
from tunesmith.evaluate.report.facts_models import ModelFacts, Sample, Score

NAMES = {
    "exact": ("Exact match", "share of answers that equal the right one, whole"),
    "normalised_exact": ("Exact match, normalised", "as exact match, without case and punctuation"),
    "exact_json": ("Exact match", "share of answers whose JSON equals the right one, whole"),
    "field_f1": ("Field F1", "right fields against missing and wrong ones, mean over the items"),
    "json_valid": ("Valid JSON", "share of answers that are one JSON value of the right kind"),
    "token_f1": ("Word F1", "words in common with the right answer, mean over the items"),
    "toxicity": ("Toxicity", "share of answers that a classifier takes for harmful; less is better"),
    "judge": ("Judge", "grade of a model that judges, from 0 to 1"),
    "people": (
        "Accepted by people",
        "share of answers that people accept, the judge's errors taken off",
    ),
}
HEADINGS = {
    "better": "Fine-tuning helped",
    "worse": "Fine-tuning made it worse",
    "tied": "No clear difference",
    "not enough data": "Not enough data to tell",
}
ACCOUNTS = {
    "kept": "Used as written",
    "changed": "Used after a mechanical repair",
    "refused": "Refused, with a reason",
    "duplicates": "Exact duplicates, dropped",
    "withheld": "Too like a held-out row, withheld",
}
ROLES = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "developer": "Developer",
    "tool": "Tool",
    "text": "Text",
}
COMMANDS = (
    "From the folders’ manifests, to be run where the workspace stands; there, done work is not done again."
)
ADDRESS = "Where a server stood is not in them: put your own into the variable ENDPOINT."


def needs_address(facts: Facts) -> bool:
    """Whether a command names a server."""
    return any("$ENDPOINT" in command.line for command in facts.commands)


def scorer_name(scorer: str) -> str:
    """A scorer's name in words; of a suite with several tasks, behind its task's."""
    task, _, name = scorer.rpartition("/")
    said = NAMES[name][0] if name in NAMES else words(name)
    return f"{words(task)}: {said[:1].lower()}{said[1:]}" if task else said


def scorer_meaning(scorer: str) -> str:
    """What a scorer counts; nothing for one of the user's own."""
    name = scorer.rpartition("/")[2]
    if name in NAMES:
        return NAMES[name][1]
    if name not in SCORERS:
        return ""
    what = SCORERS[name].what.rstrip(".")
    less = "; less is better" if SCORERS[name].better == "lower" else ""
    return what[:1].lower() + what[1:] + less


def words(name: str) -> str:
    """'step_examples' → 'Step examples', 'method.rank' → 'Method: rank'; OMP_NUM_THREADS stays."""
    if name.isupper():
        return name
    text = name.removesuffix("_bytes").replace("_", " ").replace("-", " ").replace(".", ": ")
    return text[:1].upper() + text[1:]


def verdict(facts: Facts) -> str:
    """The sentence of the verdict box."""
    if facts.comparison is not None and facts.comparison.main is not None:
        return claim(facts.comparison, facts.comparison.main)
    if not facts.models:
        return "Nothing was evaluated: this page shows the data and the training only."
    model = facts.tuned or facts.models[-1]
    score = model.score(model.primary)
    result = f"{percent_with_range(score)} {scorer_name(model.primary).lower()}" if score else "no score"
    return f"{model.label}: {result}. No comparison was given, so nothing says whether fine-tuning helped."


def percent_with_range(score: Score) -> str:
    """'47 % (38–57 %)', or '3.12 (2.9 to 3.4)' of a number."""
    shown = numbers.figure(score.value, score.kind)
    return f"{shown} ({numbers.figure_range(score.low, score.high, score.kind)})"


def claim(comparison: ComparisonFacts, main: Difference) -> str:
    """What can be said of two reports, with the difference and its interval."""
    first, second = in_sentence(comparison.first), in_sentence(comparison.second)
    said = {
        "better": f"{second} is better than {first}",
        "worse": f"{second} is worse than {first}",
        "tied": f"{second} and {first} are as good as each other",
        "not enough data": f"the test cannot tell {second} from {first}",
    }[comparison.outcome]
    second_is, first_is = (numbers.figure(value, main.kind) for value in (main.second, main.first))
    unit = "" if main.kind == "number" else " points"
    low, high = (numbers.gap(value, main.kind) for value in (main.low, main.high))
    return (
        f"{said[:1].upper()}{said[1:]}: {second_is} against {first_is}"
        f" {scorer_name(main.scorer).lower()}, a difference of {numbers.gap(main.value, main.kind)}{unit}"
        f" (95{numbers.THIN}% interval {low} to {high})."
    )


def in_sentence(label: str) -> str:
    """'Base model, zero-shot prompt' → 'the base model (zero-shot prompt)'; other names stay."""
    for start in ("Base model", "Tuned model"):
        if label.startswith(start):
            rest = label.removeprefix(start).lstrip(", ")
            return f"the {start.lower()}" + (f" ({rest})" if rest else "")
    return label


def kept(comparison: ComparisonFacts) -> str:
    """What a comparison on untrained tasks says, in one sentence."""
    main = comparison.main
    if main is None:
        return "Nothing was compared."
    said = {
        "better": "The tuned model does better on tasks that it was not trained for",
        "worse": "The training cost the model something elsewhere",
        "tied": "The tuned model does these tasks as well as the base",
        "not enough data": "The items cannot tell whether the training cost anything elsewhere",
    }[comparison.outcome]
    low, high = (numbers.gap(value, main.kind) for value in (main.low, main.high))
    return (
        f"{said}: {numbers.figure(main.second, main.kind)} against {numbers.figure(main.first, main.kind)} of"
        f" {numbers.count(comparison.num_items)} items, a difference of {numbers.gap(main.value, main.kind)}"
        f"{'' if main.kind == 'number' else ' points'} (95{numbers.THIN}% interval {low} to {high})."
    )


def minus(comparison: ComparisonFacts) -> str:
    """'The tuned model minus the base model (4-shot prompt)'."""
    second, first = in_sentence(comparison.second), in_sentence(comparison.first)
    return f"{second[:1].upper()}{second[1:]} minus {first}"


def trained(run: RunFacts) -> str:
    """How much was trained, how fast and on what."""
    epochs = f"{numbers.plain(run.num_epochs)} {'epoch' if run.num_epochs == 1 else 'epochs'}"
    return (
        f"Training: {numbers.count(run.num_tokens)} tokens, {numbers.count(run.num_supervised)} of them"
        f" learned, in {numbers.count(run.num_steps)} steps ({epochs});"
        f" {numbers.count(run.tokens_per_second)} tokens a second in {run.dtype} on {run.threads} threads."
    )


def versions(facts: Facts) -> list[tuple[str, str]]:
    """Package → version; where the folders differ, every version that was used."""
    used: dict[str, dict[str, None]] = {}
    for origin in facts.origins:
        for package, version in origin.versions.items():
            used.setdefault(package, {})[version] = None
    return [(package, ", ".join(found)) for package, found in used.items()]


def calibrations(models: Sequence[ModelFacts]) -> list[str]:
    """How far the confidence of each model is from how often it is right."""
    return [
        f"{model.label}: calibration error {numbers.percent(task.calibration_error)} on {task.data}"
        for model in models
        for task in model.tasks
        if task.calibration_error is not None
    ]


def ruled(rule: RuleFacts) -> str:
    """What a rule says of the candidate."""
    return f"{rule.candidate} {'may' if rule.passed else 'may not'} take the place of {rule.before}"


def is_share(models: Sequence[ModelFacts], scorer: str) -> bool:
    """Whether a score lies on the axis of shares."""
    found = [score for model in models if (score := model.score(scorer)) is not None]
    return any(score.kind != "number" for score in found)


def size_of(main: Difference) -> float:
    """How large a difference is, whatever its side."""
    return abs(main.value)


def scorers(models: Sequence[ModelFacts]) -> list[str]:
    """Scorers of these models, in the order they appear."""
    return list(dict.fromkeys(score.scorer for model in models for score in model.scores))


def validity(facts: Facts) -> tuple[str, ...]:
    """What the results rest on and what was not measured, one sentence each."""
    found = [*item_notes(facts), *decoding_notes(facts.models), *failure_notes((*facts.models, *facts.hard))]
    if facts.models:
        found += [leak_note(facts), *other_data_notes(facts), *people_notes(facts.models)]
    found += [*trust_notes((*facts.models, *facts.hard)), *foreign(facts)]
    if facts.comparison:
        found += comparison_notes(facts.comparison)
    if facts.run and facts.models:
        seeds = [origin.seed for origin in facts.origins if origin.role == "run" and origin.seed is not None]
        seed = f" (seed {seeds[0]})" if seeds else ""
        found.append(
            f"One training run{seed}: the intervals say how much the test items matter, not how much"
            " another seed or another order of the data would change the result."
        )
    others = "" if facts.retention is not None else "other abilities of the model (forgetting), "
    found.append(
        f"Not measured: {others}other languages and tasks, speed under load, and inputs unlike the ones in"
        " the data set."
    )
    return tuple(found)


def trust_notes(models: Sequence[ModelFacts]) -> list[str]:
    """How good scorers are that learned, each told of once."""
    known = {score.scorer: score.trust for model in models for score in model.scores if score.trust}
    return [
        f"{scorer_name(name)} is judged by a classifier ({trust.source}): area under the ROC curve"
        f" {trust.auc:.2f} (95 % interval {trust.auc_low:.2f} to {trust.auc_high:.2f}) on {trust.texts:,}"
        f" held-out texts; it finds {numbers.percent(trust.found)} of {trust.positive:,} and takes"
        f" {numbers.percent(trust.false_alarms)} of the others for one."
        for name, trust in known.items()
    ]


def comparison_notes(comparison: ComparisonFacts) -> list[str]:
    """What the comparison could have seen, and what it says of itself."""
    found = []
    if comparison.main:
        power = numbers.gap(comparison.main.detectable, comparison.main.kind).lstrip("+")
        unit = "" if comparison.main.kind == "number" else " points"
        found.append(
            f"So many items see a true difference of {power}{unit} four times in five; smaller ones are"
            " often missed."
        )
    if len(comparison.differences) > 1:
        found.append("p-values of the scorers that do not decide are corrected for their number (Holm).")
    if comparison.notes:
        sides = f"A is {in_sentence(comparison.first)}, B is {in_sentence(comparison.second)}"
        found.append(f"Notes of the comparison ({sides}): {'; '.join(comparison.notes)}.")
    return [*found, f"In full: {comparison.in_full}"]


def item_notes(facts: Facts) -> list[str]:
    """How many items, and whether every model got the same ones."""
    if not facts.models:
        return ["No model was evaluated."]
    sets = [frozenset(model.samples) for model in facts.models]
    if len(set(sets)) == 1:
        size = numbers.count(len(sets[0]))
        found = [f"Every model answered the same {size} held-out items, each {times(facts.models)}."]
    else:
        sizes = ", ".join(f"{model.label} {numbers.count(len(model.samples))}" for model in facts.models)
        found = [
            f"The models did not answer the same items ({sizes}): their scores are not strictly comparable."
        ]
    if facts.hard:
        largest = max(len(model.samples) for model in facts.hard)
        found.append(
            f"The hard set has {numbers.count(largest)} items; it stays a fair test only while no choice is"
            " made on it."
        )
    return found


def decoding_notes(models: Sequence[ModelFacts]) -> list[str]:
    """How answers were drawn, as far as the reports say."""
    if not models:
        return []
    leaves = [(name.rpartition(".")[2], value) for model in models for name, value in model.settings.items()]
    heat = {value for name, value in leaves if name == "temperature"}
    silent = [model.label for model in models if not any(is_heat(name) for name in model.settings)]
    if silent:
        return [f"How answers were drawn is not known of {', '.join(silent)}: its report does not say."]
    if heat == {0}:
        return [
            "Greedy decoding: the same input gives the same answer; sampling at a temperature was not"
            " measured."
        ]
    return [
        f"Answers were sampled (temperature {', '.join(sorted(map(numbers.plain, heat)))}),"
        f" {times(models)} an item."
    ]


def is_heat(setting: str) -> bool:
    """Whether a setting of a report or of one of its tasks is the temperature."""
    return setting.rpartition(".")[2] == "temperature"


def times(models: Sequence[ModelFacts]) -> str:
    """How often an item was asked: 'once', '5 times', '1 to 5 times'."""
    counts = sorted({task.repeats for model in models for task in model.tasks} or {1})
    if counts == [1]:
        return "once"
    return f"{counts[0]} to {counts[-1]} times" if len(counts) > 1 else f"{counts[0]} times"


def failure_notes(models: Sequence[ModelFacts]) -> list[str]:
    """Requests that failed and answers that were cut: they count as wrong and are never dropped."""
    found = []
    failed = [f"{model.label}: {model.num_errors}" for model in models if model.num_errors]
    cut = [f"{model.label}: {model.num_cut}" for model in models if model.num_cut]
    if failed:
        found.append(
            f"Requests that failed ({'; '.join(failed)}): wrong where more is better, left out of numbers and"
            " of scores where less is."
        )
    elif models:
        found.append("No request failed.")
    if cut:
        found.append(f"Answers cut at the token limit, scored as they stand ({'; '.join(cut)}).")
    return found


def people_notes(models: Sequence[ModelFacts]) -> list[str]:
    """What people said of the items, how worn they are, and what could not be scored."""
    found = []
    for one in {part.data: part for model in models for part in model.tasks}.values():
        if one.accepted is not None:
            agreed = f" (kappa {one.kappa:.2f})" if one.kappa is not None else ""
            found.append(
                f"People accepted {one.accepted} of the {one.num_items} items of {one.data}; two people"
                f" looked at {one.twice}{agreed}."
            )
        if one.uses > 1:
            kept = " in the vault" if one.vault else ""
            found.append(
                f"The items of {one.data}{kept} were asked for {one.uses} reports by then: choices made on"
                " them wear a test out."
            )
    for model in models:
        missing = [f"{scorer_name(one.scorer)} {one.failed}" for one in model.scores if one.failed]
        if missing:
            found.append(f"Answers of {in_sentence(model.label)} without a score: {', '.join(missing)}.")
    return found


def foreign(facts: Facts) -> list[str]:
    """Validations of reports that are not on the page."""
    return [
        f"The validation of {one.label} is of a report that is not shown here."
        for one in facts.validations
        if not one.is_shown
    ]


def slice_text(part: SliceFacts) -> str:
    """'length: longest quarter'."""
    return f"{words(part.key)}: {part.part}"


def leaks(data: DataFacts) -> bool:
    """Whether two splits share a row or a group."""
    return any(overlap.num_rows or overlap.num_groups for overlap in data.overlaps)


def leak_note(facts: Facts) -> str:
    """Whether the splits share anything."""
    if leaks(facts.data):
        return "The splits share rows or groups: the scores above are too good to be believed."
    return "No row and no near-duplicate group of the test split is in the training or validation split."


def other_data_notes(facts: Facts) -> list[str]:
    """Folders that were made from another data set than the one on the page."""
    here = facts.origins[0].id
    found = [
        f"{model.label} was tested on other items than this data set's: its numbers do not belong here."
        for model in facts.models
        if here not in model.suite_ids
    ]
    if facts.run and facts.run.data_id not in (None, here):
        found.append("The run was trained on another data set than the one shown here.")
    return found


def headline(facts: Facts) -> str:
    """Two or three words above the verdict."""
    return HEADINGS[facts.comparison.outcome] if facts.comparison else "Results"


def regressions(facts: Facts, *, limit: int) -> list[Sample]:
    """Items that the first model had right and the second has wrong."""
    pair = answers.named(facts.comparison, facts.models)
    if pair is None or facts.comparison is None:
        return []
    return answers.chosen(facts.comparison.regressions, pair[1], limit)


def fixes(facts: Facts, *, limit: int) -> list[Sample]:
    """Items that the first model had wrong and the second has right."""
    pair = answers.named(facts.comparison, facts.models)
    if pair is None or facts.comparison is None:
        return []
    return answers.chosen(facts.comparison.fixes, pair[1], limit)
