"""What the server says of itself: metrics, readiness."""

import re
import time
from types import SimpleNamespace

import api_server
import httpx
import openai
import pytest
from serving import strict_client

from tunesmith.api import health
from tunesmith.api.serving import watch
from tunesmith.core.errors import UserError


@pytest.fixture
def server(tmp_path, database):
    with api_server.serving(tmp_path, database) as running:
        watch(running.state, running.api, running.runner)
        yield running


def page(server, name):
    return httpx.get(server.url.replace("/v1", f"/{name}"))


def value(text, start):
    """The value of the one line that begins so."""
    (found,) = re.findall(rf"^{re.escape(start)}.* (\S+)$", text, re.MULTILINE)
    return float(found)


def test_requests_are_counted_by_model_endpoint_and_status(server):
    hello = [{"role": "user", "content": "one two three"}]
    with strict_client(server.url) as client:
        for _ in range(2):
            client.chat.completions.create(model="fake", messages=hello, max_tokens=3)
        client.completions.create(model="fake", prompt="a b")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="none-of-ours", messages=hello)
    answer = page(server, "metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    chat = 'gen_ai_operation_name="chat"'
    name = "gen_ai_server_request_duration_seconds_count"
    labels = 'gen_ai_request_model="fake",http_response_status_code="200"'
    assert value(answer.text, f"{name}{{{chat},{labels}}}") == 2
    assert 'gen_ai_request_model="unknown",http_response_status_code="404"' in answer.text
    assert "none-of-ours" not in answer.text
    usage = f'gen_ai_token_usage_total{{{chat},gen_ai_request_model="fake",gen_ai_token_type="output"}}'
    assert value(answer.text, usage) == 6
    first = 'gen_ai_server_time_to_first_token_seconds_count{gen_ai_operation_name="text_completion"'
    assert value(answer.text, first) == 1
    assert value(answer.text, 'tunesmith_jobs{state="queued"}') == 0


def test_a_server_that_works_is_ready(server):
    answer = page(server, "readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "problems": []})


def test_what_stands_in_the_way_of_new_work_is_said(server, monkeypatch):
    def fail():
        raise UserError("the store cannot be used", value="database is locked")

    monkeypatch.setattr(server.runner, "look", fail)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    server.api.woken.set()
    deadline = time.monotonic() + 20
    while (answer := page(server, "readyz")).status_code == 200 or len(answer.json()["problems"]) < 2:
        assert time.monotonic() < deadline, answer.json()
    disk, queue = answer.json()["problems"]
    assert disk.startswith("only 1 MB are free where files and checkpoints are kept")
    assert queue == "the queue of jobs cannot be looked at: the store cannot be used: 'database is locked'"
