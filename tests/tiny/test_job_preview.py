"""What a model would learn of a job's file, token by token, with a tiny model's tokenizer."""

import hashlib
import json
from contextlib import closing

import pytest
from tiny_models import tiny_model_folder

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.files.schema import CreateFile
from tunesmith.api.forms import Sent
from tunesmith.api.jobs.trying import PreviewJob, estimate, preview
from tunesmith.core.store import open_store


@pytest.fixture
def api(tmp_path):
    base = str(tiny_model_folder(tmp_path / "model"))
    with closing(open_store(tmp_path / "store.sqlite")) as store:
        yield Api(store, tmp_path / "server", base_of={"tiny": base}.get, rate_of=lambda base: 1e-3)


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
