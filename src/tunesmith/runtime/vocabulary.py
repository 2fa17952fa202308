"""New tokens, and embedding rows that learn while the rest of the embedding stays.

Legend of tensor names: N rows that learn, V vocabulary, D hidden width; (…) any leading sizes.

Rows that learn are float32 masters of their own.  They are rounded into the frozen embedding where it is
used, so that a forward is the embedding's own, untouched rows keep every bit, and a tied output layer follows
because its weight is the same memory.  Only the gradient is ours: a full embedding's, cut to the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.files import explain_disk_errors
from tunesmith.runtime.encoding import add_to_tokenizer, known_id
from tunesmith.runtime.methods.port import Trainable
from tunesmith.runtime.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from tunesmith.runtime.models import Loaded

ROWS_NAME: Final = "token_rows.safetensors"
GIVE_ITS_BASE: Final = "give the model that it was trained on"
NOISE: Final = 0.05
"""Spread of the noise on a new row, over the spread of the existing rows in the same column."""


class _LearningRows(torch.autograd.Function):
    """What `module.base` computes, with a gradient for the rows that learn in place of its whole weight's."""

    @staticmethod
    def forward(ctx: Any, rows_ND: Tensor, given: Tensor, module: RowsEmbedding | RowsOutput) -> Tensor:
        ctx.save_for_backward(given)
        ctx.module = module
        out: Tensor = module.base(given)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (given,) = ctx.saved_tensors
        module: RowsEmbedding | RowsOutput = ctx.module
        grad_given = module.input_gradient(grads[0]) if ctx.needs_input_grad[1] else None
        return module.rows_gradient(grads[0], given), grad_given, None


