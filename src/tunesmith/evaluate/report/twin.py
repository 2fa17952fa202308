"""From facts to Markdown: the page's twin for pull requests, issues and terminals."""

from collections.abc import Iterator, Sequence
from itertools import chain

from markupsafe import Markup

from tunesmith.core.page import markdown, numbers
from tunesmith.core.page.markdown import bold, bullets, code, fenced, heading, joined, table
from tunesmith.evaluate.report import answers, charts, notes, notes_judge, notes_repeats, notes_speed
from tunesmith.evaluate.report.facts import ComparisonFacts, Facts
from tunesmith.evaluate.report.facts_judge import RankingFacts, ValidationFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Sample

SHOWN_CHANGED = 5
NONE = "None."

Blocks = Iterator[str]


def render(facts: Facts) -> str:
    """The whole text.  Every value is escaped on its way into it."""
    parts = (
        top,
        results,
        changed,
        speed,
        repeats,
        judge,
        data,
        training,
        kept,
        hard,
        validity,
        provenance,
        reproduce,
    )
    return markdown.page(chain.from_iterable(part(facts) for part in parts))


def top(facts: Facts) -> Blocks:
    """What it is about, and the verdict box."""
    yield heading(1, facts.title)
    run = joined(", run", bold(facts.run.name)) if facts.run else ""
    yield Markup(f"{joined('Data set', bold(facts.data.name))}{run}.")  # noqa: S704  escaped
    sentence = joined(bold(f"{notes.headline(facts)}."), notes.verdict(facts))
    yield Markup(f"> {sentence}")  # noqa: S704  escaped


def results(facts: Facts) -> Blocks:
    """Scores, what a rule says, the paired difference, slices."""
    yield heading(2, "How the models compare")
    if not facts.models:
        yield "No model was evaluated."
        return
    yield scores(facts.models)
    yield bullets(notes.calibrations(facts.models))
    if facts.rule is not None:
        yield heading(3, f"By the rule: {notes.ruled(facts.rule)}")
        yield bullets([f"{'✓' if holds else '✗'} {sentence}" for holds, sentence in facts.rule.conditions])
    compared = facts.comparison
    if compared is None or not compared.differences:
        yield "No comparison was given."
        return
    yield heading(3, notes.minus(compared))
    items = numbers.count(compared.num_items)
    yield f"{items} items that both answered, paired; shares in percentage points."
    yield differences(compared)
    if compared.slices:
        yield heading(3, f"By slice: {notes.scorer_name(compared.primary).lower()}")
        yield from slices(compared)


def scores(models: Sequence[ModelFacts]) -> Markup:
    """Every score of every model with its interval."""
    rows = []
    for scorer in notes.scorers(models):
        found = [model.score(scorer) for model in models]
        cells = [notes.percent_with_range(score) if score else numbers.NOT_MEASURED for score in found]
        rows.append([notes.scorer_name(scorer), *cells])
    rows.append(["Items", *(numbers.count(len(model.samples)) for model in models)])
    return table(["Score", *(model.label for model in models)], rows)


def differences(compared: ComparisonFacts) -> Markup:
    """Second minus first, every scorer."""
    rows = [
        [
            notes.scorer_name(part.scorer) + (" (decides)" if part.scorer == compared.primary else ""),
            numbers.gap(part.value, part.kind),
            charts.gap_range(part),
            numbers.p_value(part.p_value),
        ]
        for part in compared.differences
    ]
    return table(["Score", "Difference", "95 % interval", "p"], rows)


def slices(compared: ComparisonFacts) -> Blocks:
    """The deciding difference on parts of the items."""
    kind = compared.main.kind if compared.main else "unit"
    rows = [
        [
            notes.slice_text(part),
            numbers.count(part.num_items),
            numbers.gap(part.value, kind),
            f"{numbers.gap(part.low, kind)} to {numbers.gap(part.high, kind)}",
            numbers.p_value(part.p_value),
        ]
        for part in compared.slices
    ]
    yield table(["Part", "Items", "Difference", "95 % interval", "p"], rows)
    yield f"p is corrected for {len(compared.slices)} looks."


def changed(facts: Facts) -> Blocks:
    """Regressions and fixes: how many, and the first few with both answers."""
    yield heading(2, "Right and wrong answers")
    compared, pair = facts.comparison, answers.named(facts.comparison, facts.models)
    if compared is None:
        yield "No comparison was given, so regressions and fixes are not known."
        return
    if pair is not None:
        parts = charts.outcomes(*pair, compared)
        yield table([part.label for part in parts], [[numbers.count(part.amount) for part in parts]], words=0)
    for title, keys in (("Regressions", compared.regressions), ("Fixes", compared.fixes)):
        yield heading(3, f"{title}: {numbers.count(len(keys))}")
        if pair is None or not keys:
            yield NONE if not keys else "Their answers stand in reports that were not given."
            continue
        if len(keys) > SHOWN_CHANGED:
            yield f"The first {SHOWN_CHANGED} of them."
        yield both_answers(*pair, keys[:SHOWN_CHANGED])


