import threading
from concurrent.futures import CancelledError

import pytest
from sampler_rows import END, generate, tokens
from tiny_models import tiny_llama, tiny_tokenizer

from tunesmith.runtime.sampling.engine import Sampler
from tunesmith.runtime.sampling.port import Busy, CannotAdmit, Request
from tunesmith.runtime.sampling.thread import Close, SamplingThread


class Heard:
    """A listener that can be waited for."""

    def __init__(self):
        self.events, self.started, self.ended = [], threading.Event(), threading.Event()

    def __call__(self, event):
        self.events.append(event)
        self.started.set()
        if isinstance(event, Exception) or event.finish_reason is not None:
            self.ended.set()

    def wait(self):
        assert self.ended.wait(60)
        return self.events[-1]


@pytest.fixture
def opened():
    threads = []

    def start(sampler=None, **settings):
        sampler = sampler or Sampler(tiny_llama(), tiny_tokenizer())
        threads.append(SamplingThread(sampler, max_wait_seconds=0.0, num_threads=1, **settings))
        return threads[-1]

    yield start
    for thread in threads:
        thread.close()


class Held(Sampler):
    """Waits before each step until it is let go."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.go, self.stepping = threading.Event(), threading.Event()

    def step(self):
        self.stepping.set()
        assert self.go.wait(60)
        return super().step()


def held(**settings):
    return Held(tiny_llama(), tiny_tokenizer(), **settings)


def test_events_of_one_request_arrive_in_order_and_end(opened):
    heard = Heard()
    opened().submit(Request(tokens(5, 1), 6, logprobs=0), heard)
    assert heard.wait().num_generated == 6
    assert [event.num_generated for event in heard.events] == [1, 2, 3, 4, 5, 6]
    assert sum(len(event.logprobs) for event in heard.events) == 6


def test_a_refused_request_is_told_to_its_listener_and_the_others_go_on(opened):
    thread, refused, good = opened(), Heard(), Heard()
    thread.submit(Request((999,), 3), refused)
    thread.submit(Request(tokens(5, 1), 3), good)
    assert isinstance(refused.wait(), CannotAdmit)
    assert good.wait().num_generated == 3


def test_a_request_that_the_sampler_stumbles_over_ends_alone(opened, caplog):
    class Stumbling(Sampler):
        def submit(self, request):
            if request.seed == 7:
                raise RuntimeError("a fault in a library")
            return super().submit(request)

    thread = opened(Stumbling(tiny_llama(), tiny_tokenizer()), max_waiting=1)
    bad, good = Heard(), Heard()
    thread.submit(Request(tokens(5, 1), 4, seed=7), bad)
    assert isinstance(bad.wait(), RuntimeError)
    thread.submit(Request(tokens(5, 1), 4), good)
    assert good.wait().num_generated == 4
    assert "a fault in a library" in caplog.text


def test_more_requests_than_may_wait_are_turned_away_until_some_have_started(opened):
    sampler = held(max_batch=2)
    thread = opened(sampler, max_waiting=2)
    first, second = Heard(), Heard()
    thread.submit(Request(tokens(5, 1), 400), first)
    thread.submit(Request(tokens(5, 2), 400), second)
    with pytest.raises(Busy, match="2 requests wait already"):
        thread.submit(Request(tokens(5, 3), 3), Heard())
    sampler.go.set()
    assert first.started.wait(60)
    assert second.started.wait(60)
    third = Heard()
    thread.submit(Request(tokens(5, 3), 3), third)  # the first two run and do not count any more
    assert third.wait().num_generated == 3


def test_refused_and_cancelled_requests_do_not_count_as_waiting(opened):
    sampler = held(max_batch=1)
    sampler.go.set()
    thread = opened(sampler, max_waiting=1)
    for _ in range(3):
        refused = Heard()
        thread.submit(Request((999,), 3), refused)
        refused.wait()
    for _ in range(3):
        sampler.go.clear()
        sampler.stepping.clear()
        cancelled = Heard()
        ticket = thread.submit(Request(tokens(5, 1), 300), cancelled)
        thread.cancel(ticket)
        sampler.go.set()
        assert cancelled.wait().finish_reason == "cancelled"


def test_a_request_is_cancelled_while_it_waits_is_half_computed_or_runs(opened):
    sampler = held(max_batch=2)
    sampler.go.set()
    thread = opened(sampler)
    running, half, waiting, kept = Heard(), Heard(), Heard(), Heard()
    prompt = tokens(5, 9)
    tickets = [
        thread.submit(Request(tokens(8, 1), 400), running),
        thread.submit(Request(tokens(500, 2), 10), half),
        thread.submit(Request(tokens(8, 3), 10), waiting),
    ]
    thread.submit(Request(prompt, 12, stop_token_ids=END), kept)
    assert running.started.wait(60)
    for ticket in tickets:
        thread.cancel(ticket)
    assert running.wait().finish_reason == "cancelled"
    assert kept.wait().num_generated == len(generate(tiny_llama(), prompt, 12))
    thread.cancel(tickets[0])
    assert thread.call(lambda: (sampler.busy, sampler.memory.groups)).result(60) == (False, [])


def test_a_function_runs_between_two_steps_and_its_failure_is_its_callers(opened):
    thread = opened()
    assert thread.call(lambda: threading.current_thread().name).result(60) == "sampling"
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0).result(60)


def test_after_closing_nothing_is_delivered_and_nothing_is_taken(opened):
    sampler = held()
    thread = opened(sampler)
    heard, called = Heard(), []
    thread.submit(Request(tokens(5, 1), 5), heard)
    assert sampler.stepping.wait(60)

    closer = threading.Thread(target=thread.close)
    closer.start()
    while not thread._closed:
        pass
    with pytest.raises(Busy, match="being closed"):
        thread.submit(Request(tokens(5, 1), 5), heard)
    with pytest.raises(Busy, match="being closed"):
        thread.call(lambda: called.append(1))
    sampler.go.set()
    closer.join()
    before = len(heard.events)
    assert before <= 1
    assert not heard.ended.is_set()


def test_a_call_that_closing_overtakes_is_cancelled(opened):
    sampler = held()
    thread = opened(sampler)
    thread.submit(Request(tokens(5, 1), 5), Heard())
    assert sampler.stepping.wait(60)
    thread._inbox.put(Close())
    late = thread.call(lambda: 1)
    sampler.go.set()
    thread.close()
    with pytest.raises(CancelledError):
        late.result(60)


def test_a_listener_that_fails_loses_its_request_and_no_other(opened, caplog):
    sampler = held()
    thread = opened(sampler)
    good = Heard()

    def broken(event):
        raise RuntimeError("the client is gone")

    thread.submit(Request(tokens(5, 1), 300), broken)
    thread.submit(Request(tokens(5, 2), 5), good)
    sampler.go.set()
    assert good.wait().num_generated == 5
    assert thread.call(lambda: sampler.busy).result(60) is False
    assert "a listener failed" in caplog.text