class RowsEmbedding(nn.Module):
    """An embedding of which the rows `ids_N` learn."""

    ids_N: Tensor
    slot_V: Tensor

    def __init__(self, base: nn.Embedding, rows: nn.Parameter, ids_N: Tensor) -> None:
        super().__init__()
        self.base, self.rows, self.plain = base.requires_grad_(False), rows, False
        # Gemma multiplies embeddings by √D inside the module.
        factor = getattr(base, "embed_scale", None)
        self.factor: float | None = None if factor is None else float(factor)
        slot_V = torch.full((base.weight.shape[0],), -1, device=ids_N.device)
        slot_V[ids_N] = torch.arange(len(ids_N), device=ids_N.device)
        self.register_buffer("ids_N", ids_N, persistent=False)
        self.register_buffer("slot_V", slot_V, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The whole embedding, as models ask for it."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (…) → embeddings (…, D)."""
        write_rows(self.base.weight, self.ids_N, self.rows)
        if self.plain:
            out = nn.functional.embedding(ids, with_rows(self.base.weight, self.ids_N, self.rows))
            return out if self.factor is None else out * self.factor
        found: Tensor = _LearningRows.apply(self.rows, ids, self)  # type: ignore[no-untyped-call]  # torch's own
        return found

    def rows_gradient(self, grad: Tensor, ids: Tensor) -> Tensor:
        """Gradient (N, D) of the rows, from that of the embeddings (…, D)."""
        slot = self.slot_V[ids].reshape(-1)
        learns = slot >= 0
        wide = grad.reshape(-1, grad.shape[-1])[learns].float()
        if self.factor is not None:
            wide = wide * self.factor
        return torch.zeros_like(self.rows).index_add_(0, slot[learns], wide)

    def input_gradient(self, grad: Tensor) -> None:
        """Token ids have none."""


class RowsOutput(nn.Module):
    """An output layer of which the rows `ids_N` learn."""

    ids_N: Tensor

    def __init__(self, base: nn.Linear, rows: nn.Parameter, ids_N: Tensor) -> None:
        super().__init__()
        self.base, self.rows, self.plain = base.requires_grad_(False), rows, False
        self.register_buffer("ids_N", ids_N, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The whole output layer's weight, as models ask for it."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The output layer's bias."""
        return self.base.bias

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, D) → logits (…, V)."""
        write_rows(self.base.weight, self.ids_N, self.rows)
        if self.plain:
            weight_VD = with_rows(self.base.weight, self.ids_N, self.rows)
            return nn.functional.linear(hidden, weight_VD, self.base.bias)
        out: Tensor = _LearningRows.apply(self.rows, hidden, self)  # type: ignore[no-untyped-call]  # torch's own
        return out

    def rows_gradient(self, grad: Tensor, hidden: Tensor) -> Tensor:
        """Gradient (N, D) of the rows, from that of the logits (…, V)."""
        grad_N = grad.index_select(-1, self.ids_N).reshape(-1, len(self.ids_N))
        return (grad_N.T @ hidden.reshape(-1, hidden.shape[-1])).float()

    def input_gradient(self, grad: Tensor) -> Tensor:
        """Gradient (…, D) of the hidden states, from that of the logits (…, V)."""
        return grad @ self.base.weight


def write_rows(weight_VD: Tensor, ids_N: Tensor, rows_ND: Tensor) -> None:
    """Round rows into a weight; past autograd, which may hold the weight for a backward pass."""
    weight_VD.data.index_copy_(0, ids_N, rows_ND.detach().to(weight_VD.dtype))


def with_rows(weight_VD: Tensor, ids_N: Tensor, rows_ND: Tensor) -> Tensor:
    """A copy of a weight with these rows, by an operation that autograd follows."""
    return weight_VD.index_copy(0, ids_N, rows_ND.to(weight_VD.dtype))


def row_modules(model: nn.Module) -> Iterator[RowsEmbedding | RowsOutput]:
    """The modules whose rows learn."""
    for module in model.modules():
        if isinstance(module, RowsEmbedding | RowsOutput):
            yield module


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output layer shares the embedding's weight."""
    return output_weight(model) is embedding_weight(model)


def embedding_weight(model: PreTrainedModel) -> Tensor:
    """The embedding's weight (V, D)."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


def output_weight(model: PreTrainedModel) -> Tensor:
    """The output layer's weight (V, D)."""
    weight = model.get_output_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


@dataclass(frozen=True)
class Rows:
    """Rows of an embedding that learn or were learned.

    `output_ND` is None where the output layer is tied, or has learned none.
    """

    token_ids: tuple[int, ...]
    input_ND: Tensor
    output_ND: Tensor | None


def attach_rows(model: PreTrainedModel, token_ids: Sequence[int]) -> list[Trainable]:
    """Let embedding rows learn, in the input and, by being tied or as rows of their own, in the output layer.

    Raises ModelError on an id outside the embedding.  Freezes the rest of both layers.
    """
    ids = sorted(set(token_ids))
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if type(output) is not nn.Linear or not isinstance(embedding, nn.Embedding):
        raise ModelError(
            "rows cannot learn beside another method on the embedding or the output layer",
            value=f"{type(embedding).__name__}, {type(output).__name__}",
            next_step="leave the embedding and the output layer out of target_modules, or name them in"
            " modules_to_save",
        )
    if not ids or ids[0] < 0 or ids[-1] >= embedding.weight.shape[0]:
        raise ModelError(
            "no such embedding row", value=str(ids[-1] if ids else ()), next_step="add the token first"
        )
    ids_N = torch.tensor(ids, device=embedding.weight.device)
    rows = nn.Parameter(embedding.weight.detach()[ids_N].float())
    found = [Trainable("token_rows.input", rows, decay=False)]
    output_rows = rows
    if not is_tied(model):
        output_rows = nn.Parameter(output.weight.detach()[ids_N].float())
        found.append(Trainable("token_rows.output", output_rows, decay=False))
    model.set_input_embeddings(RowsEmbedding(embedding, rows, ids_N))
    model.set_output_embeddings(RowsOutput(output, output_rows, ids_N))
    return found


def rows_of(model: PreTrainedModel) -> Rows | None:
    """The rows of a model that learn, if any do."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, RowsEmbedding) or not isinstance(output, RowsOutput):
        return None
    output_ND = None if output.rows is embedding.rows else output.rows.detach()
    return Rows(tuple(embedding.ids_N.tolist()), embedding.rows.detach(), output_ND)


def put_rows(model: PreTrainedModel, rows: Rows, *, where: object = None) -> None:
    """Give a model rows that were learned: into the masters where they learn on, else into its weights.

    Adds rows up to the highest id, as `add_tokens` did.  Raises ModelError when the width or the ids differ.
    """
    if rows.token_ids[-1] >= embedding_weight(model).shape[0]:
        resize(model, rows.token_ids[-1] + 1)
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if rows.input_ND.shape[1] != embedding_weight(model).shape[1]:
        raise ModelError(
            "the token rows are of another width than this model", where=where, next_step=GIVE_ITS_BASE
        )
    if is_tied(model) and rows.output_ND is not None:
        raise ModelError(
            "the token rows belong to a model whose output layer is its own",
            where=where,
            next_step=GIVE_ITS_BASE,
        )
    pairs = [(embedding, embedding_weight(model), rows.input_ND)]
    if rows.output_ND is not None:
        pairs.append((output, output_weight(model), rows.output_ND))
    for layer, weight_VD, learned_ND in pairs:
        if isinstance(layer, RowsEmbedding | RowsOutput):
            if tuple(layer.ids_N.tolist()) != rows.token_ids:
                raise ModelError(
                    "the adapter's token rows are of other tokens than those that learn here",
                    where=where,
                    value=f"{list(rows.token_ids)[:8]} and {layer.ids_N.tolist()[:8]}",
                    next_step="give the same trainable_tokens and template as the earlier run",
                )
            layer.rows.data.copy_(learned_ND)
        ids_N = torch.tensor(rows.token_ids, device=weight_VD.device)
        write_rows(weight_VD, ids_N, learned_ND.to(weight_VD.device))


def save_rows(model: PreTrainedModel, folder: Path) -> None:
    """Write the rows that learn, float32, beside an adapter; nothing where none does."""
    rows = rows_of(model)
    if rows is None:
        return
    tensors = {"ids": torch.tensor(rows.token_ids), "input": rows.input_ND.contiguous()}
    if rows.output_ND is not None:
        tensors["output"] = rows.output_ND.contiguous()
    write_tensors(folder / ROWS_NAME, tensors)


def read_rows(folder: Path) -> Rows | None:
    """What `save_rows` wrote, if anything; raises ModelError where it cannot be read."""
    path = folder / ROWS_NAME
    if not path.exists():
        return None
    tensors = read_tensors(path, what="the token rows")
    return Rows(tuple(tensors["ids"].tolist()), tensors["input"], tensors.get("output"))


def load_rows(model: PreTrainedModel, folder: Path) -> bool:
    """Take up what `save_rows` wrote, if anything; raises ModelError where it does not fit."""
    rows = read_rows(folder)
    if rows is not None:
        put_rows(model, rows, where=folder / ROWS_NAME)
    return rows is not None


def attach_new_rows(
    model: PreTrainedModel, new_token_ids: Sequence[int], earlier: Path | None
) -> list[Trainable]:
    """Let the rows of new tokens learn, and those of an earlier adapter go on: its tokens are new no more.

    Raises ModelError where both have rows and they are not the same ones.
    """
    stored = None if earlier is None else read_rows(earlier)
    if stored is not None:
        put_rows(model, stored, where=earlier)  # makes the model as large as the ids ask for
    token_ids = {*new_token_ids, *(() if stored is None else stored.token_ids)}
    if not token_ids:
        return []
    rows = attach_rows(model, sorted(token_ids))
    if stored is not None:
        put_rows(model, stored, where=earlier)  # the masters, of which the weights are rounded copies
    return rows


def save_tokenizer(loaded: Loaded, folder: Path) -> None:
    """Keep the tokenizer with an adapter whose tokens the base model's own does not have."""
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        loaded.tokenizer.save_pretrained(folder)


def has_tokenizer(adapter: Path) -> bool:
    """Whether an adapter's folder brings a tokenizer."""
    return (adapter / "tokenizer_config.json").exists()


def tokenizer_folder(base: Path, adapter: Path | None) -> Path:
    """Where the tokenizer of a base model with an adapter lies: with the adapter, if it brings one."""
    return adapter if adapter is not None and has_tokenizer(adapter) else base


def add_tokens(loaded: Loaded, tokens: Sequence[str]) -> tuple[int, ...]:
    """The ids of tokens, adding to tokenizer and model those that are new; in the order given.

    Spare rows of the model are used before it is made larger.  A new row is the mean of the rows in use, the
    best guess that keeps the probabilities of the others (Hewitt 2021, "Initializing new word embeddings"),
    plus a little seeded noise that tells new tokens apart.  `config.vocab_size` follows; the global random
    state stays untouched.
    """
    tokenizer, model = loaded.tokenizer, loaded.model
    for token in tokens:
        if not token or token != token.strip():
            raise ModelError(
                "a token cannot be empty or have spaces around it",
                value=repr(token),
                next_step="write it without them",
            )
    num_known = len(tokenizer)
    new = [token for token in dict.fromkeys(tokens) if known_id(token, tokenizer) is None]
    new_ids = add_to_tokenizer(new, tokenizer)
    initialise_rows(model, new_ids, num_known)
    ids = [known_id(token, tokenizer) for token in tokens]
    return tuple(found for found in ids if found is not None)


def initialise_rows(model: PreTrainedModel, new_ids: Sequence[int], num_known: int) -> None:
    """Rows for ids that the tokenizer was just given, after the `num_known` that it had.

    For a tokenizer that had its tokens added elsewhere; `add_tokens` calls it.
    """
    if not new_ids:
        return
    if max(new_ids) >= embedding_weight(model).shape[0]:
        resize(model, max(new_ids) + 1)
    weights = [embedding_weight(model)]
    if not is_tied(model):
        weights.append(output_weight(model))
    generator = torch.Generator().manual_seed(min(new_ids))
    for weight_VD in weights:
        known_VD = weight_VD.detach()[: min(num_known, *new_ids)].float()
        noise_ND = torch.randn(len(new_ids), weight_VD.shape[1], generator=generator).to(weight_VD.device)
        rows_ND = known_VD.mean(0) + noise_ND * known_VD.std(0) * NOISE
        write_rows(weight_VD, torch.tensor(new_ids, device=weight_VD.device), rows_ND)
    bias_V = model.get_output_embeddings().bias
    if isinstance(bias_V, Tensor):
        bias_V.data[list(new_ids)] = bias_V.data[: min(new_ids)].mean()


def resize(model: PreTrainedModel, num_rows: int) -> None:
    """Make the vocabulary larger; `config.vocab_size` follows, the random state does not."""
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(num_rows, mean_resizing=False)
    # transformers makes the new weights anew, and new weights learn.
    model.get_input_embeddings().weight.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(False)
