"""A linear layer beside which several LoRA adapters have a part, each token taking its own.

Legend of tensor names: T tokens, I inputs, O outputs, K rank of one adapter, S ranks of the stacked ones.

A layer computes its base once for all tokens.  Then one of two ways adds the adapters' parts, chosen for each
pass by what it wastes:

* stacked: x A' for the A of all adapters at once, each token's numbers of other adapters set to zero, and one
  product with all B.  Two small products whatever the number of adapters: for decoding, where a product of a
  few tokens costs its call and hardly its arithmetic;
* by run: two products for each run of tokens.  For long runs.

(SmolLM2-135M's linear layers, rank 16, bf16, two threads, all 210 layers: at 24 tokens of 8 adapters the base
takes 94 ms; one adapter adds 65, 8 stacked 78, 8 by run 320, gathering each token's own A and B 294.  At 512
tokens of 24 adapters stacked adds 1270 and by run 950.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.runtime.packed_linear import PackedLinear
from tunesmith.runtime.quantise import QuantisedLinear, weight_of


class Run(NamedTuple):
    """Consecutive tokens that take one adapter."""

    name: str | None
    start: int
    stop: int


class Part(NamedTuple):
    """An adapter's part of one layer in the dtype that the base computes in; B carries the scale."""

    a_KI: Tensor
    b_OK: Tensor


class Stack(NamedTuple):
    """Parts of several adapters, one below the other."""

    names: tuple[str, ...]
    """What the bank had stacked, whether or not it has a part in this layer."""
    layout: tuple[tuple[str, int], ...]
    """Adapter and rank of each part."""
    a_SI: Tensor
    b_OS: Tensor


@dataclass
class Line:
    """The tokens that some layers see in one pass."""

    runs: tuple[Run, ...]
    num_tokens: int
    seen: set[int] = field(default_factory=set)
    """Layers that have computed it: none does so twice."""
    masks: dict[tuple[tuple[str, int], ...], Tensor] = field(default_factory=dict)

    def mask(self, stack: Stack) -> Tensor:
        """One (T, S) where a token and a rank belong to the same adapter, zero elsewhere."""
        if stack.layout not in self.masks:
            mask_TS = stack.a_SI.new_zeros(self.num_tokens, len(stack.a_SI))
            start = 0
            for name, rank in stack.layout:
                for run in self.runs:
                    if run.name == name:
                        mask_TS[run.start : run.stop, start : start + rank] = 1
                start += rank
            self.masks[stack.layout] = mask_TS
        return self.masks[stack.layout]


@dataclass
class Route:
    """Who takes what in the next pass."""

    line: Line
    """What the layers of the blocks see."""
    read: Line
    """What the output layer sees."""
    names: frozenset[str]
    alone: str | None
    """The adapter that every token takes, if there is one."""
    stacked: tuple[str, ...]
    """Adapters to stack; empty: compute run by run."""


@dataclass
class Switch:
    """What the bank and its layers share."""

    route: Route | None = None


class BankedLinear(nn.Module):
    """A frozen linear layer and the parts that adapters have beside it."""

    def __init__(
        self,
        base: nn.Linear | QuantisedLinear | PackedLinear,
        switch: Switch,
        number: int,
        *,
        is_output: bool,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.switch, self.number, self.is_output = switch, number, is_output
        self.parts: dict[str, Part] = {}
        self.stack: Stack | None = None

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as models ask for it."""
        return weight_of(self.base)

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias, as models ask for it."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs), each token with its adapter.

        Raises RuntimeError when nothing was routed for just this pass.
        """
        route = self.switch.route
        line = None if route is None else (route.read if self.is_output else route.line)
        num_tokens = x.numel() // x.shape[-1]
        if route is None or line is None or line.num_tokens != num_tokens or self.number in line.seen:
            raise RuntimeError(misrouted(line, num_tokens))
        line.seen.add(self.number)
        y: Tensor = self.base(x)
        if not route.names or route.names.isdisjoint(self.parts):
            return y
        x_TI, y_TO = x.reshape(num_tokens, -1), y.view(num_tokens, -1)
        if route.alone is not None:
            a_KI, b_OK = self.parts[route.alone]
            y_TO.addmm_(x_TI @ a_KI.T, b_OK.T)
        elif route.stacked:
            stack = self.stack
            if stack is None or stack.names != route.stacked:
                stack = self.stack = stack_of(self.parts, route.stacked)
            y_TO.addmm_((x_TI @ stack.a_SI.T).mul_(line.mask(stack)), stack.b_OS.T)
        else:
            self._by_run(line, x_TI, y_TO)
        return y

    def _by_run(self, line: Line, x_TI: Tensor, y_TO: Tensor) -> None:
        """Add each run's own part."""
        for name, start, stop in line.runs:
            part = None if name is None else self.parts.get(name)
            if part is not None:
                y_TO[start:stop].addmm_(x_TI[start:stop] @ part.a_KI.T, part.b_OK.T)


def misrouted(line: Line | None, num_tokens: int) -> str:
    """Why a layer cannot compute this pass."""
    if line is None:
        return "a pass over a model with adapters needs `AdapterBank.route` before it"
    if line.num_tokens != num_tokens:
        return f"{line.num_tokens} tokens were routed, and the pass has {num_tokens}"
    return "the route was used by a pass already: `AdapterBank.route` stands before each"


def stack_of(parts: Mapping[str, Part], names: tuple[str, ...]) -> Stack:
    """The parts of some adapters one below the other."""
    found = [(name, parts[name]) for name in names if name in parts]
    return Stack(
        names,
        tuple((name, len(part.a_KI)) for name, part in found),
        torch.cat([part.a_KI for _, part in found]),
        torch.cat([part.b_OK for _, part in found], dim=1),
    )