def both_answers(first: ModelFacts, second: ModelFacts, keys: Sequence[str]) -> Markup:
    """Questions with the right answer and what two models said."""
    rows = []
    for key in keys:
        before, after = first.samples.get(key), second.samples.get(key)
        shown = before or after
        if shown is not None:
            cells = code(shown.question, cell=True), code(shown.gold, cell=True)
            rows.append([*cells, said(before), said(after)])
    return table(["Question", "Right answer", first.label, second.label], rows, words=4)


def said(sample: Sample | None) -> Markup:
    """What a model answered."""
    if sample is None:
        return markdown.text(numbers.NOT_MEASURED)
    if sample.error:
        return joined("no answer:", code(sample.error, cell=True))
    return joined(code(sample.output, cell=True), "(cut)" if sample.finish_reason == "length" else "")


def speed(facts: Facts) -> Blocks:
    """What answers cost."""
    yield heading(2, "Latency and cost")
    models = facts.models
    if notes_speed.any_answers(models):
        head = ["Model", "Median", "95 % within", "Tokens a second", "Tokens in, mean", "Tokens out, mean"]
        yield table([*head, "Cut", "Failed"], [speed_row(model) for model in models])
        yield from notes_speed.reading(models)
        yield notes_speed.totals(models)
    else:
        yield "No model was asked for an answer."
    if facts.run is not None:
        yield notes_speed.training(facts.run)


def speed_row(model: ModelFacts) -> list[str]:
    """One model's seconds, tokens, cut and failed answers."""
    found = model.speed
    times = [
        numbers.seconds(found.median_seconds),
        numbers.seconds(found.late_seconds),
        notes_speed.rate(found),
    ]
    tokens = [notes_speed.tokens(total, found) for total in (found.prompt_tokens, found.answer_tokens)]
    shares = [
        notes.percent_with_range(part) if part else numbers.NOT_MEASURED for part in (found.cut, found.failed)
    ]
    return [model.label, *times, *tokens, *shares]


def repeats(facts: Facts) -> Blocks:
    """What several answers to each item say."""
    yield heading(2, "Repeats")
    models = notes_repeats.repeated(facts.models)
    if not models:
        yield "Each item was asked once: how much answers flicker is not known."
        return
    for model in models:
        yield heading(3, model.label)
        yield repeats_table(model)
        drawn = notes_repeats.deciding(model)
        if drawn is not None:
            rows = [
                ["At least one right (pass@k)", *(numbers.percent(one.any_right) for one in drawn.passes)],
                ["All right (pass^k)", *(numbers.percent(one.all_right) for one in drawn.passes)],
            ]
            yield table(["k", *(str(one.k) for one in drawn.passes)], rows)
        if model.flaky:
            yield f"{notes_repeats.flaky(model)}:"
            shown = model.flaky[:SHOWN_CHANGED]
            yield bullets(joined(code(one.question), f"{notes_repeats.settled(one)}") for one in shown)
    yield notes_repeats.READING


def repeats_table(model: ModelFacts) -> Markup:
    """Every score that has repeats."""
    rows = [
        [
            notes.scorer_name(score.scorer),
            str(found.number),
            *(numbers.figure(value, score.kind) for value in (score.value, found.any_right, found.all_right)),
            notes_repeats.variance(found),
            f"{numbers.count(found.flaky)} of {numbers.count(score.num_items)}",
        ]
        for score, found in notes_repeats.scores(model)
    ]
    head = ["Score", "Answers", "Mean of one", "Highest", "Lowest", "Variance within items", "Flaky items"]
    return table(head, rows)


def judge(facts: Facts) -> Blocks:
    """People against the judge, and answers two by two."""
    yield heading(2, "Judge and people")
    yield bullets(notes_judge.asked(one) for one in notes_judge.judges(facts))
    yield notes_judge.unchecked(facts)
    if not (notes_judge.judges(facts) or facts.validations or facts.ranking):
        yield "No judge was asked, and no person looked at the answers."
    for one in facts.validations:
        yield heading(3, f"{one.label}: {notes.scorer_name(one.judge).lower()} against people")
        yield notes_judge.believed(one)
        rows = [
            [joined(bold(name), meaning), notes.percent_with_range(score)]
            for name, meaning, score in notes_judge.estimates(one)
        ]
        yield table(["By", "Accepted"], rows)
        yield notes_judge.basis(one)
        yield confusion(one)
        kappa, ac1 = notes_judge.coefficient(one.kappa), notes_judge.coefficient(one.ac1)
        yield bullets(
            [f"Cohen’s kappa {kappa}, Gwet’s AC1 {ac1}.", notes_judge.errors(one), notes_judge.length(one)]
        )
    if facts.ranking is not None:
        yield from ranking(facts.ranking)


