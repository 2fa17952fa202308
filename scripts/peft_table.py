"""docs/peft.md: every method of the installed PEFT library, tried on a tiny model.

`python scripts/peft_table.py` writes the page; `tests/tiny/test_peft_table.py` tries the same and compares.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from tiny_models import tiny_llama, tiny_tokenizer  # noqa: E402  # after the path to it

from tunesmith.core.errors import UserError  # noqa: E402
from tunesmith.core.recipe import Peft  # noqa: E402
from tunesmith.runtime.adapters import put_on  # noqa: E402
from tunesmith.runtime.lora import lora_layers  # noqa: E402
from tunesmith.runtime.masters import Masters  # noqa: E402
from tunesmith.runtime.methods import attach  # noqa: E402
from tunesmith.runtime.methods.peft_config import import_bitsandbytes_first  # noqa: E402
from tunesmith.runtime.methods.peft_kinds import KINDS  # noqa: E402
from tunesmith.runtime.methods.port import Attached, Begin  # noqa: E402
from tunesmith.runtime.models import Loaded, describe, output_head  # noqa: E402
from tunesmith.runtime.optimisers import make_optimiser  # noqa: E402
from tunesmith.runtime.ragged import register  # noqa: E402
from tunesmith.runtime.session import Session  # noqa: E402
from tunesmith.runtime.step import Encoded  # noqa: E402

PAGE = ROOT / "docs" / "peft.md"
STEPS = 4
SMALL: dict[str, dict[str, Any]] = {
    "ADALORA": {"init_r": 6, "target_r": 4, "tinit": 1, "tfinal": 1, "total_step": STEPS},
    "ADAMSS": {"r": 8, "num_subspaces": 2},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2},
    "C3A": {"block_size": 16},
    "CARTRIDGE": {"num_virtual_tokens": 4},
    "CPT": {"cpt_token_ids": [5, 6, 7], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 4]},
    "FOURIERFT": {"n_frequency": 50},
    "MISS": {"r": 8},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 4},
    "OFT": {"oft_block_size": 16},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "PSOFT": {"r": 8},
    "P_TUNING": {"num_virtual_tokens": 4},
    "ROAD": {"group_size": 16},
    "SHADOW": {"shadow_dropout": 0.0},
    "SHIRA": {"r": 4},
    "SUPERTUNING": {"sparsity": 0.9},
    "TRAINABLE_TOKENS": {"token_indices": [5, 9]},
    "VBLORA": {"num_vectors": 32, "vector_length": 16},
    "WAVEFT": {"n_frequency": 50},
}
"""Arguments that fit a model of width 32; a real one takes the methods' own defaults more often."""
ROWS = ((5, 9, 200, 31, 7, 5, 9, 100, 31, 7, 8, 12), (50, 90, 20, 31, 7, 5, 9), (9, 5, 9, 5, 60))


@dataclass(frozen=True)
class Trial:
    """What came of trying a method."""

    peft_type: str
    config: dict[str, Any]
    refused: str = ""
    layout: str = ""
    learns: int = 0
    expected: int = 0
    first_loss: float = 0.0
    last_loss: float = 0.0
    start_gap: float = 0.0
    """Largest difference of a logit from the base's before the first step."""
    reload_gap: float = 0.0
    """Largest difference of a logit between this process and plain PEFT with the published folder."""
    effect: float = 0.0
    """Largest change of a logit by training."""
    without_gradient: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    """What was declared trainable and did not move."""
    moved: tuple[str, ...] = ()
    """What was frozen and did move."""
    promised: bool = False
    serves: str = ""
    """`beside`, `merged`, or why not."""
    serve_gap: float = 0.0
    look_ahead: float = 0.0


def base(dtype: torch.dtype) -> Loaded:
    """The model that every method is tried on: three layers of width 32."""
    model = tiny_llama(dtype=dtype, num_hidden_layers=3)
    return Loaded(model, tiny_tokenizer(), describe(model, "tiny", str(dtype)))


@torch.no_grad()
def padded_logits(called: Any) -> torch.Tensor:
    """Logits of every row through a model or PEFT's wrapper, one row at a time, as anybody would."""
    kwargs = {}
    name = type(called).__name__
    found = []
    for row in ROWS:
        token_1T = torch.tensor([row])
        if name.startswith("Peft") and called.active_peft_config.peft_type.value in (
            "POLY",
            "MULTITASK_PROMPT_TUNING",
        ):
            kwargs = {"task_ids": torch.zeros(1, dtype=torch.long)}
        logits = called(input_ids=token_1T, attention_mask=torch.ones_like(token_1T), **kwargs).logits
        found.append(logits[0, -len(row) :])
    return torch.cat(found).float()


