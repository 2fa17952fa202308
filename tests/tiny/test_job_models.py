"""What the server does for a job with a real model, tiny: previews, estimates, merged weights."""

import asyncio
import hashlib
import json
import tarfile
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch
from backend_contract import ask, collect, text_of
from tiny_models import tiny_model_folder
from train_folders import greeting

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.files.schema import CreateFile
from tunesmith.api.forms import Sent
from tunesmith.api.jobs.service import row_of
from tunesmith.api.jobs.tables import JOB
from tunesmith.api.jobs.trying import PreviewJob, estimate, preview
from tunesmith.api.models import service as models
from tunesmith.api.models.loading import Counted, Versions
from tunesmith.api.models.service import add_version
from tunesmith.api.models.taking import TURN, TakeWeights, packed
from tunesmith.api.serving import host_of, opener
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.store import open_store
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.models import load_for_inference
from tunesmith.serve.backends.local import Settings, open_model
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.schema import ServeConfig
from tunesmith.serve.state import Served, State
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.engines.ragged import RaggedEngine


@pytest.fixture
def api(tmp_path):
    base = tiny_model_folder(tmp_path / "model")
    with closing(open_store(tmp_path / "store.sqlite")) as store:
        yield Api(
            store,
            tmp_path / "server",
            base_of={"tiny": str(base)}.get,
            rate_of=lambda base: 1e-3,
            weights_of=Path,
        )


def upload(api, rows):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    place = api.folder / "sent"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    sent = Sent(place, "a.jsonl", len(content), hashlib.sha256(content).hexdigest())
    return files.create(api, Caller(), sent, CreateFile(purpose="fine-tune"))["id"]


def chat(*turns, **more):
    return {"messages": [{"role": role, "content": text} for role, text in turns], **more}


def test_the_learned_tokens_of_an_example_are_its_answers(api):
    first = chat(("system", "be brief"), ("user", "hi"), ("assistant", "yo"))
    file = upload(api, [first, chat(("user", "a"), ("assistant", "b"))])
    found = preview(api, Caller(), PreviewJob(model="tiny", training_file=file, rows=1))
    (example,) = found["examples"]
    (piece,) = example["pieces"]
    assert "".join(token["text"] for token in piece if token["weight"]).startswith("yo")
    assert "be brief" in "".join(token["text"] for token in piece if not token["weight"])
    assert found["counts"]["rows"] == 2
    assert 0 < found["counts"]["learned_tokens"] < found["counts"]["tokens"]


def test_a_job_is_timed_by_its_own_steps(api):
    file = upload(api, [chat(("user", f"{number}?"), ("assistant", "yes")) for number in range(30)])
    asked = PreviewJob(model="tiny", training_file=file, hyperparameters={"n_epochs": 2})
    found = estimate(api, Caller(), asked)
    assert found["steps"] == 60
    assert found["seconds"] > 0
    assert found["peak_memory_bytes"] > 10**7


def trained(api, method):
    """A version whose adapter has learned a little, and the folder of its base."""
    base = Path(api.base_of("tiny"))
    settings = {"data": "file", "model": "tiny", "dtype": "float32", "method": method}
    engine = RaggedEngine(EngineSetup(Recipe.model_validate(settings), "tiny", base))
    items = [Item(str(number), "data", engine.encode(greeting(number), str(number))) for number in range(4)]
    for _ in range(3):
        engine.forward_backward(items)
        engine.optim_step(learning_rate=0.05, max_norm=1.0)
    engine.publish(api.folder / "adapter")
    file = upload(api, [chat(("user", "a"), ("assistant", "b"))])
    row = row_of(api, Caller(), PreviewJob(model="tiny", training_file=file))
    with api.store.writing() as connection:
        connection.execute(sa.insert(JOB).values(**row))
        facts = {"step": 3, "base": str(base), "folder": str(api.folder / "adapter")}
        add_version(connection, api, row, "ft:tiny", **facts)
    return base


