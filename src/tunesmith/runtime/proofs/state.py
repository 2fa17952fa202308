"""A session that is tried out and left as it was, to the bit.

Legend of tensor names: N numbers of one tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from tunesmith.runtime.quantise import quantised_layers
from tunesmith.runtime.session import Session

NUDGE: Final = 0.4
"""Spread of the numbers that stand in for zeros, times the root of the inputs.  A LoRA product of rank 16 is
then large enough for its being wrong by a tenth to be seen above bfloat16's rounding."""
MOST_NUMBERS: Final = 50_000_000
"""A gradient is compared on at most so many of its numbers, evenly spread: 200 MB a copy."""
SMALL_TENSOR: Final = 1e-3
"""A tensor whose gradient is a smaller share of the whole than this is judged against that share: its own
gradient is mostly cancelled, and the rounding of what cancelled is not."""


@contextmanager
def undisturbed(session: Session, *, learning: bool = False) -> Iterator[None]:
    """Undo everything that a proof does to masters, model, buffers, gradients and random state.

    Inside, tensors that start at zero hold small numbers: behind LoRA's zero B the gradient of A is zero, so
    a wrong one could not be told from a right one.  Noise is off, and so are dropout and activation
    checkpointing, unless the model stays as it is when it learns (`learning`).
    """
    random_state = torch.get_rng_state()
    neftune, session.neftune = session.neftune, None
    lengths: tuple[int, ...] = ()
    if neftune is not None:  # its hook stays on the embedding, with the lengths of the last forward
        lengths, neftune.lengths = neftune.lengths, ()
    microbatch_tokens = session.microbatch_tokens
    kept = [(parameter, parameter.detach().clone()) for parameter in zeros(session)]
    # Whole numbers are a quantised base, which nothing writes to and which is large.
    buffers = [
        (buffer, buffer.detach().clone()) for buffer in session.model.buffers() if buffer.is_floating_point()
    ]
    session.clear_gradient()
    session.model.train(learning)
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for parameter, _ in kept:
                spread = NUDGE / math.sqrt(parameter.shape[-1] if parameter.dim() else 1)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        yield
    finally:
        with torch.no_grad():
            for tensor, before in (*kept, *buffers):
                tensor.copy_(before)
        session.model.train()
        session.clear_gradient()
        session.neftune, session.microbatch_tokens = neftune, microbatch_tokens
        if neftune is not None:
            neftune.lengths = lengths
        torch.set_rng_state(random_state)


def zeros(session: Session) -> list[nn.Parameter]:
    """Trainables that are zero in every number."""
    return [
        entry.parameter
        for entry in session.attached.trainable
        if entry.parameter.is_floating_point() and not entry.parameter.detach().any()
    ]


@contextmanager
def in_float32(session: Session) -> Iterator[None]:
    """The model with its very same numbers in float32, so that rounding hides nothing."""
    narrow = [
        tensor
        for tensor in (*session.model.parameters(), *session.model.buffers())
        if tensor.is_floating_point() and tensor.dtype != torch.float32
    ]
    kept = [tensor.data for tensor in narrow]
    quantised = [(layer, layer.dtype) for layer in quantised_layers(session.model).values()]
    try:
        for layer, _ in quantised:
            layer.dtype = torch.float32
        for tensor in narrow:
            tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, data in zip(narrow, kept, strict=True):
            tensor.data = data
        for layer, dtype in quantised:
            layer.dtype = dtype


Gradient = Mapping[str, Tensor]
"""Numbers of each trainable's gradient by name; missing where there is none."""


def take_gradient(session: Session) -> Gradient:
    """The gradient that was gathered, thinned to `MOST_NUMBERS`; the session holds none afterwards."""
    stride = math.ceil(session.num_trainable / MOST_NUMBERS)
    found = {
        entry.name: entry.parameter.grad.detach().flatten()[::stride].clone()
        for entry in session.masters.entries
        if entry.parameter.grad is not None
    }
    session.clear_gradient()
    return found


@dataclass(frozen=True)
class Gap:
    """How far two gradients are apart."""

    whole: float
    """Norm of the difference over the norm of the first."""
    worst: float
    """The same for the tensor where it is largest; see `SMALL_TENSOR`."""
    worst_name: str
    scale: float
    """How far the length along the first is from right, for the kind of tensor where it is furthest; a kind
    is what has the same name in every block.  Rounding has no direction, so this is far smaller than `whole`,
    and a factor that is wrong somewhere is not."""
    scale_kind: str


def gap(found: Gradient, expected: Gradient) -> Gap:
    """How far `found` is from `expected`; a tensor without gradient counts as zeros."""
    squares = {name: norm(value) ** 2 for name, value in expected.items()}
    total = math.sqrt(sum(squares.values())) or 1.0
    differences = {
        name: norm(difference(found.get(name), expected.get(name)))
        for name in sorted(expected.keys() | found.keys())
    }
    shares = {
        name: value / max(math.sqrt(squares.get(name, 0.0)), SMALL_TENSOR * total)
        for name, value in differences.items()
    }
    worst_name = max(shares, key=shares.__getitem__, default="")
    whole = math.sqrt(sum(value**2 for value in differences.values())) / total
    scales = scales_by_kind(found, expected, least=SMALL_TENSOR * total)
    scale_kind = max(scales, key=scales.__getitem__, default="")
    return Gap(whole, shares.get(worst_name, 0.0), worst_name, scales.get(scale_kind, 0.0), scale_kind)


def scales_by_kind(found: Gradient, expected: Gradient, *, least: float) -> dict[str, float]:
    """By kind of tensor, how far the length along `expected` is from right; see `Gap.scale`.

    Gradients shorter than `least` are taken as of that length.
    """
    along: dict[str, float] = {}
    squares: dict[str, float] = {}
    for name, value in expected.items():
        kind = re.sub(r"\.\d+\.", ".*.", name)
        off = found[name] - value if name in found else -value
        along[kind] = along.get(kind, 0.0) + float((off.double() * value.double()).sum())
        squares[kind] = squares.get(kind, 0.0) + norm(value) ** 2
    return {kind: abs(along[kind]) / max(squares[kind], least**2) for kind in along}


def difference(one_N: Tensor | None, other_N: Tensor | None) -> Tensor:
    """The difference of two gradients of a tensor, of which at most one may be missing."""
    if one_N is None or other_N is None:
        missing = other_N if one_N is None else one_N
        assert missing is not None
        return missing
    return one_N - other_N


def norm(value_N: Tensor) -> float:
    """Euclidean length in float64; infinite where a number is not finite, so that no comparison holds."""
    length = float(value_N.double().norm())
    return length if math.isfinite(length) else math.inf


def fill_gradient(session: Session) -> None:
    """Give every master a gradient of zeros that really takes memory."""
    for parameter in session.masters.parameters:
        parameter.grad = torch.full_like(parameter, 0.0)
