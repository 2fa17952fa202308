import asyncio
import socket
from contextlib import closing

import httpx
import openai
import pytest
from live_server import live
from openai import AsyncOpenAI, OpenAI
from serving import HELLO, Endless, check, recorded, strict_client

from tunesmith.core.errors import ServerError, UserError
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.progress import Lines
from tunesmith.core.record import Record, RecordWriter
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.schema import ServeConfig
from tunesmith.serve.server import listen, load_models


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "record.sqlite")


@pytest.fixture
def server(record):
    learned = FakeModel()
    learned.learn([("hello good world", "a learned answer")])
    backends = (("fake", EchoBackend(FakeModel(), context_tokens=50)), ("learned", EchoBackend(learned)))
    with (
        closing(RecordWriter(record.path, batch_seconds=0.005)) as writer,
        live(*backends, writer=writer) as running,
    ):
        yield running


@pytest.fixture
def client(server):
    with strict_client(server.url) as made:
        yield made


def test_the_openai_client_gets_an_answer(client):
    answer = client.chat.completions.create(model="fake", messages=HELLO)
    assert answer.choices[0].message.content == "hello good world"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 4)
    assert answer._request_id == answer.id
    check(answer.to_dict(), "CreateChatCompletionResponse")


def test_the_openai_client_streams(client):
    stream = client.chat.completions.create(
        model="learned", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    for chunk in chunks:
        check(chunk.to_dict(), "CreateChatCompletionStreamResponse")
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == "a learned answer"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1] if chunk.choices[0].finish_reason] == [
        "stop"
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4


def test_the_asynchronous_openai_client_gets_many_answers_at_once(server):
    async def ask():
        async with AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as made:
            questions = [[{"role": "user", "content": f"question {number}"}] for number in range(20)]
            calls = [made.chat.completions.create(model="fake", messages=question) for question in questions]
            answers = [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]
            stream = await made.chat.completions.create(model="fake", messages=HELLO, stream=True)
            return answers, [chunk async for chunk in stream]

    answers, chunks = asyncio.run(ask())
    assert answers == [f"question {number}" for number in range(20)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_stop_strings_and_limits_hold(client):
    def answer(**settings):
        return client.chat.completions.create(model="fake", messages=HELLO, **settings).choices[0]

    assert answer(stop="good").message.content == "hello "
    assert (
        answer(stop=["x", "good"], extra_body={"include_stop_str_in_output": True}).message.content
        == "hello good"
    )
    assert answer(max_tokens=1).message.content == "hello"
    assert answer(max_completion_tokens=1).finish_reason == "length"


def test_models_are_listed_and_found_by_name_and_version(client, server):
    assert [model.id for model in client.models.list()] == ["fake", "learned"]
    assert client.models.retrieve("version-learned").id == "learned"
    check(httpx.get(f"{server.url}/models").json(), "ListModelsResponse")
    with pytest.raises(openai.NotFoundError, match="Did you mean `learned`"):
        client.models.retrieve("learnt")


def test_a_request_without_a_model_gets_the_first(server):
    answer = httpx.post(f"{server.url}/chat/completions", json={"messages": HELLO})
    assert answer.json()["model"] == "fake"


def test_an_unknown_model_is_named_with_the_nearest(client, record):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="faker", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "Did you mean `fake`?" in caught.value.message
    assert recorded(record).model == "faker"


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "word " * 60}])
    assert caught.value.code == "context_length_exceeded"
    assert "maximum context length is 50 tokens" in caught.value.message


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/chat/completions", 405), ("DELETE", "/models/fake", 405)],
)
def test_unknown_routes_and_methods_get_openais_error(server, method, path, status):
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == status
    check(answer.json(), "ErrorResponse")


def test_a_body_that_is_no_json_or_too_large_gets_openais_error(server):
    url = f"{server.url}/chat/completions"
    for content, status in ((b"{", 400), (b"x" * 200_000, 413)):
        answer = httpx.post(url, content=content)
        assert answer.status_code == status
        check(answer.json(), "ErrorResponse")


def test_each_request_is_recorded_with_what_was_asked_and_answered(client, record):
    answer = client.chat.completions.create(model="learned", messages=HELLO, temperature=0.3, max_tokens=2)
    entry = recorded(record)
    assert entry.id == answer.id
    assert (entry.model, entry.version, entry.status) == ("learned", "version-learned", 200)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.finish_reason) == (4, 2, "length")
    assert entry.messages == HELLO
    assert (entry.answer, entry.content) == ("a learned", "kept")
    assert entry.parameters == {"temperature": 0.3, "max_tokens": 2}
    assert 0 < entry.first_token_seconds <= entry.total_seconds
    assert not entry.streamed


def test_a_stream_is_recorded_when_it_ends(client, record):
    list(client.chat.completions.create(model="fake", messages=HELLO, stream=True))
    entry = recorded(record)
    assert entry.streamed
    assert (entry.answer, entry.finish_reason, entry.status) == ("hello good world", "stop", 200)


def test_without_content_the_record_holds_no_word_of_it(record):
    with (
        closing(RecordWriter(record.path)) as writer,
        live(("fake", EchoBackend(FakeModel())), writer=writer, content=False) as server,
    ):
        httpx.post(f"{server.url}/chat/completions", json={"messages": HELLO}).raise_for_status()
    entry = recorded(record)
    assert (entry.messages, entry.answer, entry.content) == (None, None, "off")
    assert b"hello good world" not in record.path.read_bytes()


