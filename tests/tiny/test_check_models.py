"""Checks that ask the model: faults of the template, of lengths and of pairs are found; good rows are not."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from folders import address
from tiny_models import CHATML, tiny_model_folder

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.data.check.models.bench import Bench, Losses, PairLoss, as_conversation
from tunesmith.data.check.models.checks import CHECKS, above_the_others
from tunesmith.data.check.models.rendering import unlearned_ends, wrong_spans
from tunesmith.data.check.port import Context, Fact, Finding, Looked, Options
from tunesmith.data.check.sample import Sample
from tunesmith.data.corpus import Corpus, corpus_of
from tunesmith.runtime.catalogue import locate
from tunesmith.runtime.step import Encoded

BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


def bench_of(corpus: Corpus, model: Path, job: Job, **options) -> Bench:
    settings = Options(model=str(model), **{"budget_seconds": 0, **options})
    recipe = Recipe(model=str(model), data="nowhere", max_length=settings.max_length)
    return Bench(corpus, settings, recipe, locate(str(model), job, needs_template=False), job)


def said(
    name: str, examples: list[Example], model: Path, job: Job, threshold: float | None = None, **options
):
    """What a check says of some rows."""
    check = BY_NAME[name]
    with corpus_of(examples) as corpus:
        bench = bench_of(corpus, model, job, **options)
        context = Context(corpus, bench.options, job, vectors=lambda text: None, bench=lambda: bench)
        return list(check.whole(context, check.threshold if threshold is None else threshold))


def findings_of(*args, **options) -> list[Finding]:
    return [part for part in said(*args, **options) if isinstance(part, Finding)]


def found(*args, **options) -> list[int]:
    return [part.position for part in findings_of(*args, **options)]


def facts(*args, **options) -> dict[str, object]:
    return {part.name: part.value for part in said(*args, **options) if isinstance(part, Fact)}


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - {"odd_answers", "odd_pairs", "mismatched_pairs"}))
def test_nothing_is_found_in_good_rows(name, model, job):
    good = [address(at) for at in range(6)]
    good.append(Example((Message("text", "plain words"),)))
    assert found(name, good, model, job) == []


def test_a_row_that_the_template_cannot_write_is_found_with_the_reason(model, job):
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    rows = [address(1), Example(address(2).messages, tools=(tool,))]
    findings = findings_of("not_renderable", rows, model, job)
    assert [part.position for part in findings] == [1]
    assert "tools" in findings[0].evidence["text"]


def test_a_row_without_a_learned_token_is_found(model, job):
    silent = Example((Message("user", "a"), Message("assistant", "b", weight=0)))
    assert found("nothing_learned", [address(1), silent], model, job) == [1]


def test_control_tokens_in_the_text_are_found(model, job):
    rows = [address(1), chat([("user", "hello <|im_end|> there"), ("assistant", "yes")])]
    findings = [
        part for part in said("special_tokens_in_text", rows, model, job) if isinstance(part, Finding)
    ]
    assert [(part.position, part.value) for part in findings] == [(1, "<|im_end|>")]
    assert findings[0].evidence["pointer"] == "/messages/0/content"


def test_a_second_begin_token_is_found(job, tmp_path):
    twice = tiny_model_folder(tmp_path / "twice", template="{{ '<|im_start|>' }}" + CHATML)
    assert found("double_begin", [address(1)], twice, job) == [0]


def test_a_template_without_an_end_is_found(job, tmp_path):
    endless = tiny_model_folder(tmp_path / "endless", template=CHATML.replace("<|im_end|>", "."))
    assert found("not_renderable", [address(1)], endless, job) == [0]


def doctored(model: Path, job: Job, change: Callable[[list[float]], list[float]]):
    """A right row, its tokens with other weights, and the encoder that read it."""
    row = chat([("user", "where is it"), ("assistant", "over there")])
    with corpus_of([row]) as corpus:
        encoder = bench_of(corpus, model, job).encoder
    encoded = encoder.encode(row, key="0")
    return row, Encoded(encoded.token_ids, tuple(change(list(encoded.weights)))), encoder


def last_learned_off(weights: list[float]) -> list[float]:
    last = max(at for at, weight in enumerate(weights) if weight)
    return [0.0 if at == last else weight for at, weight in enumerate(weights)]


def test_an_end_that_is_not_learned_would_be_found(model, job):
    assert list(unlearned_ends(0, *doctored(model, job, list))) == []
    (found,) = unlearned_ends(0, *doctored(model, job, last_learned_off))
    assert (found.severity, found.value) == ("error", 1)
    assert "1 answer to be learned, and 0 ends of them" in found.evidence["text"]


def test_a_loss_on_the_wrong_tokens_would_be_found(model, job):
    assert list(wrong_spans(0, *doctored(model, job, list))) == []
    (found,) = wrong_spans(0, *doctored(model, job, lambda weights: [1.0, *weights[1:]]))
    assert found.severity == "error"
    assert "from token 0 on" in found.evidence["text"]


def test_an_answer_that_is_cut_is_found_with_its_share(model, job):
    rows = [chat([("user", "q"), ("assistant", "a" * 100)]), chat([("user", "q"), ("assistant", "a")])]
    findings = [
        part for part in said("answer_cut", rows, model, job, max_length=80) if isinstance(part, Finding)
    ]
    assert [part.position for part in findings] == [0]
    assert 0.3 < findings[0].value < 0.8
    assert found("answer_cut", rows, model, job, threshold=0.9, max_length=80) == []


def test_lengths_are_counted_in_the_model_s_own_tokens(model, job):
    rows = [chat([("user", "q" * size), ("assistant", "a")]) for size in (10, 20, 400)]
    measured = facts("token_lengths", rows, model, job, max_length=100)
    assert sum(measured["histogram"]["counts"]) == 3
    assert measured["share_over_limit"] == pytest.approx(1 / 3)
    assert found("token_lengths", rows, model, job, max_length=100) == [None]
    # the limit is never above what the model can read (512 tokens)
    assert facts("token_lengths", rows, model, job, max_length=10_000)["limit"] == 512


def test_the_ratio_is_the_loss_with_the_prompt_over_the_loss_without(model, job):
    from tunesmith.runtime.models import load_for_inference
    from tunesmith.runtime.render import render, render_prompt
    from tunesmith.runtime.sampling.open import open_sampler
    from tunesmith.runtime.score import ScoreItem, score

    row = chat([("system", "Be short."), ("user", "where is it"), ("assistant", "over there")])
    stranger = chat([("user", "how much"), ("assistant", "two")])
    with corpus_of([row, Example((Message("text", "a document"),)), stranger]) as corpus:
        losses = bench_of(corpus, model, job).losses
    assert losses.by_row[1].alone is None
    assert losses.by_row[1].elsewhere is None
    loaded = load_for_inference(model)
    whole = list(render(row, loaded.tokenizer).token_ids)
    start = len(render_prompt(row.messages[:2], loaded.tokenizer))
    stop = start + len("over there") + 1
    lead = loaded.tokenizer.encode("<|im_start|>assistant\n")
    behind = render_prompt(stranger.prompt, loaded.tokenizer)
    items = [
        ScoreItem(tuple(whole[:stop]), start),
        ScoreItem((*lead, *whole[start:stop]), len(lead)),
        ScoreItem((*behind, *whole[start:stop]), len(behind)),
    ]
    given, alone, elsewhere = score(open_sampler(loaded), items)
    assert losses.by_row[0].given == pytest.approx(-given.mean, rel=1e-4)
    assert losses.by_row[0].alone == pytest.approx(-alone.mean, rel=1e-4)
    assert losses.by_row[0].elsewhere == pytest.approx(-elsewhere.mean, rel=1e-4)
    assert losses.by_row[0].num_tokens == stop - start


def test_rows_that_cannot_be_judged_are_counted(model, job):
    rows = [
        address(1),
        Example((Message("text", "a document"),)),
        chat([("user", "q" * 600), ("assistant", "a")]),
    ]
    measured = facts("mismatched_pairs", rows, model, job)
    assert measured["rows_judged"] == 1
    assert measured["rows_not_judged"] == 2


def test_a_sample_says_how_many_rows_were_looked_at(model, job):
    rows = [address(at) for at in range(40)]
    looked = [part.rows for part in said("token_lengths", rows, model, job) if isinstance(part, Looked)]
    assert looked == [40]
    looked = [
        part.rows
        for part in said("token_lengths", rows, model, job, budget_seconds=1e-9)
        if isinstance(part, Looked)
    ]
    assert looked == [8]


def test_an_answer_unlike_all_others_is_found(model, job):
    rows = [chat([("user", f"number {at}"), ("assistant", "ab" * 20)]) for at in range(30)]
    values = [
        part for part in said("odd_answers", rows, model, job, threshold=-100.0) if isinstance(part, Finding)
    ]
    assert {part.severity for part in values} == {"note"}
    assert [part.position for part in values] == list(range(30))
    measured = facts("odd_answers", rows, model, job)
    assert measured["median_loss"] > 0


def said_of_losses(*losses: PairLoss) -> list:
    """What `odd_pairs` says of rows that cost a model so much."""
    found = Losses(Sample(np.arange(len(losses)), len(losses)), dict(enumerate(losses)), num_not_judged=0)
    check = BY_NAME["odd_pairs"]
    with corpus_of([address(at) for at in range(len(losses))]) as corpus:
        context = Context(corpus, Options(), None, vectors=None, bench=lambda: SimpleNamespace(losses=found))
        return list(check.whole(context, check.threshold))


def test_an_answer_that_another_row_s_prompt_explains_as_well_is_found_where_prompts_help():
    said_of = said_of_losses(*[PairLoss(1.0, 2.0, 1.8, 9)] * 30, PairLoss(1.8, 2.0, 1.8, 9))
    findings = [part for part in said_of if isinstance(part, Finding)]
    assert [(part.position, part.value, part.severity) for part in findings] == [(30, 1.0, "warning")]
    assert (
        "1.80 nats a token behind its own prompt, 1.80 behind another row's" in findings[0].evidence["text"]
    )
    assert Looked(31) in said_of


def test_where_prompts_hardly_help_no_pair_is_called_odd():
    said_of = said_of_losses(*[PairLoss(1.7, 2.0, 1.8, 9)] * 30, PairLoss(1.8, 2.0, 1.8, 9))
    assert not [part for part in said_of if isinstance(part, Finding)]
    assert Looked(0) in said_of


def test_rows_without_another_prompt_to_stand_behind_are_no_pairs():
    assert Looked(0) in said_of_losses(*[PairLoss(1.0, None, None, 9)] * 30)


def test_what_is_far_above_the_others_is_found_on_the_scale_of_ratios():
    values = {at: 0.3 + 0.001 * at for at in range(40)} | {40: 0.9}
    assert [position for position, _, _ in above_the_others(values, 3.5)] == [40]
    assert list(above_the_others(dict.fromkeys(range(40), 0.3), 3.5)) == []
    assert list(above_the_others({0: 0.3, 1: 9.0}, 3.5)) == []


def test_a_pair_is_rendered_with_its_better_answer():
    asked, good, bad = Message("user", "q"), Message("assistant", "yes"), Message("assistant", "no")
    pair = Example((asked,), chosen=(good,), rejected=(bad,))
    assert as_conversation(pair) == Example((asked, good))
