"""Weights that `data balance` writes are what training sees."""

from collections import Counter

import numpy as np
import pytest
from folders import data_set

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.recipe import Recipe
from tunesmith.data.select import BalanceConfig, balance
from tunesmith.runtime.step import Encoded
from tunesmith.train.corpus import Limits, open_corpus
from tunesmith.train.schedule import plan


def row(number, label, **metadata):
    turns = chat([("user", f"text {number}"), ("assistant", label)])
    return Example(turns.messages, metadata=metadata)


def encode(example, key):
    return Encoded((1, 2, 3), (0.0, 1.0, 1.0))


def corpus_of(folder, data, block_length=0):
    limits = Limits(8, "refuse", block_length)
    return open_corpus(folder, "train", {"set": data}, encode, limits=limits, encoding_key="k")


def seen(folder, data, epochs):
    """How often each label is seen in so many epochs."""
    corpus = corpus_of(folder, data)
    schedule = plan(Recipe(data=data.folder, epochs=epochs, step_examples=4), corpus.rows)
    labels = {found.key: found.example.answer for found in data.rows("train")}
    order = np.concatenate([schedule.order(epoch) for epoch in range(epochs)])
    return Counter(labels[corpus[int(place)].row_hash] for place in order)


def test_training_sees_rare_labels_as_often_as_their_weights_say(job, tmp_path):
    rows = [row(n, "rare" if n < 4 else "common") for n in range(40)]
    folder = data_set(job, {"train": rows})
    assert seen(tmp_path / "a", DataSet.open(folder), 3) == {"rare": 12, "common": 108}
    weighed = balance(BalanceConfig(data=folder, by="answer", weights=True, power=1e9), job)
    counts = seen(tmp_path / "b", DataSet.open(weighed.folder), 9)
    assert counts.total() == pytest.approx(360, abs=2)
    assert counts["rare"] == pytest.approx(180, abs=2)


def test_every_row_of_one_weight_is_seen_before_any_is_seen_again(job, tmp_path):
    rows = [row(n, str(n), sampling_weight=0.5 if n < 6 else 1) for n in range(12)]
    data = DataSet.open(data_set(job, {"train": rows}))
    counts = seen(tmp_path, data, 2)
    assert all(counts[str(n)] == 1 for n in range(6))
    assert all(counts[str(n)] == 2 for n in range(6, 12))


@pytest.mark.parametrize("weight", [0, -1, "2", True, None])
def test_what_is_no_weight_is_refused(job, tmp_path, weight):
    data = DataSet.open(data_set(job, {"train": [row(1, "a", sampling_weight=weight)]}))
    with pytest.raises(DataError, match="not a weight"):
        corpus_of(tmp_path, data)


def test_packed_documents_cannot_be_weighed(job, tmp_path):
    data = DataSet.open(data_set(job, {"train": [row(1, "a", sampling_weight=2)]}))
    with pytest.raises(DataError, match="packed documents"):
        corpus_of(tmp_path, data, block_length=4)
