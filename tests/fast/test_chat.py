import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest
from live_server import live
from rich.console import Console
from servers import server as answering

from tunesmith.cli.show_serve import show_chat
from tunesmith.core.config import build
from tunesmith.core.errors import ConfigError, ServerError
from tunesmith.core.fake import FakeModel
from tunesmith.core.progress import Silent
from tunesmith.serve import ChatConfig, chat
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.upstream import open_upstream
from tunesmith.serve.terminal import Conversation, converse


@pytest.fixture
def server():
    with live(("fake", EchoBackend(FakeModel(), context_tokens=60))) as running:
        yield running


@pytest.fixture
def talk(server):
    config = ChatConfig(model="fake", endpoint=server.url, system="be brief")
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield Conversation(client, "fake", config)


def converse_with(talk, text):
    screen = io.StringIO()
    return converse(talk, io.StringIO(text), screen), screen.getvalue()


def test_one_message_gets_its_answer(server, job):
    result = chat(ChatConfig(model="fake", endpoint=server.url + "/", message="good morning"), job)
    assert [(turn.message, turn.answer, turn.finish_reason) for turn in result.turns] == [
        ("good morning", "good morning", "stop")
    ]
    console = Console(file=io.StringIO())
    show_chat(result, console)
    assert console.file.getvalue() == "good morning\n"


def test_a_conversation_goes_on_until_exit_and_shows_answers_as_they_come(talk):
    result, screen = converse_with(talk, "first\n\nsecond words\n/exit\nnever said\n")
    assert [turn.message for turn in result.turns] == ["first", "second words"]
    assert "first" in screen
    assert result.shown


def test_the_end_of_the_input_ends_the_conversation(talk):
    assert len(converse_with(talk, "only this")[0].turns) == 1


def test_each_message_is_sent_with_all_before_it_and_clear_forgets_them(talk):
    converse_with(talk, "first\nsecond\n")
    assert [turn["role"] for turn in talk._messages] == ["system", "user", "assistant", "user", "assistant"]
    _, screen = converse_with(talk, "/clear\n/what\n")
    assert talk._messages == [{"role": "system", "content": "be brief"}]
    assert "/exit leaves" in screen


def test_a_refused_turn_ends_that_turn_only(talk):
    result, screen = converse_with(talk, "word " * 100 + "\nshort\n")
    assert "maximum context length is 60" in screen
    assert [turn.message for turn in result.turns] == ["short"]


def test_an_answer_that_is_cut_off_says_so_and_why(server):
    short = ChatConfig(model="fake", endpoint=server.url, max_tokens=3)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        result, screen = converse_with(Conversation(client, "fake", short), "one two three\n/clear\nfour\n")
        assert screen.count("one two three … was cut off at 3 tokens (--max-tokens)") == 1
        assert screen.count("cut off") == 1
        assert [turn.finish_reason for turn in result.turns] == ["length", "stop"]
        assert result.turns[0].answer == "one two three"
        full = Conversation(client, "fake", ChatConfig(model="fake", endpoint=server.url))
        _, screen = converse_with(full, "word " * 40)
        assert "cut off: it is as long as the server lets it be" in screen


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_where_answers_go_to_standard_output_a_cut_is_told_beside_it(server, job, monkeypatch):
    job = replace(job, progress=Said())
    settings = {"model": "fake", "endpoint": server.url, "max_tokens": 2}
    assert chat(ChatConfig(**settings, message="one two three"), job).turns[0].answer == "one two"
    monkeypatch.setattr("sys.stdin", io.StringIO("a b\n/clear\nc\n"))
    assert [turn.answer for turn in chat(ChatConfig(**settings), job).turns] == ["a b", "c"]
    why = "was cut off at 2 tokens (--max-tokens)"
    assert job.progress.lines == [f"the answer to 'one two three' {why}", f"the answer to 'a b' {why}"]


