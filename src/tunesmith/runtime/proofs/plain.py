"""The step that transformers' users write: a padded batch, all logits, cross-entropy, backward.

It shares nothing with the fast step but the model's own modules: no packing, no attention by segment, no
chunked output layer, no objective of ours.  Slow and hungry, so it is taken on a few short examples only.

Legend of tensor names: B rows, L tokens of the longest row, V vocabulary, N reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tunesmith.core.recipe.objectives import TokenLoss
from tunesmith.runtime.lora.layer import plain_forward
from tunesmith.runtime.proofs.state import Gradient, take_gradient
from tunesmith.runtime.session import Session
from tunesmith.runtime.step import Encoded

Step = Sequence[Encoded]
Attention = Literal["sdpa", "eager"]


def gradient_of(
    session: Session, batches: Sequence[Step], settings: TokenLoss, *, attention: Attention = "sdpa"
) -> tuple[float, Gradient]:
    """Loss and gradient of one step that is computed in these batches, plainly."""
    total_weight = sum(example.total_weight for batch in batches for example in batch)
    total = 0.0
    with plain_model(session, attention) as forward:
        for batch in batches:
            loss = loss_of(forward, batch, settings) / total_weight
            loss.backward()
            total += float(loss.detach())
    return total, take_gradient(session)


@contextmanager
def plain_model(session: Session, attention: Attention) -> Iterator[Callable[..., Tensor]]:
    """The model's forward, with an attention of transformers, as a function from a padded batch to logits."""
    model = session.model
    ours = model.config._attn_implementation
    model.set_attn_implementation(attention)
    whole = session.attached.forward or model
    whole.train(model.training)
    try:
        with plain_forward(model):
            yield lambda **inputs: whole(use_cache=False, **inputs).logits
    finally:
        model.set_attn_implementation(ours)


def loss_of(forward: Callable[..., Tensor], batch: Step, settings: TokenLoss) -> Tensor:
    """Sum of the loss over the learned tokens of a batch, by the textbook."""
    token_BL, mask_BL, weight_BL = padded(batch)
    longest = token_BL.shape[1]
    logits_BLV = forward(input_ids=token_BL, attention_mask=mask_BL)[:, -longest:]
    chosen_BL = weight_BL[:, 1:] != 0
    # float64, because torch's own log-softmax in float32 is off by 1e-5 nats over 49,152 columns (SmolLM2).
    logits_NV = logits_BLV[:, :-1][chosen_BL].double()
    target_N, weight_N = token_BL[:, 1:][chosen_BL], weight_BL[:, 1:][chosen_BL]
    loss_N = cross_entropy(logits_NV, target_N, label_smoothing=settings.label_smoothing, reduction="none")
    if settings.loss == "dft":
        probability_N = logits_NV.softmax(-1).gather(1, target_N[:, None]).squeeze(1)
        loss_N = loss_N * probability_N.detach()
    if settings.z_loss:
        loss_N = loss_N + settings.z_loss * logits_NV.logsumexp(-1).square()
    return (loss_N * weight_N).sum()


def padded(batch: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and weights of a batch, padded with zeros at the right."""
    longest = max(len(example.token_ids) for example in batch)
    token_BL = torch.zeros(len(batch), longest, dtype=torch.long)
    mask_BL, weight_BL = torch.zeros_like(token_BL), torch.zeros(len(batch), longest)
    for row, example in enumerate(batch):
        length = len(example.token_ids)
        token_BL[row, :length] = torch.tensor(example.token_ids)
        weight_BL[row, :length] = torch.tensor(example.weights)
        mask_BL[row, :length] = 1
    return token_BL, mask_BL, weight_BL
