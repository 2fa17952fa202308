import io
import json
from functools import partial

import numpy as np
import pytest
from folders import address, data_set
from rich.console import Console

from tunesmith.cli.show_ablate import show_ablate
from tunesmith.core.conversation import chat
from tunesmith.core.errors import DataError, StepFailed
from tunesmith.core.files import read_json, write_json
from tunesmith.core.workspace import Input, Manifest
from tunesmith.data.ablate import AblateConfig, AblateResult, ablate
from tunesmith.data.ablate import door as ablating
from tunesmith.data.ablate import measure as measuring
from tunesmith.data.ablate.statistics import crossed_interval

TRAIN = [address(n) for n in range(100, 160)]
TEST = [address(n) for n in range(40)]


@pytest.fixture
def sets(job):
    data = data_set(job, {"train": TRAIN, "test": TEST}, name="all")
    return data, data_set(job, {"train": TRAIN[:20], "test": TEST}, name="some")


@pytest.fixture
def steps(job, monkeypatch):
    """Replaces step processes: a run is a folder, and an answer is right as often as a function says."""

    def install(share):
        done = []
        draw = np.random.default_rng(0)

        def run(step, inner):
            made = job.workspace.root / "made" / f"{step.verb.replace(' ', '-')}-{len(done)}"
            done.append((step.verb, step.name))
            if step.verb == "data select":
                return {"folder": str(data_set(job, {"train": TRAIN[20:40], "test": TEST}, name=made.name))}
            if step.verb == "train":
                return {"folder": str(made), "tokens": 1000}
            arm = step.name.split()[2].rstrip(",")
            scores = [float(draw.random() < share[arm]) for _ in TEST]
            samples = [
                {"id": row.row_hash, "scores": dict.fromkeys(step.config["scorers"], score)}
                for row, score in zip(TEST, scores, strict=True)
            ]
            made.mkdir(parents=True)
            (made / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
            return {"folder": str(made)}

        monkeypatch.setattr(ablating, "run_step", run)
        monkeypatch.setattr(measuring, "run_step", run)
        return done

    return install


def config(sets, **settings):
    return AblateConfig(data=sets[0], selected=sets[1], **{"model": "fake", "tokens": 4096, **settings})


def test_a_selection_that_trains_better_is_said_to_help_with_its_interval(job, sets, steps):
    done = steps({"all": 0.3, "random": 0.2, "selected": 0.9})
    result = ablate(config(sets), job)
    assert result.verdict == "helped"
    first = result.differences[0]
    assert (first.measure, first.against, first.items) == ("exact_json", "random", 40)
    assert 0 < first.low < first.value < first.high
    assert result.sentence.startswith(
        "The selection helped: against as many random rows exact_json higher by"
    )
    assert [verb for verb, _ in done].count("train") == 9
    assert [verb for verb, _ in done].count("data select") == 3
    assert [(arm.name, arm.rows) for arm in result.arms] == [("all", 60), ("random", 20), ("selected", 20)]
    manifest = Manifest.read(result.folder)
    assert manifest.kind == "ablation"
    assert AblateResult(**AblateResult.fields_from(manifest.summary, result.folder)) == result
    console = Console(width=110, file=io.StringIO())
    show_ablate(result, console)
    assert "helped" in console.file.getvalue()


@pytest.mark.parametrize(("selected", "verdict"), [(0.5, "no measurable gain"), (0.05, "hurt")])
def test_no_difference_and_a_worse_selection_are_named_so(job, sets, steps, selected, verdict):
    steps({"all": 0.5, "random": 0.6 if selected == 0.05 else 0.5, "selected": selected})
    assert ablate(config(sets), job).verdict == verdict


def test_every_run_has_the_same_recipe_but_for_its_rows_and_seed(job, sets, steps):
    steps({"all": 0.5, "random": 0.5, "selected": 0.5})
    result = ablate(config(sets, seeds=2, step_tokens=512), job)
    recipes = [path.read_text() for path in sorted((result.folder / "recipes").iterdir())]
    assert len(recipes) == 6
    for text in recipes:
        assert "max_steps: 8" in text
        assert "step_tokens: 512" in text
        assert "engine: fake" in text
    assert sum("seed: 1" in text for text in recipes) == 3


def test_an_ablation_that_was_cut_keeps_its_losses_and_goes_on(job, sets, steps, monkeypatch):
    steps({"all": 0.5, "random": 0.5, "selected": 0.5})
    asked = []

    def losses(run, rows, max_length, file, inner, *, fail_at):
        if file.exists():
            return read_json(file)
        asked.append(file.name)
        if len(asked) == fail_at:
            raise StepFailed("stopped")
        better = 0.5 if file.name.startswith("selected") else 0.0
        found = {row.row_hash: 1.0 + 0.01 * place - better for place, row in enumerate(rows)}
        write_json(file, found)
        return found

    located = ablating.locate("fake", job)
    real = type(located)("real", "folder", job.workspace.root, "id")
    monkeypatch.setattr(ablating, "locate", lambda ref, inner: real)
    monkeypatch.setattr(type(real), "as_input", lambda self, role="model": Input(role, "model", "id", "x"))
    monkeypatch.setattr(ablating, "losses", partial(losses, fail_at=4))
    with pytest.raises(StepFailed):
        ablate(config(sets, seeds=2, answers=0), job)
    monkeypatch.setattr(ablating, "losses", partial(losses, fail_at=-1))
    result = ablate(config(sets, seeds=2, answers=0), job)
    assert asked == [
        "all-0.json", "random-0.json", "selected-0.json", "all-1.json",
        "all-1.json", "random-1.json", "selected-1.json",
    ]  # fmt: skip
    assert result.differences[0].measure == "loss"
    assert result.differences[0].value == pytest.approx(0.5)
    assert result.verdict == "helped"
    assert result.arms[0].loss == pytest.approx(1.195)


def test_losses_that_were_measured_are_not_measured_again(job, tmp_path):
    write_json(tmp_path / "all-0.json", {"a": 1.5})
    assert measuring.losses(tmp_path / "no run", [], 8, tmp_path / "all-0.json", job) == {"a": 1.5}


def test_sets_that_cannot_be_compared_are_refused(job, sets):
    other = data_set(job, {"train": TRAIN[:5], "test": TEST[:30]}, name="other")
    with pytest.raises(DataError, match="test splits differ"):
        ablate(config((sets[0], other)), job)
    with pytest.raises(DataError, match="no fewer training rows"):
        ablate(config((sets[1], sets[0])), job)
    bare = data_set(job, {"train": TRAIN}, name="bare")
    with pytest.raises(DataError, match="no test row"):
        ablate(config((bare, bare)), job)


def test_free_text_without_losses_has_nothing_to_measure(job, steps):
    steps({"all": 0.5, "random": 0.5, "selected": 0.5})
    rows = [chat([("user", f"q {n}"), ("assistant", "a long free text " * 9 + str(n))]) for n in range(60)]
    data = data_set(job, {"train": rows[:30], "test": rows[30:]}, name="texts")
    some = data_set(job, {"train": rows[:9], "test": rows[30:]}, name="some-texts")
    with pytest.raises(DataError, match="nothing to measure"):
        ablate(config((data, some), seeds=1), job)


# --- the interval ---


def covers(draws, seeds, items, seed_spread, item_spread, *, size=1):
    draw = np.random.default_rng(seeds)
    groups = [number // size for number in range(items)]
    hits = 0
    for _ in range(draws):
        by_item = np.repeat(draw.normal(0, item_spread, items // size), size)
        by_seed = draw.normal(0, seed_spread, (seeds, 1))
        found = crossed_interval(by_seed + by_item + draw.normal(0, 1, (seeds, items)), groups)
        hits += found.low <= 0 <= found.high
    return hits / draws


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("seed_spread", "item_spread", "size"), [(0, 1, 1), (0.5, 0, 1), (0.5, 1, 1), (0, 1, 3)]
)
def test_the_interval_covers_other_seeds_and_other_items(seeds, seed_spread, item_spread, size):
    if seeds == 1:
        seed_spread = 0  # one seed says nothing about others
    assert covers(300, seeds, 60, seed_spread, item_spread, size=size) >= 0.93


def test_seeds_that_disagree_make_it_wide_and_agreeing_ones_do_not():
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 80))
    agree = crossed_interval(0.5 + noise, range(80))
    differ = crossed_interval(np.array([[0.0], [0.5], [1.0]]) + noise, range(80))
    assert agree.low > 0.4
    assert differ.low < 0 < differ.high


def test_the_value_is_the_mean_over_items_whatever_the_groups():
    values = np.random.default_rng(0).normal(size=(3, 10))
    found = crossed_interval(values, [0, 0, 0, 0, 0, 0, 1, 2, 3, 3])
    assert found.value == pytest.approx(values.mean())
    assert (found.items, found.groups, found.seeds) == (10, 4, 3)