def test_a_client_that_leaves_a_stream_cancels_it(record):
    engine = Endless()
    with closing(RecordWriter(record.path)) as writer, live(("endless", engine), writer=writer) as server:
        with httpx.stream(
            "POST", f"{server.url}/chat/completions", json={"messages": HELLO, "stream": True}
        ) as answer:
            assert next(answer.iter_lines()).startswith("data: ")
        entry = recorded(record)
    assert engine.given_up.is_set()
    assert (entry.status, entry.error_type) == (499, "cancelled")
    assert entry.answer.startswith("word ")


def test_a_client_that_leaves_while_it_waits_cancels_the_work(record):
    engine = Endless()
    with closing(RecordWriter(record.path)) as writer, live(("endless", engine), writer=writer) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/chat/completions", json={"messages": HELLO}, timeout=0.2)
        entry = recorded(record)
    assert engine.given_up.is_set()
    assert entry.status == 499


def test_a_client_that_leaves_inside_its_request_is_no_failure(server, record, caplog):
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
    assert recorded(record).status == 499
    assert caplog.text == ""


def test_a_failure_before_the_first_token_is_a_500_and_is_not_repeated(record):
    with (
        closing(RecordWriter(record.path)) as writer,
        live(("broken", Endless(fails_after=0)), writer=writer) as server,
        OpenAI(base_url=server.url, api_key="none") as client,
    ):
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(model="broken", messages=HELLO, stream=stream)
            check(caught.value.response.json(), "ErrorResponse")
        assert recorded(record, 2).status == 500
        assert len(record.entries()) == 2, "the SDK repeated a request that cannot succeed"


def test_a_failure_inside_a_stream_reaches_the_client(record):
    with (
        closing(RecordWriter(record.path)) as writer,
        live(("broken", Endless(fails_after=3)), writer=writer) as server,
        OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(model="broken", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="had an error"):
            list(stream)
        entry = recorded(record)
    assert (entry.status, entry.answer) == (500, "word word word ")


def test_stopping_the_server_ends_answers_on_their_way_and_records_them(record):
    with (
        closing(RecordWriter(record.path)) as writer,
        live(("endless", Endless()), writer=writer) as server,
        httpx.stream(
            "POST", f"{server.url}/chat/completions", json={"messages": HELLO, "stream": True}
        ) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        server.server.should_exit = True
        with pytest.raises(httpx.HTTPError):
            list(lines)
    assert recorded(record).status == 499


def test_health_tells_what_was_done(client, server):
    client.chat.completions.create(model="fake", messages=HELLO)
    health = httpx.get(server.url.removesuffix("/v1") + "/healthz").json()
    assert (health["status"], health["models"], health["requests"]) == ("ok", ["fake", "learned"], 1)


def test_pages_of_other_origins_may_not_read_answers(server):
    answer = httpx.post(
        f"{server.url}/chat/completions", json={"messages": HELLO}, headers={"Origin": "http://evil.example"}
    )
    assert "access-control-allow-origin" not in answer.headers


def test_a_taken_port_is_one_clear_message():
    with listen("127.0.0.1", 0) as taken, pytest.raises(ServerError, match="port is taken") as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert "--port 0" in str(caught.value)


def test_an_address_of_another_machine_is_one_clear_message():
    with pytest.raises(ServerError, match="cannot listen here"):
        listen("192.0.2.1", 0)


def test_a_run_of_the_fake_engine_is_served(job, tmp_path):
    learned = FakeModel()
    learned.learn([("ping", "pong")])
    with job.workspace.open(
        verb="train", kind="run", name="fake-run", config={"model": "fake"}, inputs={}
    ) as folder:
        write_json(folder / "adapter" / "fake_model.json", learned.to_json())
    served = load_models(ServeConfig(models=(str(folder.path), "fake")), job)
    assert [model.name for model in served] == [folder.path.name, "fake"]
    with live(*((model.name, model.backend) for model in served)) as server:
        body = {"model": folder.path.name, "messages": [{"role": "user", "content": "ping"}]}
        answer = httpx.post(f"{server.url}/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "pong"


def test_settings_that_mean_nothing_to_the_fake_are_named(job, capsys):
    config = ServeConfig(models=("fake",), quantise="nf4", max_batch=2, max_context_tokens=99)
    load_models(config, Job(job.workspace, Lines()))
    assert (
        "the fake model has no weights: --max-batch, --quantise means nothing here" in capsys.readouterr().err
    )


def test_the_same_model_twice_is_served_once_and_two_of_one_name_are_refused(job, tmp_path):
    assert len(load_models(ServeConfig(models=("fake", "fake")), job)) == 1
    folders = [tmp_path / name / "run" for name in ("a", "b")]
    for number, out in enumerate(folders):
        with job.workspace.open(
            verb="train", kind="run", name="r", config={"model": "fake", "seed": number}, inputs={}, out=out
        ) as folder:
            write_json(folder / "adapter" / "fake_model.json", FakeModel().to_json())
    with pytest.raises(UserError, match="same name"):
        load_models(ServeConfig(models=tuple(map(str, folders))), job)


def test_a_socket_can_be_taken_again_after_the_server():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with listen("127.0.0.1", port) as again:
        assert isinstance(again, socket.socket)
