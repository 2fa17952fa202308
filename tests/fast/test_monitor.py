from contextlib import closing

import pytest
from rich.console import Console

from tunesmith.cli.show_monitor import show_monitor
from tunesmith.core.errors import UserError
from tunesmith.core.record import Entry, RecordWriter
from tunesmith.core.stats import wilson
from tunesmith.monitor import MonitorConfig, monitor

HOUR = 3600.0


def entry(number, **changes):
    values = {
        "id": f"id-{number}",
        "time": 100 * HOUR + 60.0 * number,
        "model": "m",
        "version": "abcdef0123456789",
        "status": 200,
        "total_seconds": float(number + 1),
        "first_token_seconds": 0.1 * (number + 1),
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "finish_reason": "stop",
    }
    return Entry(**{**values, **changes})


def write(job, entries):
    with closing(RecordWriter(job.workspace.record)) as writer:
        for one in entries:
            writer.put(one)


def shown(result):
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        show_monitor(result, console)
        return console.export_text()


def test_an_empty_record_says_so_and_what_to_do(job):
    result = monitor(MonitorConfig(), job)
    assert result.overall.requests == 0
    assert "tunesmith serve" in result.advice
    assert "nothing was recorded" in shown(result)
    assert not job.workspace.record.exists()


def test_requests_errors_latency_and_tokens_are_counted(job):
    good = [entry(number) for number in range(20)]
    bad = [
        entry(20, status=404, error_type="model_not_found", error_message="no such model", finish_reason=None)
    ]
    left = [entry(21, status=499, error_type="cancelled", finish_reason=None)]
    write(job, good + bad + left)
    result = monitor(MonitorConfig(), job)
    health = result.overall
    assert (health.requests, health.errors, health.cancelled) == (22, 1, 1)
    assert health.error_rate == 1 / 21
    assert (health.error_rate_low, health.error_rate_high) == wilson(1, 21)
    assert (health.total_seconds.p50, health.total_seconds.p95) == (10.0, 19.0)
    assert health.first_token_seconds.p50 == 1.0
    assert (health.prompt_tokens, health.completion_tokens) == (220, 110)
    assert result.error_types == {"model_not_found": 1}
    assert result.finish_reasons == {"stop": 20}
    assert [(error.status, error.message) for error in result.last_errors] == [(404, "no such model")]
    text = shown(result)
    assert "no such model" in text
    assert "10.00 s/19.00 s" in text


def test_a_client_may_have_asked_for_a_model_of_any_name(job):
    write(job, [entry(0, model="[/red]", status=404, error_type="[/b]", error_message="[/i]")])
    assert "[/red]" in shown(monitor(MonitorConfig(), job))


def test_figures_are_told_apart_by_model_version_and_hour(job):
    write(job, [entry(1), entry(2, model="n"), entry(3), entry(4, version="other"), entry(61), entry(200)])
    result = monitor(MonitorConfig(), job)
    assert [(row.model, row.version[:5], row.requests) for row in result.by_model] == [
        ("m", "abcde", 4),
        ("n", "abcde", 1),
        ("m", "other", 1),
    ]
    assert [(row.hour, row.requests) for row in result.by_hour] == [
        ("1970-01-05T04:00:00+00:00", 4),
        ("1970-01-05T05:00:00+00:00", 1),
        ("1970-01-05T07:00:00+00:00", 1),
    ]
    assert "1970-01-05 07:00" in shown(result)


def test_a_model_and_a_window_can_be_chosen(job):
    write(job, [entry(1), entry(2, model="n"), entry(3)])
    assert monitor(MonitorConfig(model="n"), job).overall.requests == 1
    window = monitor(MonitorConfig(since="1h"), job)
    assert window.overall.requests == 0
    assert "--since" in window.advice
    with pytest.raises(UserError, match="no request to this model"):
        monitor(MonitorConfig(model="mm"), job)


def test_what_the_record_lost_is_told(job):
    with closing(RecordWriter(job.workspace.record, max_content_bytes=0)) as writer:
        writer.put(entry(1, content="kept", answer="x", messages=[]))
    result = monitor(MonitorConfig(), job)
    assert (result.dropped_contents, result.dropped_requests) == (1, 0)
    assert "could not keep up" in shown(result)
