import numpy as np
import pytest
import torch
from folders import address, data_set
from tiny_models import tiny_model_folder

from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.files import write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.data.clean import CleanConfig, clean
from tunesmith.data.corpus import corpus_of
from tunesmith.data.select import SelectConfig, select
from tunesmith.data.select.model_scores import likeness_to, scores_of
from tunesmith.runtime.models import load_model

ROWS = [address(n) for n in range(100, 112)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def job(tmp_path):
    return Job(Workspace(tmp_path / "workspace"))


def mean_loss(loaded, ids, weights):
    """Plain loss of the learned tokens of one row."""
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    learned = [at for at, weight in enumerate(weights) if at and weight]
    return -float(np.mean([float(logits[at - 1, ids[at]]) for at in learned]))


def test_perplexity_is_that_of_the_plain_forward(model, job):
    with corpus_of(ROWS[:3]) as corpus:
        found = scores_of("perplexity", corpus, str(model), 512, 0, job)
    from tunesmith.data.select.model_scores import bench_on

    loaded = load_model(model)
    with corpus_of(ROWS[:3]) as corpus:
        encoder = bench_on(corpus, str(model), 512, 0, job).encoder
    for row, score in zip(ROWS, found.tolist(), strict=False):
        encoded = encoder.encode(row, key="0")
        loss = mean_loss(loaded, list(encoded.token_ids), list(encoded.weights))
        assert 1 / score == pytest.approx(np.exp(loss), rel=0.05)


def test_a_choice_by_difficulty_is_made_of_the_difficulties(model, job):
    data = data_set(job, {"train": ROWS, "test": [address(1)]})
    with corpus_of(ROWS) as corpus:
        scores = scores_of("ifd", corpus, str(model), 512, 0, job)
    assert np.isfinite(scores).all()
    assert (scores > 0).all()
    usable = int((scores <= 1).sum())
    config = SelectConfig(data=data, rows=max(1, usable), by="ifd", model=str(model), embeddings="words")
    if not usable:
        with pytest.raises(DataError, match="difficulty"):
            select(config, job)
        return
    chosen = DataSet.open(select(config, job).folder)
    wanted = {ROWS[place].row_hash for place in np.argsort(-np.where(scores <= 1, scores, -1))[:usable]}
    assert {row.row_hash for row in chosen.rows("train")} == wanted


def test_hidden_states_find_the_rows_that_are_like_the_target(model, job, tmp_path):
    digits = [chat([("user", f"{n} {n + 1} {n + 2}"), ("assistant", f"{n + 3}")]) for n in range(10, 16)]
    words = [
        chat([("user", f"tell me about the {thing} over there"), ("assistant", "it is quite an old one")])
        for thing in ("house", "garden", "river", "bridge", "tower", "market")
    ]
    with corpus_of(digits + words) as corpus, corpus_of([digits[2]]) as targets:
        found = likeness_to(targets, corpus, str(model), 512, 0, job)
    assert found.shape == (1, 12)
    assert int(found.argmax()) == 2
    assert found[0, :6].mean() > found[0, 6:].mean()
    data = data_set(job, {"train": digits + words})
    target = tmp_path / "target.jsonl"
    write_jsonl(target, [digits[1].to_json(), digits[4].to_json()])
    config = SelectConfig(data=data, rows=4, by="rds", model=str(model), target=target, embeddings="words")
    chosen = {row.row_hash for row in DataSet.open(select(config, job).folder).rows("train")}
    assert len(chosen & {row.row_hash for row in digits}) >= 3


def test_the_target_of_a_data_set_is_its_validation_split(model, job):
    data = data_set(job, {"train": ROWS, "validation": [], "test": [address(1)]})
    config = SelectConfig(data=data, rows=2, by="rds", model=str(model), target=data, embeddings="words")
    with pytest.raises(DataError, match="no target row"):
        select(config, job)


def test_rows_beyond_a_number_of_tokens_are_dropped(model, job):
    rows = [*ROWS, chat([("user", "x " * 200), ("assistant", "y")])]
    data = data_set(job, {"train": rows})
    result = clean(CleanConfig(data=data, step=(f"drop-too-long max_tokens=200 model={model}",)), job)
    assert result.dropped == 1
    with pytest.raises(ModelError, match="no tokenizer"):
        clean(CleanConfig(data=data, step=("drop-too-long max_tokens=200 model=fake",)), job)
