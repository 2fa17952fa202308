import json
import os
import re
import subprocess
import sys
from inspect import cleandoc

import click
import pytest

from tunesmith.cli.main import guarded, root
from tunesmith.cli.options import Shape
from tunesmith.cli.verbs import BY_NAME, VERBS, load
from tunesmith.core.config import Schema
from tunesmith.core.errors import CheckFailed, Interrupted, StepFailed, UserError
from tunesmith.core.progress import counted


def tunesmith(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "tunesmith", *words], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_schema_result_door_and_display(verb):
    assert issubclass(load(verb.schema), Schema)
    assert issubclass(load(verb.result), Schema)
    assert callable(load(verb.door))
    assert callable(load(verb.show))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_field_of_every_verb_is_documented(verb):
    for schema in (load(verb.schema), load(verb.result)):
        undocumented = [name for name, field in schema.model_fields.items() if not field.description]
        assert not undocumented, schema


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_prints_help(verb, capsys):
    code = guarded(
        lambda: root().main([*verb.name.split(), "--help"], prog_name="tunesmith", standalone_mode=False)
    )
    assert code == 0
    assert "--json" in capsys.readouterr().out


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_help_of_a_verb_does_not_say_its_first_line_twice(verb):
    assert words(cleandoc(load(verb.schema).__doc__).splitlines()[0]) - words(verb.summary)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 steps"),
        (1, "1 step"),
        (2.5, "2.5 steps"),
        (1234, "1,234 steps"),
        (1_234_567, "1,234,567 steps"),
    ],
)
def test_a_number_takes_its_noun_in_the_right_form(number, text):
    assert counted(number, "step") == text


def test_a_number_that_may_be_left_out_is_shown_as_a_number():
    assert (
        Shape(load(BY_NAME["serve"].schema).model_fields["max_context_tokens"].annotation).metavar == "NUMBER"
    )


def test_an_unknown_command_names_the_nearest():
    done = tunesmith("trian")
    assert done.returncode == 2
    assert "did you mean 'train'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_prints_one_object_and_nothing_else(tmp_path):
    done = tunesmith("models", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert {row["kind"] for row in json.loads(done.stdout)["models"]} >= {"catalogue", "fake"}


def test_a_missing_argument_and_a_wrong_value_exit_2(tmp_path):
    assert tunesmith("lineage").returncode == 2
    done = tunesmith("train", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "RECIPE" in done.stderr


def test_a_config_file_gives_the_settings_and_options_win(tmp_path):
    (tmp_path / "config.yaml").write_text("shell: fish\n")
    from_file = tunesmith("completion", "--config", "config.yaml", "--json", cwd=tmp_path)
    assert json.loads(from_file.stdout)["shell"] == "fish"
    both = tunesmith("completion", "zsh", "--config", "config.yaml", "--json", cwd=tmp_path)
    assert json.loads(both.stdout)["shell"] == "zsh"
    (tmp_path / "config.yaml").write_text("shel: fish\n")
    wrong = tunesmith("completion", "--config", "config.yaml", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "config.yaml:1: unknown key 'shel'; did you mean 'shell'?" in wrong.stderr


def test_shell_completion_offers_the_verbs():
    environment = {
        **os.environ,
        "_TUNESMITH_COMPLETE": "bash_complete",
        "COMP_WORDS": "tunesmith tr",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0]='tunesmith'; from tunesmith.cli.main import main; main()",
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "train" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("wrong", value="x", where="here", next_step="do that"), 2),
        (CheckFailed("no"), 1),
        (StepFailed("failed", exit_code=2), 2),
        (Interrupted("stopped"), 130),
        (KeyboardInterrupt(), 130),
        (click.UsageError("no such option"), 2),
    ],
)
def test_each_error_has_its_exit_code_and_one_message(error, code, capsys):
    def fail():
        raise error

    assert guarded(fail) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_user_error_says_what_where_and_what_next():
    error = UserError("no such file", value="a.jsonl", where="--data", next_step="check the path")
    assert str(error) == "--data: no such file: 'a.jsonl'\n  → check the path"


def test_termination_unwinds_like_ctrl_c(tmp_path):
    code = (
        "import signal, os\n"
        "from tunesmith.cli.main import guarded, interrupt\n"
        "signal.signal(signal.SIGTERM, interrupt)\n"
        "raise SystemExit(guarded(lambda: os.kill(os.getpid(), signal.SIGTERM) or signal.pause()))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 130


def test_a_verb_is_named_once():
    assert len(BY_NAME) == len(VERBS)
