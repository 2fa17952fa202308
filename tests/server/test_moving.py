"""Code for OpenAI, as docs/moving.md shows it, with the fake model."""

import json

from moving_page import ADDRESS, block, rows_of_addresses, run_the_page


def test_code_for_openai_runs_with_another_base_url(tmp_path):
    said = run_the_page(tmp_path, "fake", rows_of_addresses(40)).splitlines()
    assert said[-2] == "The job has successfully completed"
    assert json.loads(said[-1]) == {"number": "12", "street": "Main St", "city": "Springfield"}


def test_only_the_base_url_tells_the_code_from_openais():
    assert block("python").replace(f'base_url="{ADDRESS}"', "").count("127.0.0.1") == 0
    assert "extra_body" not in block("python")
