"""When `tunesmith serve` takes files and jobs."""

import pytest

from tunesmith.api.serving import held, takes_jobs, tunable
from tunesmith.core.errors import ServerError, UserError
from tunesmith.serve.schema import ServeConfig


def test_jobs_are_taken_on_loopback_for_models_of_this_process(job):
    assert takes_jobs(ServeConfig(), job)
    assert not takes_jobs(ServeConfig(training=False), job)
    assert not takes_jobs(ServeConfig(upstream="http://127.0.0.1:1/v1"), job)


def test_strangers_cannot_fill_the_disk(job):
    assert not takes_jobs(ServeConfig(host="0.0.0.0"), job)
    with pytest.raises(UserError, match=r"loopback address only: '0\.0\.0\.0'"):
        takes_jobs(ServeConfig(host="0.0.0.0", training=True), job)


def test_a_second_server_in_a_workspace_is_told_how_it_can_answer_all_the_same(tmp_path):
    with (
        held(tmp_path / "server"),
        pytest.raises(ServerError, match="--no-training"),
        held(tmp_path / "server"),
    ):
        pass


def test_served_base_models_and_their_aliases_can_be_fine_tuned_and_nothing_else(job):
    config = ServeConfig(models=("fake",), alias=("gpt-4o-mini=fake",))
    assert tunable(config, job) == {"fake": "fake", "gpt-4o-mini": "fake"}
    with pytest.raises(ValueError, match="an alias is NAME=MODEL"):
        ServeConfig(alias=("gpt",))
