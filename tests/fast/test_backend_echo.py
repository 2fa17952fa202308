import asyncio

import pytest
from backend_contract import CONTRACT, ask, collect, text_of

from tunesmith.core.fake import FakeModel
from tunesmith.serve.backends.echo import EchoBackend


@pytest.mark.parametrize("demand", CONTRACT, ids=lambda demand: demand.__name__)
def test_the_echo_back_end_keeps_the_contract(demand):
    asyncio.run(demand(EchoBackend(FakeModel(), context_tokens=64)))


def test_a_learned_answer_is_served():
    model = FakeModel()
    model.learn([("ping", "pong pong")])
    chunks = asyncio.run(collect(EchoBackend(model), ask("ping")))
    assert text_of(chunks) == "pong pong"
    assert len(chunks) == 3
    assert chunks[-1].finish_reason == "stop"
