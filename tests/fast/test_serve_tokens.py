"""`/tokenize`, `/detokenize` and `/tokenizer_info` over HTTP, also through a server in front."""

import asyncio

import httpx
import pytest
from live_server import live

from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import CannotAdmit
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Conversation, PassedOn, Text, TokenPiece, Tokens, Unsupported
from tunesmith.serve.backends.upstream import open_upstream


class Letters(EchoBackend):
    """A token is a letter; 1 begins a document."""

    async def tokenize(self, prompt, *, special=True):
        text = prompt.messages[-1].content if isinstance(prompt, Conversation) else prompt.text
        begin = [TokenPiece(1, "<s>")] if special else []
        return [*begin, *(TokenPiece(ord(letter), letter) for letter in text)]

    async def detokenize(self, token_ids):
        if 0 in token_ids:
            raise CannotAdmit("no token has this id", where="tokens", value=0)
        return "".join(map(chr, token_ids))

    async def tokenizer_info(self):
        return {"eos_token": "</s>", "chat_template": "{{ messages }}"}


@pytest.fixture
def server():
    with live(("letters", Letters(FakeModel())), ("words", EchoBackend(FakeModel()))) as running:
        yield running


def post(server, path, **body):
    answer = httpx.post(server.url.replace("/v1", path), json=body)
    return answer.status_code, answer.json()


def message(found):
    return found[1]["error"]["message"]


def test_a_prompt_becomes_tokens_and_tokens_become_text(server):
    status, found = post(server, "/tokenize", prompt="ab", add_special_tokens=False)
    assert (status, found) == (
        200,
        {"count": 2, "max_model_len": 8192, "tokens": [97, 98], "token_strs": None},
    )
    _, found = post(
        server,
        "/tokenize",
        model="letters",
        messages=[{"role": "user", "content": "a"}],
        return_token_strs=True,
        add_generation_prompt=True,
    )
    assert (found["tokens"], found["token_strs"]) == ([1, 97], ["<s>", "a"])
    assert post(server, "/detokenize", tokens=[97, 98]) == (200, {"prompt": "ab"})


def test_what_a_client_needs_to_write_prompts_is_told(server):
    info = httpx.get(server.url.replace("/v1", "/tokenizer_info")).json()
    assert info == {"eos_token": "</s>", "chat_template": "{{ messages }}"}
    of_words = httpx.get(server.url.replace("/v1", "/tokenizer_info"), params={"model": "words"})
    assert of_words.status_code == 400
    assert "its tokens are words" in of_words.json()["error"]["message"]


def test_wrong_requests_are_told_what_is_wrong(server):
    assert message(post(server, "/tokenize")) == "Give either 'prompt' or 'messages'."
    assert message(post(server, "/tokenize", prompt="a", messages=[{"role": "user", "content": "b"}]))
    assert "add_generation_prompt" in message(
        post(server, "/tokenize", prompt="a", add_generation_prompt=False)
    )
    assert message(post(server, "/tokenize", prompt=5)).startswith("Invalid type for 'prompt'")
    assert message(post(server, "/detokenize", tokens=[-1])).startswith("Invalid 'tokens[0]'")
    assert message(post(server, "/detokenize", tokens=[0])) == "tokens: no token has this id: 0"
    assert message(post(server, "/tokenize", prompt="a", model="none")).startswith("The model `none`")
    assert post(server, "/tokenize", prompt="a", wrong=1)[1]["error"]["code"] == "unknown_parameter"
    assert httpx.post(server.url.replace("/v1", "/detokenize"), content=b"{").status_code == 400


def test_a_server_in_front_passes_them_on(server):
    front = open_upstream(server.url, None)["letters"]
    assert asyncio.run(front.tokenize(Text("a"), special=False)) == [TokenPiece(97, "a")]
    assert asyncio.run(front.detokenize([98])) == "b"
    with pytest.raises(PassedOn, match="no token has this id"):
        asyncio.run(front.detokenize([0]))
    for refused in (front.tokenizer_info(), front.tokenize(Tokens((1,)))):
        with pytest.raises(Unsupported):
            asyncio.run(refused)