def confusion(one: ValidationFacts) -> Markup:
    """Verdicts of people and of the score."""
    rows = [
        ["People accept", numbers.count(one.both_right), numbers.count(one.too_strict)],
        ["People refuse", numbers.count(one.too_kind), numbers.count(one.both_wrong)],
    ]
    return table(["", "It says right", "It says wrong"], rows)


def ranking(found: RankingFacts) -> Blocks:
    """The models in order, and what order and length do."""
    by = found.decided_by if found.by_judge else notes.scorer_name(found.decided_by).lower()
    yield heading(3, f"Two by two, by {by}")
    yield notes_judge.order(found)
    rows = [
        [
            one.label,
            notes_judge.places(one.best_rank, one.worst_rank),
            notes_judge.strength(one.strength),
            f"{notes_judge.strength(one.low)} to {notes_judge.strength(one.high)}",
            *(numbers.count(number) for number in (one.wins, one.ties, one.losses)),
        ]
        for one in found.ranked
    ]
    yield table(["Model", "Rank", "Strength", "95 % interval", "Won", "Tied", "Lost"], rows)
    yield notes_judge.compared(found)
    style = [notes_judge.style(found)] if found.style else []
    yield bullets([notes_judge.position(found), notes_judge.longer(found), *style])


def data(facts: Facts) -> Blocks:
    """Splits, what became of every row, leaks."""
    found = facts.data
    yield heading(2, "The data")
    rows = [
        [split.name.replace("_", " "), numbers.count(split.num_rows), numbers.count(split.num_groups)]
        for split in found.splits
    ]
    yield table(["Split", "Rows", "Groups"], rows)
    accounts = [f"{notes.ACCOUNTS[name]}: {numbers.count(number)}" for name, number in found.accounting]
    yield bullets([f"Rows read: {numbers.count(found.num_rows)}", *accounts, *found.findings])
    if notes.leaks(found):
        yield bold("The splits share rows or groups.")


def training(facts: Facts) -> Blocks:
    """What was decided, and what the run cost."""
    yield heading(2, "Training")
    yield facts.plan.sentence if facts.plan else "No plan was given."
    run = facts.run
    if run is None:
        yield "No run was given."
        return
    yield notes.trained(run)
    if run.best is not None:
        loss = f"{run.best.loss:.4f} at step {numbers.count(run.best.step)}"
        yield f"Best checkpoint, the one that is kept: validation loss {loss}."


def kept(facts: Facts) -> Blocks:
    """What the training cost elsewhere."""
    yield heading(2, "What was kept")
    if facts.retention is None:
        yield "What the training cost elsewhere was not measured."
        return
    yield notes.kept(facts.retention)
    if facts.retention.slices:
        yield from slices(facts.retention)


def hard(facts: Facts) -> Blocks:
    """The second, harder set."""
    if facts.hard:
        yield heading(2, "Hard test set")
        yield scores(facts.hard)


def validity(facts: Facts) -> Blocks:
    """What the results rest on and what was not measured."""
    yield heading(2, "Validity")
    yield bullets(notes.validity(facts))


def provenance(facts: Facts) -> Blocks:
    """Folders by content, versions, machine."""
    yield heading(2, "Provenance")
    rows = [
        [
            code(origin.folder, cell=True),
            origin.kind,
            code(origin.id[:12], cell=True),
            origin.created.replace("T", " ").replace("+00:00", " UTC"),
        ]
        for origin in facts.origins
    ]
    yield table(["Folder", "Kind", "Id", "Made"], rows, words=4)
    yield ", ".join(f"{package} {version}" for package, version in notes.versions(facts))


def reproduce(facts: Facts) -> Blocks:
    """The commands that make it again."""
    yield heading(2, "Reproduce")
    if facts.reproduce:
        yield fenced("\n".join(facts.reproduce), "bash")
    yield notes.COMMANDS
    if notes.needs_address(facts):
        yield notes.ADDRESS
    # A name with a line end in it must not become a command.
    lines = [f"# {' '.join(one.stage.split())}\n{one.line}" for one in facts.commands]
    yield fenced("\n".join(lines), "bash")
