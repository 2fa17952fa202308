"""One forward pass over a line of tokens of many rows, and the proof that it computes what the model does.

Legend of tensor names: R rows that are read, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tunesmith.runtime.sampling.attention import ATTENTION_NAME, Decode, Measure, Part, Pass, Piece
from tunesmith.runtime.sampling.kv import Group, LayerShape
from tunesmith.runtime.sampling.port import CannotStep, Request
from tunesmith.runtime.sampling.row import Row
from tunesmith.runtime.sampling.stopping import StopFilter, TokenText

PROOF_TEXT = "The quick brown fox jumps over the lazy dog."
PROOF_LIMIT = 0.25
"""Share of the logits' spread: bfloat16 through thirty layers moves them by a twentieth on ordinary text
(0.18 of 4.0 on SmolLM2-135M), a lost state or mask by the whole of it."""


class Tokenizer(Protocol):
    """What sampling asks of a transformers tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Text to token ids."""

    def decode(self, token_ids: Any, *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> Any:
        """Token ids to text."""

    @property
    def backend_tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer`, whose tokens grammars walk."""


class Routes(Protocol):
    """Several adapters on one model: `lora.bank.AdapterBank`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that are here."""

    def route(self, runs: Sequence[tuple[str | None, int]], *, reads: Sequence[int] | None = None) -> None:
        """Say which adapter each run of consecutive tokens of the next pass takes, and which are read."""


class Read(NamedTuple):
    """What the logits of one token are for."""

    row: Row
    scored: int | None
    """Index of the prompt token whose log-probability they hold; None: the row's next token."""


@dataclass
class Line:
    """The tokens of one forward pass, part behind part."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    runs: list[tuple[str | None, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    read_at: list[int] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    stops: list[tuple[Row, int]] = field(default_factory=list)
    """Up to where each row is computed when the pass is done."""

    def add_group(self, group: Group) -> None:
        """The pending token of each row of an open group."""
        for row in group.rows:
            self.read_at.append(len(self.tokens))
            self.reads.append(Read(row, None))
            self.tokens += row.tokens(row.computed, row.computed + 1)
            self.positions.append(row.computed)
            self.runs.append((row.request.adapter, 1))
            self.stops.append((row, row.computed + 1))
        self.parts.append(Decode(group))

    def add_piece(self, row: Row, stop: int) -> None:
        """The pending tokens of a row up to `stop`, alone in its group."""
        assert row.group is not None
        start, begin = row.computed, len(self.tokens)
        for read in reads_of(row, stop):
            self.read_at.append(begin + (row.num_tokens if read.scored is None else read.scored) - 1 - start)
            self.reads.append(read)
        self.tokens += row.tokens(start, stop)
        self.positions += range(start, stop)
        self.runs.append((row.request.adapter, stop - start))
        self.stops.append((row, stop))
        self.parts.append(Piece(row.group, start, stop))

    def count(self) -> None:
        """Note what the pass has computed."""
        for row, stop in self.stops:
            row.computed = stop


def reads_of(row: Row, stop: int) -> list[Read]:
    """What is read of a row's tokens from `computed` to `stop`."""
    first = row.next_scored
    last = min(stop + 1, len(row.request.token_ids))
    reads = [] if first is None else [Read(row, index) for index in range(first, last)]
    if stop == row.num_tokens and row.request.max_tokens:
        reads.append(Read(row, None))
    return reads


class Stepper:
    """Runs a model over lines of tokens.

    Switches the model to the attention of `attention.py`; it must not be used otherwise meanwhile.  Raises
    CannotStep when that would change what it computes.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, bank: Routes | None) -> None:
        self.model, self.bank = model.eval(), bank
        self.device: torch.device = next(model.parameters()).device
        self.shapes, self.vocab_size = prove(self, tokenizer)

    def logits(self, line: Line) -> Tensor:
        """Logits (R, V) in float32, on the processor, after the tokens that are read."""
        # A pass that reads nothing still reads its last token: an output layer of no rows is nobody's case.
        read_at = line.read_at or [len(line.tokens) - 1]
        if self.bank is not None:
            self.bank.route(line.runs, reads=read_at)
        output = self.model(
            input_ids=torch.tensor([line.tokens], device=self.device),
            position_ids=torch.tensor([line.positions], device=self.device),
            use_cache=False,
            logits_to_keep=torch.tensor(read_at, device=self.device),
            cache_pass=Pass(line.parts),
        )
        logits_RV: Tensor = output.logits[0, : len(line.read_at)].float().cpu()
        return logits_RV


@torch.inference_mode()
def prove(stepper: Stepper, tokenizer: Tokenizer) -> tuple[tuple[LayerShape, ...], int]:
    """Show on a few tokens that stepping gives the model's own logits; returns layers and vocabulary.

    Anything that a layer carries from token to token outside keys and values would be lost here.
    """
    model, name = stepper.model, type(stepper.model).__name__
    if model._is_stateful:  # transformers' own mark of recurrent models
        raise CannotStep("recurrent and hybrid models cannot be sampled from token by token", value=name)
    tokens = tokenizer.encode(PROOF_TEXT, add_special_tokens=False)
    if stepper.bank is not None:
        stepper.bank.route([(None, len(tokens))])
    model.set_attn_implementation("eager")
    input_ids = torch.tensor([tokens], device=stepper.device)
    expected_V = model(input_ids=input_ids, use_cache=False).logits[0, -1].float().cpu()
    model.set_attn_implementation(ATTENTION_NAME)
    try:
        shapes = measure(stepper, tokens)
        found_V = step_through(stepper, shapes, tokens)
    except (TypeError, IndexError) as error:
        # Layers that do not hand `cache_pass` on or take no `logits_to_keep`, and `measure`: not all attend.
        reason = f"{name}: {error}"
        raise CannotStep("this model's layers cannot be sampled from token by token", value=reason) from error
    difference = float((found_V - expected_V).square().mean().sqrt())
    if not difference <= PROOF_LIMIT * float(expected_V.std()):
        raise CannotStep(
            "token by token this model would not compute what it computes at once",
            value=f"{name}: logits differ by {difference:.3g}",
            next_step="choose another model, such as smollm2-135m-instruct",
        )
    return shapes, len(expected_V)


def measure(stepper: Stepper, tokens: list[int]) -> tuple[LayerShape, ...]:
    """What each layer keeps of a token, in the layers' order."""
    probe = Measure(len(tokens))
    line = Line(tokens, list(range(len(tokens))), [(None, len(tokens))], [probe])
    stepper.logits(line)
    layers = sorted(probe.shapes)
    if layers != list(range(len(layers))):
        raise IndexError(f"attention in the layers {layers} only")
    return tuple(probe.shapes[layer] for layer in layers)


def step_through(stepper: Stepper, shapes: Sequence[LayerShape], tokens: list[int]) -> Tensor:
    """Logits (V,) after some tokens: half of them at once, the rest one by one."""
    half = len(tokens) // 2
    request = Request(tuple(tokens[:half]), len(tokens))
    row = Row(0, request, TokenText(lambda _: ""), StopFilter(()), 0, tokens[half:])
    row.group = Group(shapes, None, len(tokens), is_open=False)
    row.group.resize(1, len(tokens))
    row.group.put(row, [])
    line = Line()
    line.add_piece(row, half)
    stepper.logits(line)
    found_V = torch.empty(0)
    for row.computed in range(half, len(tokens)):
        line = Line()
        line.add_group(row.group)
        found_V = stepper.logits(line)[0]
    return found_V
