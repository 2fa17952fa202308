import json

import pytest
from tiny_models import tiny_model_folder

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import ModelError
from tunesmith.data.pool.uncertainty import open_uncertainty


def test_a_models_uncertainty_is_between_0_and_1_and_the_same_again(tmp_path, job):
    folder = tiny_model_folder(tmp_path / "model")
    examples = [
        Example((Message("user", text),)) for text in ("red", "a green lamp", "blue chairs and tables")
    ]
    found = [open_uncertainty(str(folder), job, samples=3, max_tokens=6, seed=1)(examples) for _ in range(2)]
    assert found[0].tolist() == found[1].tolist()
    assert all(0 <= one <= 1 for one in found[0])
    assert len(set(found[0].tolist())) > 1


def test_rows_for_free_answers_are_chosen_with_a_model(tmp_path, job):
    from tunesmith.core.dataset import DataSet
    from tunesmith.data.pool.door import pool
    from tunesmith.data.pool.schema import PoolConfig
    from tunesmith.data.preparation import prepare
    from tunesmith.data.schema import PrepareConfig

    def line(number, **more):
        turns = [{"role": "user", "content": f"say {number} in words"}]
        return json.dumps({"messages": [*turns, *more.get("answer", [])]})

    start, other = tmp_path / "start.jsonl", tmp_path / "pool.jsonl"
    start.write_text(
        "".join(line(n, answer=[{"role": "assistant", "content": f"it is {n}"}]) + "\n" for n in range(12))
    )
    other.write_text("".join(line(1000 + n) + "\n" for n in range(20)))
    labelled = prepare(PrepareConfig(source=start, validation=3, test=3, near_duplicates=0), job).folder
    model = str(tiny_model_folder(tmp_path / "model"))
    config = PoolConfig(
        pool=other, labelled=labelled, rows=5, model=model, embeddings="words", near_duplicates=0,
        samples=2, max_tokens=4,
    )  # fmt: skip
    result = pool(config, job)
    assert (result.task, result.strategy, result.chosen) == ("answers", "cover", 5)
    assert {entry.role for entry in DataSet.open(result.folder).manifest.inputs} == {"data", "pool", "model"}
    with pytest.raises(ModelError, match="sure of everything"):
        pool(config.model_copy(update={"model": "fake"}), job)
