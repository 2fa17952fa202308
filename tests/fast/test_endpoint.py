import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from servers import completion, failure, last_user, server

from tunesmith.core.conversation import Message
from tunesmith.core.endpoint import ChatRequest, Endpoint
from tunesmith.core.errors import ServerError


def question(text: str, **settings) -> ChatRequest:
    return ChatRequest((Message("user", text),), 16, **settings)


def echo(body):
    return completion(last_user(body).upper())


def patient(url: str, **settings) -> tuple[Endpoint, list[float]]:
    pauses: list[float] = []
    return Endpoint(url, "fake", sleep=pauses.append, **settings), pauses


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_an_answer_carries_text_reason_tokens_and_time():
    with server(echo) as script, Endpoint(script.url, "fake") as endpoint:
        answer = endpoint.chat([Message("user", "hello")], max_tokens=5)
    assert (answer.text, answer.finish_reason, answer.error) == ("HELLO", "stop", None)
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 1)
    assert answer.latency_seconds > 0
    body = script.asked[0]
    assert body["temperature"] == 0
    assert body["max_tokens"] == 5
    assert not {"stop", "include_stop_str_in_output", "seed"} & set(body)


def test_a_stop_text_is_asked_for_and_kept():
    with server(echo) as script, Endpoint(script.url, "fake", api_key="k") as endpoint:
        endpoint.ask(question("a", stop=("}",), keep_stop=True, seed=3))
    assert script.asked[0]["stop"] == ["}"]
    assert script.asked[0]["include_stop_str_in_output"] is True
    assert script.headers[0]["Authorization"] == "Bearer k"


def test_a_busy_server_is_asked_again_after_the_time_it_names():
    replies = [failure(429, "slow down", Retry_After="3"), failure(503), completion("at last")]
    with server(lambda body: replies.pop(0)) as script:
        endpoint, pauses = patient(script.url)
        with endpoint:
            assert endpoint.ask(question("a")).text == "at last"
    assert pauses[0] == 3
    assert 0.5 <= pauses[1] <= 1


def test_a_failure_that_stays_is_an_outcome_with_its_reason():
    with server(lambda body: failure(500, "boom\nline")) as script:
        endpoint, pauses = patient(script.url, attempts=3)
        with endpoint:
            answer = endpoint.ask(question("a"))
    assert answer.error == "HTTP 500: boom line (tried 3 times)"
    assert answer.text == ""
    assert len(pauses) == 2


def test_a_refused_request_is_not_asked_again():
    with server(lambda body: failure(400, "too long")) as script:
        endpoint, pauses = patient(script.url)
        with endpoint:
            assert endpoint.ask(question("a")).error == "HTTP 400: too long"
    assert not pauses
    assert len(script.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_nonsense_is_an_error_not_a_crash(body):
    with server(lambda _: (200, {}, body)) as script, Endpoint(script.url, "fake") as endpoint:
        assert endpoint.ask(question("a")).error.startswith("the answer is not")


def test_half_a_surrogate_pair_can_be_written():
    with (
        server(lambda _: (200, {}, b'{"choices": [{"message": {"content": "x\\ud800"}}]}')) as script,
        Endpoint(script.url, "fake") as endpoint,
    ):
        assert endpoint.ask(question("a")).text == "x?"


def test_no_server_is_an_outcome_for_a_question_and_an_error_for_the_list():
    endpoint, pauses = patient(f"http://127.0.0.1:{closed_port()}/v1", attempts=2)
    with endpoint:
        assert "no connection" in endpoint.ask(question("a")).error
        with pytest.raises(ServerError, match="does not answer"):
            endpoint.models()
    assert len(pauses) == 2


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ServerError, match="not a URL"):
        Endpoint(url, "fake")


def test_the_models_are_listed_with_their_owner():
    with server(echo, models=("a", "b")) as script, Endpoint(script.url, "a") as endpoint:
        assert [(model.id, model.owner) for model in endpoint.models()] == [
            ("a", "tunesmith"),
            ("b", "tunesmith"),
        ]


def test_many_are_asked_at_once_and_each_answer_knows_its_place():
    with server(echo) as script, Endpoint(script.url, "fake") as endpoint:
        requests = [question(f"q{n}") for n in range(25)]
        found = dict(endpoint.chat_many(requests, concurrency=4))
    assert {place: answer.text for place, answer in found.items()} == {n: f"Q{n}" for n in range(25)}
    assert len(script.asked) == 25


def test_leaving_early_sends_no_more():
    with server(echo) as script, Endpoint(script.url, "fake") as endpoint:
        answers = endpoint.chat_many([question(f"q{n}") for n in range(50)], concurrency=2)
        next(answers)
        answers.close()
    assert len(script.asked) < 10


def test_no_request_needs_no_answer():
    with Endpoint(f"http://127.0.0.1:{closed_port()}/v1", "fake") as endpoint:
        assert list(endpoint.chat_many([], concurrency=3)) == []


class Slow(httpx.BaseTransport):
    """Answers when it is told to, and says when it was closed."""

    def __init__(self):
        self.asked, self.may_answer, self.closed = threading.Event(), threading.Event(), threading.Event()

    def handle_request(self, request):
        self.asked.set()
        assert self.may_answer.wait(30)
        assert not self.closed.is_set()
        return httpx.Response(200, json={"choices": [{"message": {"content": "late"}}]})

    def close(self):
        self.closed.set()


def test_closing_lets_the_last_request_under_way_drop_the_connections():
    transport = Slow()
    endpoint = Endpoint("http://127.0.0.1:1/v1", "fake", transport=transport)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(endpoint.ask, question("q"))
        assert transport.asked.wait(30)
        endpoint.close()
        assert endpoint.ask(question("r")).error == "the endpoint is closed"
        assert not transport.closed.is_set()
        transport.may_answer.set()
        assert answer.result().text == "late"
    assert transport.closed.is_set()


def test_closing_an_idle_endpoint_drops_the_connections():
    transport = Slow()
    with Endpoint("http://127.0.0.1:1/v1", "fake", transport=transport):
        pass
    assert transport.closed.is_set()