def test_merged_weights_answer_as_the_adapter_on_its_base(api, tmp_path):
    base = trained(api, {"kind": "lora", "rank": 4})
    path = packed(api, Caller(), "ft:tiny", TakeWeights(form="merged"))
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "taken", filter="data")
    facts = json.loads((tmp_path / "taken" / "lineage.json").read_text())
    assert set(facts["merged"]) == {"largest", "share"}
    assert not (tmp_path / "taken" / "adapter_config.json").exists()
    row = torch.tensor([[5, 9, 200, 31]])
    alone, beside, merged = (
        found.model(input_ids=row).logits.detach().log_softmax(-1)
        for found in (
            load_for_inference(base, dtype="float32"),
            load_for_inference(base, adapter=api.folder / "adapter", dtype="float32"),
            load_for_inference(tmp_path / "taken", dtype="float32"),
        )
    )
    gap = float((merged - beside).abs().max())
    assert gap < 0.05 < float((alone - beside).abs().max())
    assert list((api.folder / "trials").iterdir()) == [path]


def test_weights_that_cannot_be_merged_are_refused_and_one_is_merged_at_a_time(api):
    trained(api, {"kind": "adapter"})
    with pytest.raises(ApiProblem, match="cannot be merged into the weights") as raised:
        packed(api, Caller(), "ft:tiny", TakeWeights(form="merged"))
    assert raised.value.status == 400
    assert str(api.folder) not in str(raised.value)
    with TURN, pytest.raises(ApiProblem, match="being merged") as raised:
        packed(api, Caller(), "ft:tiny", TakeWeights(form="merged"))
    assert raised.value.status == 429
    assert list((api.folder / "trials").iterdir()) == []


def test_versions_on_a_served_base_share_it_and_make_room_for_each_other(api, tmp_path):
    base = trained(api, {"kind": "lora", "rank": 4})
    with api.store.writing() as connection:
        row = dict(connection.execute(sa.select(JOB)).mappings().one())
        add_version(
            connection, api, row, "ft:other", step=3, base=str(base), folder=str(api.folder / "adapter")
        )
    served = open_model(base, Settings(threads=1, dtype="float32"))
    model = Served("tiny", "v", 0, served.backends[None], refs=(str(base),), host=served.host)
    state = State((model,), None, content=False, max_request_bytes=1)
    config, names = ServeConfig(dtype="float32", threads=1), lambda: served.host.bank.names
    open_one, on = opener(config, Job(Workspace(tmp_path))), partial(host_of, state=state)
    versions = Versions(api, open_one, on, at_most=1, adapters=1)

    def said(found):
        return text_of(asyncio.run(collect(found.backend, ask("hello", max_tokens=8))))

    alone = open_model(base, Settings(threads=1, dtype="float32"), adapter=api.folder / "adapter")
    try:
        first = versions.find("ft:tiny", Caller())
        assert said(first) == text_of(asyncio.run(collect(alone.backends[None], ask("hello", max_tokens=8))))
        assert versions.find("ft:tiny", Caller(project="another")) is None
        assert names() == ("ft:tiny",), "who cannot see a model does not unload it"
        versions.find("ft:other", Caller())
        assert names() == ("ft:other",)
        with pytest.raises(ApiProblem, match="made room for another"):
            said(first)
        models.delete(api, Caller(), "ft:other")
        assert versions.find("ft:other", Caller()) is None
        assert names() == ()
    finally:
        versions.close()
        for one in (alone, served):
            one.backends[None].close()


def test_a_model_that_is_let_go_while_it_answers_finishes_its_answer_first(api, tmp_path):
    base = trained(api, {"kind": "lora", "rank": 4})
    served = open_model(base, Settings(threads=1, dtype="float32"))
    counted = Counted(served.host.join("ft:tiny", api.folder / "adapter"))

    async def answered():
        pieces = counted.start(ask("hello", max_tokens=20))
        chunks = [await anext(pieces)]
        await asyncio.to_thread(counted.close)
        assert served.host.bank.names == ("ft:tiny",)
        return [*chunks, *[chunk async for chunk in pieces]]

    try:
        chunks = asyncio.run(answered())
        assert chunks[-1].finish_reason is not None
        for thread in threading.enumerate():
            if thread.name == Counted.GIVING_BACK:
                thread.join()
        assert served.host.bank.names == ()
    finally:
        served.backends[None].close()
