"""How parameters move: one rule for each `optimiser.kind` of a recipe, behind one small interface.

What all rules share, whatever their library means by the same words:

- A parameter's rate is the run's learning rate times its `rate_factor` (LoRA+).
- Weight decay is decoupled: a parameter with `decay` is multiplied by 1 − rate × weight_decay in each step,
  whatever its gradient (Loshchilov & Hutter 2019, arXiv:1711.05101), with SGD too.
- A step of learning rate r changes numbers by about r, so that a rate found with AdamW serves the others as a
  first guess; SGD is the exception, its steps follow the size of the gradient.

State goes in and out as flat tensors named `{master}.{what}`; a round trip changes no bit of the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from tunesmith.core.errors import ConfigError, FolderError
from tunesmith.core.recipe import Adafactor, AdamW, AdamW8bit, Muon, Optimiser, Sgd
from tunesmith.runtime.bits import import_bitsandbytes
from tunesmith.runtime.methods.port import Trainable


class StepRule(Protocol):
    """Moves the masters along the gradients that stand in `master.parameter.grad`."""

    def step(self, learning_rate: float) -> None:
        """One step; a master without a gradient stays where it is."""

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on beside masters and settings; the tensors are not copies."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave; raises FolderError when it belongs to other masters or another kind."""


STATE_KEYS: Final[Mapping[str, tuple[frozenset[str], ...]]] = MappingProxyType({
    "AdamW": (frozenset({"step", "exp_avg", "exp_avg_sq"}),),
    "AdamW8bit": (
        frozenset({"step", "state1", "state2"}),  # a tensor under 4,096 numbers stays in float32
        frozenset({"step", "state1", "state2", "absmax1", "absmax2"}),
    ),
    "Muon": (frozenset({"momentum_buffer"}),),
    "Adafactor": (frozenset({"step", "row_var", "col_var"}), frozenset({"step", "variance"})),
    "SGD": (frozenset({"momentum_buffer"}),),
})  # fmt: skip
"""What each library class keeps for a master, without the constants that it makes anew."""

QMAPS: Final = MappingProxyType({"qmap1": "dynamic", "qmap2": "udynamic"})
"""Constant tables of bitsandbytes, by their names in its state: the same for all masters, never saved."""


@dataclass(frozen=True)
class TorchRule:
    """A rule made of optimisers with torch's interface, each with its own share of the masters."""

    parts: tuple[torch.optim.Optimizer, ...]
    names: Mapping[Tensor, str]

    def step(self, learning_rate: float) -> None:
        """One step of every part; see `StepRule`."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group["rate_factor"]
                decay_first(group)
            part.step()

    def state(self) -> dict[str, Tensor]:
        """Flat tensors; see `StepRule`."""
        return {
            f"{self.names[parameter]}.{what}": as_tensor(value)
            for part in self.parts
            for parameter, kept in part.state.items()
            for what, value in kept.items()
            if what not in QMAPS and value is not None  # SGD without momentum keeps None
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up flat tensors; see `StepRule`."""
        by_name: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            name, _, what = key.rpartition(".")
            by_name.setdefault(name, {})[what] = tensor
        foreign = sorted(by_name.keys() - set(self.names.values()))
        if foreign:
            raise misfit(foreign[0])
        for part in self.parts:
            part.state.clear()
            for parameter in parameters_of(part):
                kept = by_name.get(self.names[parameter])
                if kept is not None:
                    part.state[parameter] = taken_up(part, parameter, kept, name=self.names[parameter])


def parameters_of(part: torch.optim.Optimizer) -> Iterable[Tensor]:
    """Every parameter of every group."""
    return (parameter for group in part.param_groups for parameter in group["params"])


def decay_first(group: Mapping[str, Any]) -> None:
    """Decoupled weight decay for a library class that has none; `group["decay_here"]` asks for it."""
    if group["decay_here"]:
        with torch.no_grad():
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1.0 - group["lr"] * group["decay_here"])


def as_tensor(value: Tensor | int) -> Tensor:
    """A tensor without graph; bitsandbytes counts its steps in a plain number."""
    return value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int64)


def taken_up(
    part: torch.optim.Optimizer, parameter: Tensor, kept: Mapping[str, Tensor], *, name: str
) -> dict[str, Any]:
    """State of one master as its optimiser holds it; raises FolderError when it cannot be its state."""
    kind = type(part).__name__
    if frozenset(kept) not in STATE_KEYS[kind]:
        raise misfit(name)
    for what in ("exp_avg", "exp_avg_sq", "momentum_buffer", "state1", "state2", "variance"):
        if what in kept and kept[what].shape != parameter.shape:
            raise misfit(name)
    # Only the fused AdamW counts its steps on the parameter's device; the others count on the host.
    state: dict[str, Any] = {
        what: value.clone() if what == "step" and kind != "AdamW" else value.to(parameter.device, copy=True)
        for what, value in kept.items()
    }
    if kind == "AdamW8bit":
        state["step"] = int(kept["step"])
        if "absmax1" in kept:
            state |= {what: quantisation_map(part, table, parameter) for what, table in QMAPS.items()}
    return state


