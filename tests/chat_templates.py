"""Chat templates with the habits of well-known families, small enough to read, and tokenizers for them."""

from tiny_models import tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

TRIMS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n{% endfor %}" + GENERATION
)
"""Takes spaces off contents (Llama 3)."""

ENDS_THE_CONVERSATION = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|end|>{% endif %}"
)
"""Writes one more token at the end of all (Phi 3)."""

DROPS_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}" + GENERATION
)
"""Takes the reasoning out of earlier turns (Qwen 3)."""

DROPS_SYSTEM = (
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}" + GENERATION
)

DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + GENERATION
)

PROMPTS_TO_THINK = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""Prompts with something that it does not write before an answer (DeepSeek R1)."""

WRITES_BEFORE_ANSWERS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}<think></think>{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + GENERATION
)
"""Writes something before an answer that it does not prompt with: the model has to say it (Qwen 3)."""

WRITES_REASONING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['reasoning_content'] and loop.last %}"
    "<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}" + GENERATION
)
"""Writes the reasoning of the last answer, and leaves out that of earlier ones (Qwen 3)."""

CALLS_AS_OBJECTS = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}"
    "{% for c in m['tool_calls'] or [] %}[{{ c['function']['name'] }} "
    "{{ c['function']['arguments'] | tojson }}]{% endfor %}<|im_end|>\n{% endfor %}" + GENERATION
)

CALLS_AS_TEXT = CALLS_AS_OBJECTS.replace("['arguments'] | tojson", "['arguments']").replace(
    "m['content'] or ''", "m['content'] + ''"
)
"""Wants arguments as OpenAI writes them; fails on null."""


TOOLS = "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
TURN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}"
END = "<|im_end|>\n{% endfor %}" + GENERATION
LLAMA = (
    TOOLS + TURN + "{% for c in m['tool_calls'] or [] %}"
    '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}'
    "{% endfor %}" + END
)
MISTRAL = (
    TOOLS + TURN + "{% if m['tool_calls'] %}[TOOL_CALLS][{% for c in m['tool_calls'] %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}" + END
)
PYTHONIC = (
    TOOLS + TURN + "{% for c in m['tool_calls'] or [] %}[{{ c.function.name }}("
    "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %})]{% endfor %}" + END
)
"""Forms of calls: bare JSON, a list behind a mark, not JSON at all."""


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and line breaks and a few letters that melt together; it writes a begin token by itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("Ġ", "a"), ("a", "b"), ("ab", "c")]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    marks = ("<|im_start|>", "<|im_end|>", "<s>", "</s>")
    inner.add_special_tokens([AddedToken(text, special=True) for text in marks])
    from tokenizers.processors import TemplateProcessing

    begin = inner.token_to_id("<s>")
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def with_template(template: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with one of these."""
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)], special_tokens=True)
    return tokenizer
