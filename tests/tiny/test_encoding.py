"""What a recipe makes of examples: conversations through the template, plain text verbatim."""

import pytest
from chat_templates import DEFAULT_SYSTEM, merging_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tunesmith.core.conversation import Example, GradedStep, Message, chat
from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.encoding import add_to_tokenizer, open_encoder

CHAT = chat([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
DOCUMENT = Example((Message("text", "abc def"),))
COMPLETION = Example((Message("text", "xa", weight=0.0), Message("text", "bc")))


def encoder(tokenizer=None, **settings: object):
    return open_encoder(Recipe(data="d", **settings), tokenizer or tiny_tokenizer())


def read(found, encoded) -> tuple[str, str]:
    """The whole text, and what is learned of it."""
    learned = [token for token, weight in zip(*encoded, strict=True) if weight]
    return found.tokenizer.decode(encoded.token_ids), found.tokenizer.decode(learned)


@pytest.mark.parametrize(
    ("learn", "text"), [("assistant", "b<|im_end|>d<|im_end|>"), ("last", "d<|im_end|>")]
)
def test_the_recipe_says_which_turns_are_learned(learn: str, text: str):
    found = encoder(objective={"kind": "sft", "learn": learn})
    assert read(found, found.encode(CHAT, key="k"))[1] == text


def test_a_mark_that_a_tokenizer_only_knows_as_unknown_is_a_new_token():
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<unk>")
    assert encoder(tokenizer, template="chatml").new_tokens[:2] == ("<|im_start|>", "<|im_end|>")


def test_a_document_is_learned_from_its_first_token_to_the_end_of_text():
    found = encoder()
    assert read(found, found.encode(DOCUMENT, key="k")) == ("abc def<|im_end|>", "abc def<|im_end|>")
    found = encoder(merging_tokenizer())
    assert read(found, found.encode(DOCUMENT, key="k")) == ("<s>abc def</s>", "abc def</s>")


def test_of_a_prompt_and_its_completion_only_the_completion_is_learned():
    found = encoder()
    assert read(found, found.encode(COMPLETION, key="k")) == ("xabc<|im_end|>", "bc<|im_end|>")


def test_a_completion_never_melts_into_its_prompt():
    """The prompt's tokens are those that a server would send, though all of it at once has others."""
    tokenizer = merging_tokenizer()
    found = encoder(tokenizer)
    encoded = found.encode(COMPLETION, key="k")
    prompt = tokenizer("xa")["input_ids"]
    assert list(encoded.token_ids[: len(prompt)]) == prompt
    assert tokenizer("xabc")["input_ids"][: len(prompt)] != prompt
    assert read(found, encoded) == ("<s>xabc</s>", "bc</s>")


@given(st.lists(st.tuples(st.text("ab c\n", min_size=1, max_size=6), st.booleans()), min_size=1, max_size=4))
def test_parts_of_a_text_are_learned_to_the_letter(parts):
    messages = tuple(Message("text", text, weight=float(on)) for text, on in parts)
    for tokenizer, end in ((PLAIN, "<|im_end|>"), (MERGING, "</s>")):
        found = encoder(tokenizer)
        whole, learned = read(found, found.encode(Example(messages), key="k"))
        assert whole.removeprefix("<s>") == "".join(text for text, _ in parts) + end
        assert learned == "".join(text for text, on in parts if on) + (end if parts[-1][1] else "")


PLAIN, MERGING = tiny_tokenizer(), merging_tokenizer()


def test_conversations_are_no_raw_text():
    with pytest.raises(DataError, match="this row is a conversation"):
        encoder(objective={"kind": "text"}).encode(CHAT, key="k")


def test_a_tokenizer_without_an_end_of_text_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-text token"):
        encoder(tokenizer).encode(DOCUMENT, key="k")


def test_chatml_on_a_model_without_its_tokens_lists_them_as_new():
    assert encoder(merging_tokenizer(), template="chatml").new_tokens == ()
    bare = tiny_tokenizer(None)
    inner = bare.backend_tokenizer.to_str().replace("<|im_", "<|xx_")
    bare = type(bare)(tokenizer_object=type(bare.backend_tokenizer).from_str(inner), eos_token="<|xx_end|>")
    found = encoder(bare, template="chatml")
    assert found.new_tokens == ("<|im_start|>", "<|im_end|>")
    add_to_tokenizer(found.new_tokens, bare)
    assert read(found, found.encode(CHAT, key="k"))[1] == "b<|im_end|>d<|im_end|>"
    assert encoder(bare, template="chatml").new_tokens == ()


def test_marks_of_rearranged_text_are_new_where_the_tokenizer_lacks_them():
    found = encoder(objective={"kind": "text", "fill_in_the_middle": {}})
    assert found.new_tokens == ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


def test_rearranging_depends_on_seed_and_row_and_on_nothing_else():
    settings = {"kind": "text", "fill_in_the_middle": {"rate": 1.0}}

    def encoded(key: str, seed: int = 0) -> tuple[int, ...]:
        found = encoder(objective=settings, seed=seed)
        add_to_tokenizer(found.new_tokens, found.tokenizer)
        text = Example((Message("text", "one two three four five six seven"),))
        return tuple(found.encode(text, key=key).token_ids)

    assert encoded("a") == encoded("a")
    assert len({encoded("a"), encoded("b"), encoded("c"), encoded("a", seed=1)}) > 1


def test_a_prompt_with_its_completion_is_never_rearranged():
    found = encoder(objective={"kind": "text", "fill_in_the_middle": {"rate": 1.0}})
    assert read(found, found.encode(COMPLETION, key="k"))[0] == "xabc<|im_end|>"


def test_equal_keys_encode_alike_and_what_changes_the_tokens_changes_the_key():
    keys = {
        "plain": encoder().key,
        "template": encoder(tiny_tokenizer(CHATML + " ")).key,
        "chatml": encoder(template="chatml").key,
        "learn": encoder(objective={"learn": "last"}).key,
        "text": encoder(objective={"kind": "text"}).key,
        "middle": encoder(objective={"kind": "text", "fill_in_the_middle": {}}).key,
        "rate": encoder(objective={"kind": "text", "fill_in_the_middle": {"rate": 0.1}}).key,
        "tokenizer": encoder(merging_tokenizer()).key,
    }
    assert len(set(keys.values())) == len(keys)
    assert encoder().key == keys["plain"]
    assert encoder(objective={"loss": "dft"}).key == keys["plain"], "the loss changes no token"


def test_what_a_template_does_on_its_own_is_told():
    assert encoder(template="chatml").notes == []
    assert encoder(objective={"kind": "text"}).notes == []
    assert encoder().notes == []
    assert "writes a system prompt" in encoder(tiny_tokenizer(DEFAULT_SYSTEM)).notes[0]


ASKED = (Message("user", "a"),)
SAID = (Message("assistant", "b"),)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (Example(ASKED, chosen=SAID, rejected=(Message("assistant", "c"),)), "preference pairs"),
        (Example((*ASKED, *SAID), label=True), "rated answers"),
        (Example(ASKED, steps=(GradedStep("b", True),)), "graded steps"),
    ],
)
@pytest.mark.parametrize("objective", ["sft", "text"])
def test_rows_without_one_right_answer_are_refused_by_name(example, words, objective):
    encoder = open_encoder(Recipe(data="d", objective={"kind": objective}), tiny_tokenizer(CHATML))
    with pytest.raises(DataError, match=f"objective {objective} learns from one answer.*{words}") as caught:
        encoder.encode(example, key="k")
    assert "tunesmith data convert FILE --to openai-chat --take chosen" in caught.value.message()
