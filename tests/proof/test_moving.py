"""Code for OpenAI, as docs/moving.md shows it, with the embedded model."""

import json

import pytest
from moving_page import rows_of_addresses, run_the_page


@pytest.mark.fetches
def test_code_for_openai_gets_a_model_that_has_learned_from_its_file(tmp_path):
    said = run_the_page(tmp_path, "smollm2-135m-instruct", rows_of_addresses(60))
    print(said)
    assert json.loads(said.splitlines()[-1])["number"] == "12"
