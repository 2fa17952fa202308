"""Several adapters on one base in one pass: each row gets what its adapter alone gives it."""

import json
from itertools import pairwise
from pathlib import Path

import peft
import pytest
import torch
from lora_training import attached, tiny_loaded
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer

from tunesmith.core.errors import ModelError
from tunesmith.core.files import write_json
from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime import lora
from tunesmith.runtime.bottleneck import BottleneckShape
from tunesmith.runtime.bottleneck import attach as attach_bottleneck
from tunesmith.runtime.bottleneck import save_adapter as save_bottleneck
from tunesmith.runtime.lora import bank as bank_module
from tunesmith.runtime.lora.bank import AdapterBank, why_alone
from tunesmith.runtime.lora.banked import BankedLinear
from tunesmith.runtime.models import load_for_inference
from tunesmith.runtime.quantise import Quantisation

LENGTH = 6
ROWS = torch.randint(0, 256, (5, LENGTH), generator=torch.Generator().manual_seed(7))
MIXED = ("a", "b", None, "c", "a")
SETTINGS = {
    "a": Lora(rank=4, alpha=8),
    "b": Lora(rank=2, alpha=8, rslora=True, target_modules=("q_proj", "down_proj"), layers=1),
    "c": Lora(rank=3, alpha=2, rank_pattern={"v_proj": 7}, alpha_pattern={"o_proj": 9.0}),
}
WIDE = {"hidden_size": 128, "intermediate_size": 192}


def saved(settings, folder, *, seed=1, loaded=None, **begin):
    """An adapter that has learned a little, on disk."""
    made = attached(settings, loaded or tiny_loaded(), **begin)
    with torch.no_grad():
        for _, layer in lora.lora_layers(made.model):
            layer.lora_b.normal_(std=0.3, generator=torch.Generator().manual_seed(seed))
            layer.lora_a.mul_(1 + seed)
    made.publish(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path):
    return {
        name: saved(settings, tmp_path / name, seed=number)
        for number, (name, settings) in enumerate(SETTINGS.items())
    }


def filled(folders, model=None):
    """A bank with adapters."""
    bank = AdapterBank(tiny_llama() if model is None else model)
    for name, folder in folders.items():
        bank.add(name, folder)
    return bank


