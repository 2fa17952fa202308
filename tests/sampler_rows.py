"""Requests for the sampler's tests, and what their answers are compared with."""

import torch
from torch import nn

END = frozenset({257})


def tokens(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 256, (length,), generator=generator).tolist())


def generate(model, prompt, num_tokens):
    """What transformers itself generates, greedily."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False, pad_token_id=257
    )
    return out[0, len(prompt) :].tolist()


def answers(sampler, requests):
    """Generated tokens of each request (without text: random bytes are no UTF-8)."""
    keys = [sampler.submit(request) for request in requests]
    rows = {row.key: row for row in sampler.waiting}
    while sampler.busy:
        sampler.step()
    return [rows[key].generated for key in keys]


def held_bytes(sampler):
    """Memory of all tensors that hold keys and values, each storage once."""
    memory = sampler.memory
    tensors = [tensor for group in memory.groups for tensor in (*group.keys, *group.values)]
    for prefix in memory.store.prefixes:
        blocks = [prefix.block] if prefix.wide is None else [prefix.block, prefix.wide]
        tensors += [tensor for block in blocks for tensor in (*block.keys, *block.values)]
    storages = {tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


class OffsetEmbedding(nn.Module):
    """An embedding that adds a vector of its adapter to each token."""

    def __init__(self, inner, names):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.inner = inner
        self.offsets = {name: torch.randn(inner.embedding_dim, generator=generator) for name in names}
        self.offsets[None] = torch.zeros(inner.embedding_dim)
        self.runs = []

    @property
    def weight(self):
        return self.inner.weight

    def forward(self, input_ids):
        assert sum(length for _, length in self.runs) == input_ids.numel()
        rows = [self.offsets[name].expand(length, -1) for name, length in self.runs]
        return self.inner(input_ids) + torch.cat(rows)


class WithOffsets:
    """A bank of adapters that shift the embeddings: keys and values depend on the adapter."""

    def __init__(self, model, names):
        self.names = names
        self.embedding = OffsetEmbedding(model.model.embed_tokens, names)
        model.model.embed_tokens = self.embedding

    def route(self, runs, *, reads=None):
        self.embedding.runs = list(runs)