def test_a_chat_with_a_server_behind_a_server(server, job):
    with live(("fake", open_upstream(server.url, None)["fake"])) as front:
        turn = chat(ChatConfig(model="fake", endpoint=front.url, message="good morning"), job).turns[0]
    assert (turn.answer, turn.finish_reason) == ("good morning", "stop")


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(talk):
    shown = []

    def show(text):
        shown.append(text)
        if len(shown) == 2:
            raise KeyboardInterrupt

    turn = talk.say("one two three four", show=show)
    assert turn.finish_reason is None
    assert "one two three four".startswith(turn.answer)
    assert talk._messages[-1] == {"role": "assistant", "content": turn.answer}
    assert shown[-1] == " … stopped"


def test_a_server_that_is_not_there_and_one_that_refuses_are_clear_messages(server, job):
    with pytest.raises(ServerError, match="cannot be reached"):
        chat(ChatConfig(model="fake", endpoint="http://127.0.0.1:9/v1", message="x"), job)
    with pytest.raises(ServerError, match="Did you mean `fake`"):
        chat(ChatConfig(model="faker", endpoint=server.url, message="x"), job)


def test_a_server_is_told_the_key_that_the_named_variable_holds(monkeypatch, job):
    monkeypatch.setenv("MY_KEY", "secret")
    reply = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    with answering(lambda body: (200, {}, reply)) as there:
        config = ChatConfig(model="m", endpoint=there.url, api_key_variable="MY_KEY", message="hello")
        assert chat(config, job).turns[0].answer == "hi"
    assert there.headers[0]["Authorization"] == "Bearer secret"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="not set"):
        chat(config, job)


def test_a_key_without_a_server_and_what_is_no_url_are_refused(job):
    with pytest.raises(ConfigError, match="give its --endpoint"):
        build(ChatConfig, {"api_key_variable": "MY_KEY"}, source="command line")
    for url in ("here", "http://[half/v1"):
        with pytest.raises(ServerError, match=r"(?s)not a URL.*--endpoint|--endpoint.*not a URL"):
            chat(ChatConfig(endpoint=url, message="x"), job)


def tunesmith(*arguments, workspace):
    command = [sys.executable, "-m", "tunesmith", *arguments, "--workspace", str(workspace)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_command_starts_a_server_of_its_own_and_answers_on_standard_output(tmp_path):
    out, err = tunesmith("chat", "fake", "--json", workspace=tmp_path).communicate(
        "first\n/exit\n", timeout=60
    )
    assert [turn["answer"] for turn in json.loads(out)["turns"]] == ["first"], err
    out, err = tunesmith("chat", "fake", "--message", "hi you", workspace=tmp_path).communicate(timeout=60)
    assert out == "hi you\n", err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_says_what_it_did_and_the_monitor_shows_it(tmp_path, stop):
    announce = tmp_path / "announce.json"
    server = tunesmith(
        "serve", "fake", "--port", "0", "--announce", str(announce), "--json", workspace=tmp_path
    )
    for line in server.stderr:
        if "serving fake at" in line:
            break
    # The line is said just before the file is whole.
    while not announce.exists():
        assert server.poll() is None
    facts = json.loads(announce.read_text())
    assert (facts["pid"], facts["models"]) == (server.pid, ["fake"])
    body = {"messages": [{"role": "user", "content": "hello"}]}
    httpx.post(f"{facts['url']}/chat/completions", json=body, trust_env=False).raise_for_status()
    os.kill(server.pid, stop)
    out, err = server.communicate(timeout=60)
    assert server.returncode == 0, err
    assert "Traceback" not in err
    result = json.loads(out)
    assert (result["url"], result["requests"], result["errors"]) == (facts["url"], 1, 0)
    out, err = tunesmith("monitor", "--json", workspace=tmp_path).communicate(timeout=60)
    assert json.loads(out)["overall"]["requests"] == 1, err


def test_a_taken_port_ends_the_command_with_the_next_step(server, tmp_path):
    port = server.url.split(":")[-1].split("/")[0]
    taken = tunesmith("serve", "fake", "--port", port, workspace=tmp_path)
    _, err = taken.communicate(timeout=60)
    assert taken.returncode == 2
    assert "this port is taken" in err
    assert "--port 0" in err