def quantisation_map(part: Any, table: str, parameter: Tensor) -> Tensor:
    """One of the two constant tables, made by the library on demand."""
    if table not in part.name2qmap:
        part.fill_qmap()
    part.name2qmap[table] = part.name2qmap[table].to(parameter.device)
    made: Tensor = part.name2qmap[table]
    return made


def misfit(name: str) -> FolderError:
    """The complaint about state of other masters or of another optimiser."""
    return FolderError(
        "the optimiser's state belongs to another model, method or optimiser",
        value=name,
        next_step="resume with the recipe that the checkpoint was made with, or start a new run",
    )


def grouped(
    masters: Sequence[Trainable], weight_decay: float, *, decay_here: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups of masters that share rate factor and decay; the rate is set at each step."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for master in masters:
        groups.setdefault((master.rate_factor, master.decay), []).append(master.parameter)
    return [
        {
            "params": parameters,
            "rate_factor": rate_factor,
            "weight_decay": weight_decay if decay and not decay_here else 0.0,
            "decay_here": weight_decay if decay and decay_here else 0.0,
        }
        for (rate_factor, decay), parameters in groups.items()
    ]


Parts = tuple[torch.optim.Optimizer, ...]


def adamw(settings: AdamW | Muon, masters: Sequence[Trainable]) -> Parts:
    """Torch's fused AdamW."""
    groups = grouped(masters, settings.weight_decay)
    return (torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, fused=True),)


def adamw8bit(settings: AdamW8bit, masters: Sequence[Trainable]) -> Parts:
    """AdamW of bitsandbytes: means in 8 bits in blocks of 256; a tensor under 4,096 numbers keeps 32 bits.

    Raises MissingPackage when bitsandbytes is absent.
    """
    library = import_bitsandbytes().optim
    groups = grouped(masters, settings.weight_decay)
    return (library.AdamW8bit(groups, lr=0.0, betas=settings.betas),)


def muon(settings: Muon, masters: Sequence[Trainable]) -> Parts:
    """Muon for what is `orthogonal`, the fused AdamW for the rest; raises ConfigError when nothing is.

    Muon's step is 0.2 × √max(rows, columns) × rate × the orthogonalised momentum, which gives it AdamW's
    usual root mean square (Liu et al. 2025, arXiv:2502.16982): one learning rate then serves both parts, and
    one that was found with AdamW stays good.  Jordan's own √max(1, rows/columns) would need a rate of its
    own, about 0.2 × √columns times as high.  Of a LoRA pair each matrix is orthogonalised by itself: all of
    its rank directions move at the same speed.

    AdamW's own first steps are five times as long, so short runs want a higher rate than AdamW's: 20 steps of
    8 examples at 1.3e-3 (LoRA of rank 16, embedded model) brought 2.17 nats to 0.75, with AdamW to 0.37.
    """
    matrices = [master for master in masters if master.orthogonal]
    if not matrices:
        raise ConfigError(
            "optimiser muon has nothing to work on: no matrix between hidden states learns",
            value=f"{len(masters)} tensors, such as {masters[0].name}" if masters else "no tensors",
            next_step="set optimiser.kind to adamw",
        )
    rest = [master for master in masters if not master.orthogonal]
    part = torch.optim.Muon(
        grouped(matrices, settings.weight_decay),
        lr=0.0,
        momentum=settings.momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    return (part, *(adamw(settings, rest) if rest else ()))


def adafactor(settings: Adafactor, masters: Sequence[Trainable]) -> Parts:
    """Torch's Adafactor, with steps that do not depend on how large a tensor is.

    The paper scales each step by max(ε₂, root mean square of the tensor), with ε₂ = 0.001: a tensor that
    starts at zero, as the second matrix of LoRA does, would learn a thousand times too slowly.  ε₂ = 1 makes
    the step the learning rate itself for every tensor whose root mean square is at most 1.  Torch bounds the
    rate by 1/√step.
    """
    groups = grouped(masters, settings.weight_decay)
    return (torch.optim.Adafactor(groups, lr=0.0, eps=(None, 1.0)),)


def sgd(settings: Sgd, masters: Sequence[Trainable]) -> Parts:
    """Torch's SGD; its own weight decay would go through the momentum, so decay is done here."""
    groups = grouped(masters, settings.weight_decay, decay_here=True)
    return (torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum),)


OPTIMISERS: Final[Mapping[str, Callable[[Any, Sequence[Trainable]], Parts]]] = MappingProxyType({
    "adamw": adamw,
    "adamw8bit": adamw8bit,
    "muon": muon,
    "adafactor": adafactor,
    "sgd": sgd,
})  # fmt: skip
"""`optimiser.kind` of a recipe → what makes its parts."""


def make_optimiser(settings: Optimiser, masters: Sequence[Trainable]) -> StepRule:
    """The rule that a recipe's `optimiser` section names, for these masters (float32, names unique).

    Raises ConfigError or MissingPackage when the rule cannot work here.  Clipping is the session's.
    """
    names: dict[Tensor, str] = {master.parameter: master.name for master in masters}
    return TorchRule(OPTIMISERS[settings.kind](settings, masters), names)