def session_logits(session: Session) -> torch.Tensor:
    """Logits of every row but the last of each, as the session computes them."""
    return session.forward(STEP, (Logits(),))["logits"].float()


class Logits:
    """A readout of whole vocabulary rows."""

    outputs = ("logits",)

    def __call__(self, hidden_CD: Any, heads: Any, reads: Any) -> dict[str, torch.Tensor]:
        """``logits``: (C, V)."""
        return {"logits": heads["output"](hidden_CD)}


def untouched(layout: Any, dtype: torch.dtype) -> Attached:
    """The base model, as a method that changes nothing."""
    model = base(dtype).model.requires_grad_(False)
    model.set_attn_implementation(register() if layout == "ragged" else "sdpa")
    return Attached(model, (), lambda folder: None, 0, layout=layout)


@torch.no_grad()
def look_ahead(session: Session) -> float:
    """Largest change of a logit when a later token changes: 0 for a causal model."""
    other = [Encoded((*row[:-1], 99), (1.0,) * len(row)) for row in ROWS]
    found = session.forward(other, (Logits(),))["logits"].float()
    return float((found - session_logits(session)).abs().max())


STEP = [Encoded(row, (1.0,) * len(row)) for row in ROWS]


def but_last(logits: torch.Tensor) -> torch.Tensor:
    """Rows of all tokens but the last of each example, which predicts nothing."""
    ends = torch.tensor([len(row) for row in ROWS]).cumsum(0) - 1
    keep = torch.ones(len(logits), dtype=torch.bool)
    keep[ends] = False
    return logits[keep]


def open_session(loaded: Loaded, attached: Attached) -> Session:
    """A session with plain AdamW, one step for all rows."""
    from tunesmith.core.recipe import AdamW

    masters = Masters(attached.trainable)
    if attached.trainable == ():
        optimiser: Any = None
    else:
        optimiser = make_optimiser(AdamW(), masters.entries)
    heads = {"output": output_head(attached.model)}
    return Session(attached, heads=heads, microbatch_tokens=64, masters=masters, optimiser=optimiser)


def try_method(peft_type: str, dtype: torch.dtype = torch.float32, **config: Any) -> Trial:
    """Train a few steps, publish, load with plain PEFT and with ours."""
    given = {**SMALL.get(peft_type, {}), **config}
    loaded = base(dtype)
    loaded.model.set_attn_implementation(register())
    try:
        begin = Begin(seed=1, base_name="tiny", num_steps=STEPS, sample_rows=ROWS)
        attached = attach(loaded, Peft(peft_type=peft_type, config=given), begin)
    except UserError as refusal:
        return Trial(peft_type, given, refused=refusal.what + (f": {refusal.value}" if refusal.value else ""))
    return trained(Trial(peft_type, given), loaded, attached, dtype)


def trained(trial: Trial, loaded: Loaded, attached: Attached, dtype: torch.dtype) -> Trial:
    """The trial with what training and loading found."""
    from dataclasses import replace

    from tunesmith.core.recipe import Sft
    from tunesmith.train.objectives import supervised

    base_logits = session_logits(open_session(loaded, untouched(attached.layout, dtype)))
    session = open_session(loaded, attached)
    objective = supervised(Sft())
    at_start = session_logits(session)
    ours = {id(entry.parameter) for entry in attached.trainable}
    inside = attached.forward or attached.model
    frozen = {n: p.detach().clone() for n, p in inside.named_parameters() if id(p) not in ours}
    before = {name: tensor.clone() for name, tensor in session.masters.tensors().items()}
    losses, without = [], set(before)
    for _ in range(STEPS):
        losses.append(session.forward_backward(STEP, objective).loss)
        without -= {entry.name for entry in session.masters.entries if entry.parameter.grad is not None}
        session.optim_step(learning_rate=1e-2, max_norm=None)
    losses.append(session.forward_backward(STEP, objective).loss)
    session.clear_gradient()
    after = session.masters.tensors()
    state = dict(inside.named_parameters())
    session.model.eval()
    at_end = session_logits(session)
    with tempfile.TemporaryDirectory() as folder:
        attached.publish(Path(folder))
        reload_gap = float((but_last(padded_logits(plain_peft(Path(folder), dtype))) - at_end).abs().max())
        serves, served = served_logits(Path(folder), dtype)
    return replace(
        trial,
        layout=attached.layout,
        learns=session.num_trainable,
        expected=attached.expected_parameters,
        first_loss=losses[0],
        last_loss=losses[-1],
        start_gap=float((at_start - base_logits).abs().max()),
        reload_gap=reload_gap,
        effect=float((at_end - base_logits).abs().max()),
        without_gradient=tuple(sorted(without)),
        still=tuple(sorted(name for name, tensor in after.items() if torch.equal(tensor, before[name]))),
        moved=tuple(name for name, tensor in frozen.items() if not torch.equal(state[name], tensor)),
        look_ahead=look_ahead(session),
        promised=attached.unchanged_at_start,
        serves=serves,
        serve_gap=0.0 if served is None else float((but_last(served) - at_end).abs().max()),
    )


