"""What `tunesmith serve` takes jobs for."""

import pytest

from tunesmith.api.serving import held, tunable
from tunesmith.core.errors import ServerError
from tunesmith.serve.schema import ServeConfig


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
