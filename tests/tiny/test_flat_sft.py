"""The teaching loop runs, learns, and saves what PEFT can load."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_models import tiny_model_folder
from transformers import AutoModelForCausalLM

SCRIPT = Path(__file__).parents[2] / "examples" / "flat_sft.py"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    turns = [
        [{"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word}]
        for word in ("yes", "no", "maybe", "never") * 4
    ]
    path.write_text("".join(json.dumps({"messages": pair}) + "\n" for pair in turns))
    return path


def test_the_teaching_loop_is_at_most_200_lines():
    assert len(SCRIPT.read_text().splitlines()) <= 200


def test_the_teaching_loop_learns_and_peft_loads_what_it_saved(tmp_path, rows, monkeypatch, capsys):
    folder = tiny_model_folder(tmp_path / "model")
    out = tmp_path / "adapter"
    options = ["--epochs", "6", "--learning-rate", "1e-2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), str(rows), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    losses = [
        float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if line.startswith("step")
    ]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert PeftModel.from_pretrained(base, out).peft_config["default"].r == 16


def test_the_mask_covers_the_answer_and_its_end_and_nothing_else(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder(tmp_path / "model"))
    render = runpy.run_path(str(SCRIPT))["render"]
    ids, supervised = render(
        tokenizer, [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    )
    assert tokenizer.decode(ids[supervised]) == "hello<|im_end|>\n"
