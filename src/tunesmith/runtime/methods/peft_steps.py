"""What some of PEFT's methods do around an optimiser step: a term of their own, and AdaLoRA's ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.runtime.methods.port import (
    no_state,
    nothing_after_step,
    nothing_before_step,
    nothing_to_take_up,
)


class Between(NamedTuple):
    """The hooks of `port.Attached`."""

    before: Callable[[], None] = nothing_before_step
    after: Callable[[int], None] = nothing_after_step
    state: Callable[[], Mapping[str, Tensor]] = no_state
    take_up: Callable[[Mapping[str, Tensor]], None] = nothing_to_take_up


def between_steps(wrapper: Any, config: Any, parameters: Sequence[nn.Parameter]) -> Between:
    """What a method asks for around each step."""
    if config.peft_type.value == "ADALORA":
        ranks = MovingRanks(wrapper, config, parameters)
        return Between(ranks.before, ranks.after, ranks.state, ranks.take_up)
    if vars(config).get("kasa_config") is not None:
        return Between(before=lambda: wrapper._get_kasa_loss().backward())
    return Between()


AVERAGES: Final = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What PEFT's allocator remembers of each number's importance."""


class MovingRanks:
    """AdaLoRA: singular values of little importance are taken away as training goes on.

    Zhang et al. 2023 (arXiv:2303.10512), by PEFT's allocator.
    """

    def __init__(self, wrapper: Any, config: Any, parameters: Sequence[nn.Parameter]) -> None:
        self.wrapper, self.config, self.parameters = wrapper, config, parameters
        self.gradients: list[Tensor | None] = []

    def before(self) -> None:
        """Add the orthogonality term's gradient, and keep the sum for judging ranks."""
        if self.config.orth_reg_weight > 0:
            (self.config.orth_reg_weight * orthogonality(self.wrapper)).backward()
        self.gradients = [parameter.grad for parameter in self.parameters]

    def after(self, step: int) -> None:
        """Let PEFT judge ranks by weight times gradient, which the session has put away by now."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        self.wrapper.base_model.update_and_allocate(step)
        for parameter in self.parameters:
            parameter.grad = None
        self.gradients = []

    def state(self) -> dict[str, Tensor]:
        """The importance of each number, and which ranks are left."""
        allocator = self.wrapper.base_model.rankallocator
        found = {
            f"{what}.{name}": tensor for what in AVERAGES for name, tensor in vars(allocator)[what].items()
        }
        left = self.config.rank_pattern or {}
        return found | {f"ranks.{name}": torch.tensor(kept) for name, kept in left.items()}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave."""
        allocator, ranks = self.wrapper.base_model.rankallocator, {}
        allocator.reset_ipt()
        for key, tensor in state.items():
            what, _, name = key.partition(".")
            if what == "ranks":
                ranks[name] = tensor.tolist()
            else:
                vars(allocator)[what][name] = tensor
        self.config.rank_pattern = ranks or None


def orthogonality(wrapper: Any) -> Tensor:
    """How far AdaLoRA's singular vectors are from orthogonal, a mean over matrices.

    ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖ in the Frobenius norm (Zhang et al. 2023, arXiv:2303.10512, equation 4,
    without the square, as PEFT computes it).
    """
    terms = []
    for name, parameter in wrapper.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            gram = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter
            terms.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
    return torch.stack(terms).mean()
