"""Each optimiser: its formula, its rates and decay, and its state across a resume."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_sessions import rows, tiny_session
from torch import Tensor, nn

from tunesmith.core.errors import ConfigError, FolderError, MissingPackage
from tunesmith.core.recipe import Adafactor, AdamW, AdamW8bit, Muon, Optimiser, Sgd
from tunesmith.runtime.bits import import_bitsandbytes
from tunesmith.runtime.methods.port import Trainable
from tunesmith.runtime.optimisers import OPTIMISERS, make_optimiser
from tunesmith.runtime.session import Session
from tunesmith.train.objectives import SupervisedFineTuning

SETTINGS = {
    "adamw": AdamW(weight_decay=0.1),
    "adamw8bit": AdamW8bit(weight_decay=0.1),
    "muon": Muon(weight_decay=0.1),
    "adafactor": Adafactor(weight_decay=0.1),
    "sgd": Sgd(momentum=0.9, weight_decay=0.1),
}
KINDS = sorted(SETTINGS)


def made_masters() -> list[Trainable]:
    """A matrix large enough for 8-bit state, one of another rate, a gain without decay, an idle one."""
    draw = torch.Generator().manual_seed(1)

    def parameter(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.randn(*shape, generator=draw))

    return [
        Trainable("layers.0.up", parameter(96, 64), orthogonal=True),
        Trainable("layers.0.up.lora_B", parameter(64, 8), rate_factor=16.0, orthogonal=True),
        Trainable("norm.gain", parameter(32), decay=False),
        Trainable("idle", parameter(4, 4)),
    ]


def set_gradients(masters: list[Trainable], step: int) -> None:
    """The gradients of one step, the same in every process; the last master never gets one."""
    draw = torch.Generator().manual_seed(100 + step)
    for master in masters[:-1]:
        master.parameter.grad = torch.randn(master.parameter.shape, generator=draw)


def run(rule, masters: list[Trainable], steps: range) -> None:
    for step in steps:
        set_gradients(masters, step)
        rule.step(0.01 / (1 + step))


def values(masters: list[Trainable]) -> dict[str, Tensor]:
    return {master.name: master.parameter.detach().clone() for master in masters}


def resume(folder: Path, settings: Optimiser) -> dict[str, Tensor]:
    """Steps 3 to 5 after what stands in the folder; a fresh process runs this too."""
    masters = made_masters()
    with torch.no_grad():
        for name, tensor in load_file(folder / "masters.safetensors").items():
            next(m for m in masters if m.name == name).parameter.copy_(tensor)
    rule = make_optimiser(settings, masters)
    rule.load(load_file(folder / "optimiser.safetensors"))
    run(rule, masters, range(3, 6))
    return values(masters)


def unbroken_and_half(folder: Path, settings: Optimiser) -> dict[str, Tensor]:
    """Values after six steps, with the state after three of them left in the folder."""
    masters = made_masters()
    rule = make_optimiser(settings, masters)
    run(rule, masters, range(3))
    save_file(values(masters), folder / "masters.safetensors")
    save_file(rule.state(), folder / "optimiser.safetensors")
    run(rule, masters, range(3, 6))
    return values(masters)


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("kind", KINDS)
def test_six_steps_equal_three_and_three_after_a_resume_bit_for_bit(kind, tmp_path):
    expected = unbroken_and_half(tmp_path, SETTINGS[kind])
    assert_same_bits(resume(tmp_path, SETTINGS[kind]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_without_the_optimiser_s_state_would_be_seen(kind, tmp_path):
    expected = unbroken_and_half(tmp_path, SETTINGS[kind])
    save_file({}, tmp_path / "optimiser.safetensors")
    found = resume(tmp_path, SETTINGS[kind])
    assert not torch.equal(found["layers.0.up"], expected["layers.0.up"])


def test_a_resume_in_a_fresh_process_is_bit_identical_with_every_kind(tmp_path):
    expected = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        expected[kind] = unbroken_and_half(tmp_path / kind, SETTINGS[kind])
    code = (
        "import sys, pathlib, test_optimisers as here\n"
        "from safetensors.torch import save_file\n"
        "for kind in here.KINDS:\n"
        "    folder = pathlib.Path(sys.argv[1]) / kind\n"
        "    save_file(here.resume(folder, here.SETTINGS[kind]), folder / 'resumed.safetensors')\n"
    )
    here = Path(__file__).parent
    places = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=places)
    for kind in KINDS:
        assert_same_bits(load_file(tmp_path / kind / "resumed.safetensors"), expected[kind])


def test_every_kind_of_a_recipe_has_a_rule_and_a_test():
    assert sorted(OPTIMISERS) == KINDS


def test_fused_adamw_is_the_textbook_formula():
    masters = made_masters()
    rule = make_optimiser(SETTINGS["adamw"], masters)
    weight = masters[0].parameter.detach().double()
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(3):
        set_gradients(masters, step)
        gradient, rate = masters[0].parameter.grad.double(), 0.01 / (1 + step)
        rule.step(rate)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        corrected = (square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
        weight = weight * (1 - rate * 0.1) - rate * (mean / (1 - 0.9 ** (step + 1))) / corrected
    assert torch.allclose(masters[0].parameter.double(), weight, atol=1e-6)


def test_sgd_with_momentum_decays_outside_of_the_momentum():
    masters = made_masters()
    rule = make_optimiser(SETTINGS["sgd"], masters)
    weight, momentum = masters[0].parameter.detach().double(), 0.0
    for step in range(3):
        set_gradients(masters, step)
        rate = 0.01 / (1 + step)
        rule.step(rate)
        momentum = 0.9 * momentum + masters[0].parameter.grad.double()
        weight = weight * (1 - rate * 0.1) - rate * momentum
    assert torch.allclose(masters[0].parameter.double(), weight, atol=1e-6)


def test_eight_bit_adamw_stays_close_to_adamw():
    results = {}
    for kind in ("adamw", "adamw8bit"):
        masters = made_masters()
        run(make_optimiser(SETTINGS[kind], masters), masters, range(3))
        results[kind] = values(masters)
    started = values(made_masters())
    for name in ("layers.0.up", "norm.gain"):
        moved = (results["adamw"][name] - started[name]).norm()
        apart = (results["adamw8bit"][name] - results["adamw"][name]).norm()
        assert apart < 0.05 * moved
    assert not torch.equal(results["adamw8bit"]["layers.0.up"], results["adamw"]["layers.0.up"])


def test_eight_bit_state_takes_a_quarter_of_the_memory():
    sizes = {}
    for kind in ("adamw", "adamw8bit"):
        masters = made_masters()
        rule = make_optimiser(SETTINGS[kind], masters)
        run(rule, masters, range(1))
        kept = {name: value for name, value in rule.state().items() if name.startswith("layers.0.up.")}
        sizes[kind] = sum(value.nbytes for name, value in kept.items() if "lora" not in name)
    assert sizes["adamw8bit"] < 0.3 * sizes["adamw"]


def first_step(kind: str, learning_rate: float = 0.01) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values before and after one step."""
    masters = made_masters()
    before = values(masters)
    rule = make_optimiser(SETTINGS[kind].model_copy(update={"weight_decay": 0.0}), masters)
    set_gradients(masters, 0)
    rule.step(learning_rate)
    return before, values(masters)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_factor_multiplies_the_rate_of_its_master_alone(kind):
    before, after = first_step(kind)
    masters = made_masters()
    plain = [Trainable(m.name, m.parameter, decay=m.decay, orthogonal=m.orthogonal) for m in masters]
    rule = make_optimiser(SETTINGS[kind].model_copy(update={"weight_decay": 0.0}), plain)
    set_gradients(plain, 0)
    rule.step(0.01)
    name = "layers.0.up.lora_B"
    ratio = (after[name] - before[name]).norm() / (values(plain)[name] - before[name]).norm()
    assert float(ratio) == pytest.approx(16, rel=1e-3)
    assert torch.equal(after["layers.0.up"], values(plain)["layers.0.up"])