def plain_peft(folder: Path, dtype: torch.dtype) -> Any:
    """The published folder as anybody loads it."""
    import warnings

    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's own, about its own files
        model = base(dtype).model
        return peft.PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False).eval()


def served_logits(folder: Path, dtype: torch.dtype) -> tuple[str, torch.Tensor | None]:
    """Logits of the published folder in our inference, and how it holds the adapter."""
    try:
        loaded = put_on(base(dtype), folder)
    except UserError as refusal:
        return refusal.what, None
    if loaded.forward is not None:
        return "beside", padded_logits(loaded.forward)
    theirs = any(type(module).__module__.startswith("peft.") for module in loaded.model.modules())
    merged = not theirs and not list(lora_layers(loaded.model))
    return "merged" if merged else "beside", padded_logits(loaded.model)


def every_type() -> list[str]:
    """The installed library's methods."""
    import_bitsandbytes_first()
    from peft import PeftType

    return [kind.value for kind in PeftType]


def untried(peft_type: str) -> Trial:
    """The line of a method that needs a package which may be absent."""
    return Trial(peft_type, SMALL.get(peft_type, {}))


def all_trials() -> list[Trial]:
    """Every method of the installed library, tried."""
    return [
        untried(peft_type) if KINDS[peft_type].package else try_method(peft_type)
        for peft_type in every_type()
    ]


def snippet(trial: Trial) -> str:
    """The smallest `method` section that does it."""
    arguments = ", ".join(f"{name}: {value}" for name, value in trial.config.items())
    arguments = arguments.replace("'", "").replace("True", "true")
    return f"`{{kind: peft, peft_type: {trial.peft_type}, config: {{{arguments}}}}}`"


def line(trial: Trial) -> str:
    """One line of the table."""
    kind = KINDS[trial.peft_type]
    if kind.package:
        return (
            f"| {trial.peft_type} | with the package {kind.package} | {kind.layout} | | {kind.start} | |"
            f" {snippet(trial)} |"
        )
    if trial.refused:
        return f"| {trial.peft_type} | refused | | | | | {trial.refused} |"
    how = trial.serves if trial.serves in ("merged", "beside") else "no"
    return (
        f"| {trial.peft_type} | trains | {trial.layout} | {trial.learns:,} |"
        f" {kind.start} | {how} | {snippet(trial)} |"
    )


def page(trials: list[Trial]) -> str:
    """docs/peft.md."""
    trains = sum(not trial.refused and not KINDS[trial.peft_type].package for trial in trials)
    return "\n".join(
        [
            "# Every method of the PEFT library",
            "",
            "Made by `python scripts/peft_table.py`, which trains each method on a tiny model, publishes it",
            "and loads it with plain `peft.PeftModel.from_pretrained`:",
            f"{trains} of {len(trials)} train.",
            "",
            "* **Layout**: `ragged` runs on our core; `padded` through PEFT's wrapper, one example a row.",
            "* **Numbers**: that learn in the tiny model (three layers of width 32), with these arguments.",
            "* **Start**: whether step 0 equals the base model, with the method's own initial values.",
            "* **Served**: `merged` into a float32 base (in bfloat16 it stays beside the weights: merging",
            "  would round it), `beside` the weights, or not by our sampler: use PEFT itself.",
            "",
            "LoRA's variants (DoRA, rsLoRA, PiSSA, OLoRA, KaSA, MiCA, …) are `LORA` with their own",
            "arguments, such as `config: {use_dora: true}` or `{init_lora_weights: pissa}`.",
            "",
            "| Method | | Layout | Numbers | Start | Served | Smallest `method` section, or the refusal |",
            "|---|---|---|---|---|---|---|",
            *(line(trial) for trial in trials),
            "",
        ]
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(all_trials()), encoding="utf-8")


if __name__ == "__main__":
    main()
