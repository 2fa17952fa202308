"""A model folder small enough to make in a test: random Llama weights, byte tokens, a chat template."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


SHAPE = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
}


def tiny_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """One token for each byte, plus the two tokens of the chat template."""
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(*, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: object) -> LlamaForCausalLM:
    """Two layers, four heads on two key-value heads, tied embeddings, 264 tokens of vocabulary."""
    config = LlamaConfig(**{**SHAPE, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        # Fresh embeddings are so small that every output looks alike; wider ones make a test see a fault.
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.2)
    return model.to(dtype).eval()


def tiny_granite(*, seed: int = 0) -> GraniteForCausalLM:
    """A model that divides its logits, and scales embeddings, residuals and attention."""
    factors = {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GraniteForCausalLM(GraniteConfig(**SHAPE, **factors, logits_scaling=8.0)).eval()


def tiny_model_folder(folder: Path, *, template: str | None = CHATML, **changes: object) -> Path:
    """Save a tiny model with its tokenizer as transformers would."""
    tiny_llama(**changes).save_pretrained(folder)  # type: ignore[arg-type]  # settings of LlamaConfig
    tiny_tokenizer(template).save_pretrained(folder)
    return folder