@pytest.mark.parametrize("kind", KINDS)
def test_weight_decay_multiplies_what_asks_for_it_and_nothing_else(kind):
    """With gradients of zero all that is left of a step is the decay: 1 − rate × 0.1."""
    masters = made_masters()
    before = values(masters)
    rule = make_optimiser(SETTINGS[kind], masters)
    for master in masters[:-1]:
        master.parameter.grad = torch.zeros_like(master.parameter)
    rule.step(0.01)
    after = values(masters)
    assert torch.allclose(after["layers.0.up"], before["layers.0.up"] * (1 - 0.01 * 0.1))
    assert torch.allclose(after["layers.0.up.lora_B"], before["layers.0.up.lora_B"] * (1 - 16 * 0.01 * 0.1))
    assert torch.equal(after["norm.gain"], before["norm.gain"])
    assert torch.equal(after["idle"], before["idle"])


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "adafactor"])
def test_a_first_step_of_the_normalised_kinds_is_as_long_as_the_learning_rate(kind):
    before, after = first_step(kind, learning_rate=0.01)
    step = (after["layers.0.up"] - before["layers.0.up"]).square().mean().sqrt()
    assert float(step) == pytest.approx(0.01, rel=0.25)


def test_muon_orthogonalises_matrices_at_a_fifth_of_the_rate_and_gives_the_rest_to_adamw():
    before, after = first_step("muon", learning_rate=0.01)
    step = after["layers.0.up"] - before["layers.0.up"]
    # 96 × 64: every singular value about 0.2 × √96 × rate (Newton–Schulz stops between 0.7 and 1.2 of it).
    sizes = torch.linalg.svdvals(step) / (0.2 * 96**0.5 * 0.01)
    assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)
    gain = after["norm.gain"] - before["norm.gain"]
    assert torch.allclose(gain.abs(), torch.full_like(gain, 0.01), rtol=1e-3)