def passed(bank, names, rows=ROWS):
    """Logits of rows, one adapter each."""
    bank.route([(name, rows.shape[1]) for name in names])
    with torch.no_grad():
        return bank.model(input_ids=rows).logits


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_mixed_rows_get_what_their_adapter_alone_gives_them(tmp_path: Path, folders):
    base = tiny_model_folder(tmp_path / "base")
    found = passed(filled(folders), MIXED)
    outputs = []
    for row, name in zip(ROWS, MIXED, strict=True):
        alone = load_for_inference(base, adapter=folders.get(name), dtype="float32").model
        with torch.no_grad():
            outputs.append(alone(input_ids=row[None]).logits)
    close(found, torch.cat(outputs))
    assert all((one - other).abs().max() > 0.01 for one, other in pairwise(outputs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_adapter_for_all_rows_is_to_the_bit_what_it_is_alone(tmp_path: Path, folders, dtype: str):
    base = tiny_model_folder(tmp_path / "base")
    bank = filled(folders, load_for_inference(base, dtype=dtype).model)
    for name in ("a", "b", "c", None):
        alone = load_for_inference(base, adapter=folders.get(name), dtype=dtype).model
        with torch.no_grad():
            assert torch.equal(passed(bank, [name] * 5), alone(input_ids=ROWS).logits)


@pytest.mark.parametrize(("waste", "stacks"), [(-1, False), (10**9, True)])
def test_stacked_and_by_run_are_the_same(monkeypatch, folders, waste: int, stacks: bool):
    monkeypatch.setattr(bank_module, "WASTE", waste)
    bank = filled(folders)
    found = passed(bank, MIXED)
    assert bool(bank.routed.stacked) is stacks
    close(found, torch.cat([passed(bank, [name], row[None]) for row, name in zip(ROWS, MIXED, strict=True)]))


def test_rows_equal_those_of_peft_with_the_same_files(tmp_path: Path):
    configs = {
        "plain": peft.LoraConfig(r=3, lora_alpha=6, target_modules="all-linear"),
        "rs": peft.LoraConfig(
            r=4, lora_alpha=2, use_rslora=True, target_modules=["up_proj"], layers_to_transform=[1]
        ),
        "patterns": peft.LoraConfig(
            r=2, target_modules=["q_proj", "o_proj"], rank_pattern={"q_proj": 5}, alpha_pattern={"o_proj": 20}
        ),
        "gaussian": peft.LoraConfig(r=2, target_modules=r".*\.0\..*_proj", init_lora_weights="gaussian"),
    }
    theirs = peft.get_peft_model(tiny_llama(), configs["plain"], adapter_name="plain")
    for name, config in list(configs.items())[1:]:
        theirs.add_adapter(name, config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    bank = filled({name: tmp_path / name for name in configs})
    outputs = []
    for row, name in zip(ROWS, configs, strict=False):
        theirs.set_adapter(name)
        with torch.no_grad():
            outputs.append(theirs(input_ids=row[None]).logits)
    close(passed(bank, list(configs), ROWS[:4]), torch.cat(outputs))


@pytest.mark.parametrize("mode", ["continue", "stack"])
def test_adapters_that_went_on_from_another_share_too(tmp_path: Path, folders, mode: str):
    settings = SETTINGS["a"] if mode == "continue" else SETTINGS["c"]
    later = saved(settings, tmp_path / mode, seed=4, adapter=folders["a"], mode=mode)
    base = tiny_model_folder(tmp_path / "base")
    alone = load_for_inference(base, adapter=later, dtype="float32").model
    assert why_alone(later) is None
    found = passed(filled({**folders, "later": later}), ["b", "later", "a", "later", None])
    with torch.no_grad():
        close(found[[1, 3]], alone(input_ids=ROWS[[1, 3]]).logits)


def test_adapters_come_and_go_while_the_others_stay_as_they_are(folders):
    bank = filled({name: folders[name] for name in ("a", "b")})
    before = passed(bank, ["a", "b", "a", None, "b"])
    bank.add("c", folders["c"])
    assert bank.names == ("a", "b", "c")
    close(passed(bank, ["a", "b", "a", "c", "b"])[[0, 1, 2, 4]], before[[0, 1, 2, 4]])
    bank.remove("a")
    with pytest.raises(ModelError, match="no adapter of this name: 'a'"):
        bank.route([("a", 3)])
    close(passed(bank, ["c", "b", None, None, "b"])[[1, 3, 4]], before[[1, 3, 4]])
    bank.add("a", folders["a"])
    close(passed(bank, ["a", "b", "a", "c", "b"])[[0, 1, 2, 4]], before[[0, 1, 2, 4]])
    bank.remove("a")
    bank.add("a", folders["b"])  # another adapter under a name that was stacked
    close(passed(bank, ["c", "a", "b", "c", "a"])[[1, 4]], before[[1, 4]])


def test_the_last_to_leave_takes_the_wrapping_along(folders):
    bank = filled(folders)
    names = [name for name, _ in bank.model.named_modules()]
    for name in bank.names:
        bank.remove(name)
    assert not any(isinstance(module, BankedLinear) for module in bank.model.modules())
    assert len(names) > len([name for name, _ in bank.model.named_modules()])
    with torch.no_grad():
        assert torch.equal(bank.model(input_ids=ROWS).logits, tiny_llama()(input_ids=ROWS).logits)


def test_what_is_stacked_shrinks_when_it_stays_too_wide(monkeypatch, folders):
    monkeypatch.setattr(bank_module, "PATIENCE", 2)
    bank = filled(folders)
    passed(bank, MIXED)
    assert bank.routed.stacked == ("a", "b", "c")
    widths = []
    for _ in range(4):
        found = passed(bank, ["b", None, "b", None, "b"])
        widths.append(bank.routed.stacked)
    assert widths == [("a", "b", "c")] * 2 + [("b",)] * 2
    close(found[0], passed(bank, ["b"] * 5)[0])


def test_a_pass_that_was_not_routed_is_an_error(folders):
    bank = filled(folders)
    with pytest.raises(RuntimeError, match=r"needs `AdapterBank.route` before it"):
        bank.model(input_ids=ROWS)
    passed(bank, MIXED)
    with pytest.raises(RuntimeError, match="used by a pass already"):
        bank.model(input_ids=ROWS)
    bank.route([("a", 7), ("b", 22)])
    with pytest.raises(RuntimeError, match="29 tokens were routed, and the pass has 30"):
        bank.model(input_ids=ROWS)
    bank.route([(None, 29)])
    with pytest.raises(RuntimeError, match="29 tokens were routed"):
        bank.model(input_ids=ROWS)
    bank.route([("a", 30)])
    bank.remove("b")
    with pytest.raises(RuntimeError, match=r"needs `AdapterBank.route`"):
        bank.model(input_ids=ROWS)
    bank.route([("a", 30)])
    bank.add("b", folders["b"])
    with pytest.raises(RuntimeError, match=r"needs `AdapterBank.route`"):
        bank.model(input_ids=ROWS)
    with pytest.raises(ValueError, match="a run of 0 tokens"):
        bank.route([("a", 30), (None, 0)])


def test_a_pass_that_broke_off_leaves_no_route_behind(folders):
    bank = filled({"b": folders["b"]})  # its first layer is bare
    bank.route([("b", 30)])
    last = bank.model.model.layers[1].mlp
    down, last.down_proj = last.down_proj, None
    with pytest.raises(TypeError):
        bank.model(input_ids=ROWS)
    last.down_proj = down
    with pytest.raises(RuntimeError, match="used by a pass already"):
        bank.model(input_ids=ROWS)


def test_lora_on_the_output_layer_sees_only_the_tokens_that_are_read(tmp_path: Path, folders):
    loaded = tiny_loaded(tie_word_embeddings=False)
    head = saved(Lora(rank=4, target_modules=("lm_head", "q_proj")), tmp_path / "head", loaded=loaded)
    bank = filled({"a": folders["a"], "head": head}, tiny_llama(tie_word_embeddings=False))
    runs = [("a", 2), ("head", 3), (None, 1)]
    bank.route(runs)
    with torch.no_grad():
        whole = bank.model(input_ids=ROWS[:1]).logits
        bank.route(runs, reads=[1, 3, 5])
        found = bank.model(input_ids=ROWS[:1], logits_to_keep=torch.tensor([1, 3, 5])).logits
        close(found, whole[:, [1, 3, 5]])
        bank.route(runs)
        with pytest.raises(RuntimeError, match="6 tokens were routed, and the pass has 3"):
            bank.model(input_ids=ROWS[:1], logits_to_keep=torch.tensor([1, 3, 5]))


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_a_base_in_few_bits_carries_adapters_that_learned_on_it_and_others(tmp_path: Path, form: str):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    on_bits = Qlora(rank=4) if form == "nf4" else Qlora(rank=4, bits=8)
    folders = {
        "bits": saved(on_bits, tmp_path / "bits", loaded=tiny_loaded(**WIDE)),
        "wide": saved(Lora(rank=2), tmp_path / "wide", seed=2, loaded=tiny_loaded(**WIDE)),
    }
    bank = filled(folders, load_for_inference(base, dtype="float32", quantise=form).model)
    names = ["bits", "wide", None, "wide", "bits"]
    found = passed(bank, names)
    outputs = []
    for row, name in zip(ROWS, names, strict=True):
        alone = load_for_inference(base, adapter=folders.get(name), dtype="float32", quantise=form).model
        with torch.no_grad():
            outputs.append(alone(input_ids=row[None]).logits)
    # on some processors the products of weights in few bits are rounded by how many rows there are
    torch.testing.assert_close(found, torch.cat(outputs), rtol=0, atol=1e-3)
    assert (outputs[0] - outputs[2]).abs().max() > 0.1, "an adapter changes far more than that"
    wide = AdapterBank(tiny_llama(**WIDE))
    with pytest.raises(ModelError, match=r"learned on a base held in .* bits.*held as it was loaded"):
        wide.add("bits", folders["bits"])


def test_an_adapter_for_another_base_is_refused_with_what_differs(tmp_path: Path, folders):
    names = {"more layers": {"num_hidden_layers": 3}, "wider": {"intermediate_size": 64}}
    others = {
        what: saved(Lora(rank=2), tmp_path / what, loaded=tiny_loaded(**change))
        for what, change in names.items()
    }
    bank = filled(folders)
    with pytest.raises(ModelError, match=r"there is no layer model.layers.2.mlp.down_proj \(and 6 more"):
        bank.add("other", others["more layers"])
    reason = r"layers.0.mlp.down_proj maps 48 to 32, and the adapter's maps 64 to 32 \(and 5 more"
    with pytest.raises(ModelError, match=reason):
        bank.add("other", others["wider"])
    with pytest.raises(ModelError, match="an adapter of this name is here already: 'a'"):
        bank.add("a", folders["b"])
    assert bank.names == ("a", "b", "c")
    assert all(
        set(layer.parts) <= set("abc") for layer in bank.model.modules() if type(layer) is BankedLinear
    )
    carrying = attached(Lora(rank=2)).model
    with pytest.raises(ModelError, match="down_proj is a LoraLinear and no plain linear layer"):
        AdapterBank(carrying).add("a", folders["a"])


def test_an_adapter_that_learned_on_other_weights_is_refused_though_every_shape_fits(tmp_path: Path):
    folder = saved(Lora(rank=2), tmp_path / "adapter")
    here, elsewhere = tiny_loaded(), tiny_loaded(seed=5)
    AdapterBank(here.model, info=here.info).add("a", folder)
    with pytest.raises(ModelError, match="learned on other weights"):
        AdapterBank(elsewhere.model, info=elsewhere.info).add("a", folder)


def test_an_adapter_that_would_spoil_its_neighbours_is_refused(tmp_path: Path):
    made = attached(Lora(rank=2))
    with torch.no_grad():
        next(layer for _, layer in lora.lora_layers(made.model)).lora_b[0, 0] = float("nan")
    made.publish(tmp_path / "broken")
    with pytest.raises(ModelError, match="weights are not finite"):
        AdapterBank(tiny_llama()).add("broken", tmp_path / "broken")


def rewritten(folder, source, **changes):
    """A copy of an adapter with other settings in PEFT's configuration."""
    folder.mkdir()
    (folder / lora.WEIGHTS_NAME).write_bytes((source / lora.WEIGHTS_NAME).read_bytes())
    config = json.loads((source / lora.CONFIG_NAME).read_text())
    write_json(folder / lora.CONFIG_NAME, {**config, **changes})
    return folder


def test_why_an_adapter_has_to_be_alone_is_said_in_words(tmp_path: Path, folders):
    reasons = {
        "learned whole": saved(Lora(rank=2, modules_to_save=("norm",)), tmp_path / "whole"),
        "rows of tokens": saved(Lora(rank=2, trainable_tokens=("a",)), tmp_path / "rows"),
        "rows of": saved(Lora(rank=2, trainable_tokens=("<new>",)), tmp_path / "new"),
        "merged with an earlier adapter": saved(
            Lora(rank=2), tmp_path / "merged", adapter=folders["a"], mode="merge_then_new"
        ),
        "use_dora = True": rewritten(tmp_path / "dora", folders["a"], use_dora=True),
        "bias = 'all'": rewritten(tmp_path / "bias", folders["a"], bias="all"),
        "method is IA3": rewritten(tmp_path / "ia3", folders["a"], peft_type="IA3"),
        "base held in 4 bits": saved(Qlora(rank=2), tmp_path / "bits", loaded=tiny_loaded(**WIDE)),
    }
    narrow = tiny_llama()
    shape = BottleneckShape(reduction_factor=4)
    attach_bottleneck(narrow, shape, seed=0)
    save_bottleneck(narrow, shape, tmp_path / "narrow", base_name="tiny")
    reasons["only LoRA shares"] = tmp_path / "narrow"
    theirs = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    theirs.save_pretrained(tmp_path / "embedding", save_embedding_layers=True)
    reasons["brings weights of its own: lm_head.weight, model.embed_tokens.weight"] = tmp_path / "embedding"
    for reason, folder in reasons.items():
        assert reason in (why_alone(folder) or "")
        with pytest.raises(ModelError, match="cannot share a batch"):
            AdapterBank(tiny_llama()).add("alone", folder)
    assert [why_alone(folder) for folder in folders.values()] == [None] * 3
    assert why_alone(tmp_path / "bits", held=Quantisation()) is None
    with pytest.raises(ModelError, match="not an adapter folder"):
        why_alone(tmp_path)


def test_an_adapter_with_other_tokens_is_alone_and_one_with_another_template_is_not(folders):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folders["a"])
    assert why_alone(folders["a"], tokenizer=tokenizer) is None
    assert why_alone(folders["a"], tokenizer=tiny_tokenizer("{{ 1 }}")) is None
    tokenizer.add_special_tokens({"additional_special_tokens": ["a"]})
    assert "other tokens" in why_alone(folders["a"], tokenizer=tokenizer)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<more>"])
    assert "other tokens" in why_alone(folders["a"], tokenizer=tokenizer)
    assert why_alone(folders["b"], tokenizer=tokenizer) is None