def test_muon_without_a_matrix_is_refused():
    with pytest.raises(ConfigError, match=r"nothing to work on.*norm\.gain") as caught:
        make_optimiser(Muon(), made_masters()[2:3])
    assert "set optimiser.kind to adamw" in str(caught.value)


def test_adafactor_lets_a_matrix_of_zeros_learn_at_the_full_rate():
    zeros = [Trainable("lora_B", nn.Parameter(torch.zeros(64, 8)))]
    zeros[0].parameter.grad = torch.randn(64, 8)
    make_optimiser(Adafactor(), zeros).step(0.01)
    assert float(zeros[0].parameter.detach().square().mean().sqrt()) == pytest.approx(0.01, rel=0.25)


def test_a_missing_bitsandbytes_is_one_clear_error(monkeypatch):
    import_bitsandbytes.cache_clear()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingPackage, match="need the package bitsandbytes"):
        make_optimiser(AdamW8bit(), made_masters())


@pytest.mark.parametrize("kind", KINDS)
def test_state_of_another_model_or_optimiser_is_refused(kind):
    masters = made_masters()
    rule = make_optimiser(SETTINGS[kind], masters)
    run(rule, masters, range(1))
    state = rule.state()
    other = make_optimiser(SETTINGS["sgd" if kind == "adamw" else "adamw"], made_masters())
    with pytest.raises(FolderError, match="belongs to another"):
        other.load(state)
    with pytest.raises(FolderError, match=r"belongs to another.*'foreign'"):
        rule.load({"foreign.step": torch.tensor(1.0)})
    smaller = {name: value[:1] if value.dim() else value for name, value in state.items()}
    with pytest.raises(FolderError, match="belongs to another"):
        rule.load(smaller)


def test_settings_and_state_leave_no_tensor_shared_between_two_names(tmp_path):
    """safetensors refuses tensors that share memory; the constant tables of bitsandbytes would."""
    masters = made_masters()
    masters.insert(1, Trainable("second", nn.Parameter(torch.randn(96, 64))))
    rule = make_optimiser(AdamW8bit(), masters)
    run(rule, masters, range(1))
    save_file(rule.state(), tmp_path / "state.safetensors")
    assert "second.state1" in load_file(tmp_path / "state.safetensors")


def session_of(kind: str, **changes: object) -> Session:
    """A session in which every matrix is one for Muon."""
    session = tiny_session(**changes)
    entries = [
        replace(entry, orthogonal=entry.parameter.dim() == 2, decay=entry.parameter.dim() == 2)
        for entry in session.masters.entries
    ]
    session.optimiser = make_optimiser(SETTINGS[kind], entries)
    return session


def trained(session: Session, steps: range) -> Session:
    for step in steps:
        session.forward_backward(rows(12, 30, seed=step), SupervisedFineTuning())
        session.optim_step(learning_rate=0.01 / (1 + step), max_norm=1.0)
    return session


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_resumes_bit_for_bit_with_masters_in_either_type(kind, dtype, tmp_path):
    half = trained(session_of(kind, dtype=dtype), range(2))
    half.save_state(tmp_path)
    expected = trained(half, range(2, 4)).masters.tensors()
    resumed = session_of(kind, dtype=dtype)
    resumed.load_state(tmp_path)
    assert_same_bits(trained(resumed, range(2, 4)).masters.tensors(), expected)


def test_a_session_learns_with_every_kind():
    objective, step = SupervisedFineTuning(), rows(12, 30, seed=9)
    for kind in KINDS:
        session = session_of(kind)
        losses = []
        for _ in range(8):
            losses.append(session.forward_backward(step, objective).loss)
            session.optim_step(learning_rate=0.3 if kind == "sgd" else 0.01, max_norm=None)
        assert losses[-1] < 0.8 * losses[0], kind
