"""A stranger's mistakes: each ends in one message with the next step, and nothing is overwritten or lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from folders import address, data_set
from journeys import command, environment, run

from tunesmith.cli.main import guarded, root
from tunesmith.core.config import load
from tunesmith.core.errors import (
    ConfigError,
    DataError,
    FolderError,
    ModelError,
    OutOfSpace,
    StepFailed,
    UserError,
)
from tunesmith.core.files import FULL, explain_disk_errors
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import AlreadyDone, Manifest, Workspace, index_error
from tunesmith.launch import server as launch_server
from tunesmith.launch.process import run_child
from tunesmith.launch.server import temporary_server
from tunesmith.runtime.catalogue import HUB_PATTERNS, locate


def say(capsys, *words: object) -> tuple[int, str]:
    """Exit code and standard error of a command, run in this process."""
    code = guarded(lambda: root().main([str(word) for word in words], standalone_mode=False))
    return code, capsys.readouterr().err


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder of a stranger's, with spaces and letters of other languages in its name."""
    folder = tmp_path / "my wörk ?#%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rows(here: Path) -> Path:
    """Sixty good rows in a file that no folder can be named after."""
    file = here / "my däta [v2].jsonl"
    file.write_text("".join(json.dumps(address(number).to_json()) + "\n" for number in range(60)))
    return file


MISTAKES = [
    ((), "Commands:"),
    (("data",), "prepare"),
    (("data", "foo"), "known: ablate, balance, card, check, clean, convert"),
    (("trian",), "did you mean 'train'?"),
    (("train",), "tunesmith train --help"),
    (("train", "."), "this is a folder, not a file"),
    (("train", "absent.yaml"), "no such file"),
    (("train", "file/below.yaml"), "no such file"),
    (("train", "recipe.yaml", "--nope"), "--nope"),
    (("train", "recipe.yaml", "--set", "epochs=[1"), "--set: not a valid value"),
    (("train", "recipe.yaml", "--set", "epochs=.inf"), "should be a finite number"),
    (("train", "recipe.yaml", "--set", "optimiser=3"), "a section of keys and values"),
    (("train", "recipe.yaml"), "no such folder"),
    (("train", "recipe.yaml", "--set", "data=file"), "this is a file, not a folder"),
    (("train", "recipe.yaml", "--set", "data=foreign"), "not a folder that tunesmith made"),
    (("data", "prepare", "absent.jsonl"), "no such file"),
    (("data", "prepare", "file", "--validation", "0.9", "--test", "0.9"), "nothing to train on"),
    (("data", "prepare", "file", "--workspace", ""), "--workspace: an empty path"),
    (("data", "prepare", "file", "--workspace", "file"), "this is a file, not a workspace"),
    (("data", "prepare", "/dev/null"), "a pipe or a device"),
    (("data", "show", "foreign"), "the folder has no file of rows"),
    (("decide", "absent", "--model", "fake"), "no folder of this name or id"),
    (("evaluate", "absent", "--model", "fake"), "no folder of this name or id"),
    (("compare", "broken", "broken"), "none of tunesmith's, or damaged"),
    (("lineage", "broken"), "none of tunesmith's, or damaged"),
    (("report", "nonsense"), "no folder of this name or id"),
    (("serve", "fake", "--port", "70000"), "--port: should be at most 65535, got '70000'"),
    (("serve", "fake", "--port", "x"), "--port: should be a whole number"),
    (("serve", "fake", "--host", ""), "this host is unknown"),
    (("chat", "fake", "--endpoint", "nonsense", "--message", "hi"), "--endpoint: not a URL"),
    (("monitor", "--since", "yesterday"), "give 30m, 24h, 7d"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=lambda part: " ".join(part)[:40])
def test_a_mistake_is_one_message_exit_2_and_no_litter(here, capsys, words, says):
    (here / "recipe.yaml").write_text("model: fake\ndata: absent\n")
    (here / "file").write_text(json.dumps(address(1).to_json()) + "\n")
    (here / "foreign").mkdir()
    (here / "broken").mkdir()
    (here / "broken" / "manifest.json").write_text('{"name": "of another tool"}')
    before = sorted(here.rglob("*"))
    code, message = say(capsys, *words)
    assert (code, message.count("tunesmith: ") <= 1) == (2, True)
    assert says in message
    assert "Traceback" not in message
    assert sorted(here.rglob("*")) == before


def test_a_file_that_cannot_be_prepared_is_told_of_once_by_the_step_that_looked(here):
    (here / "file.jsonl").write_text("no row\n")
    done = run(here, "decide", "file.jsonl", "--model", "fake", "--quiet")
    assert done.returncode == 2
    assert done.stderr.count("tunesmith: ") == 1
    assert "1 of 1 rows cannot be used" in done.stderr


def test_a_place_with_spaces_brackets_and_umlauts_takes_the_whole_way(rows, here, capsys):
    assert say(capsys, "data", "prepare", rows.name, "--out", "o [/red]", "--quiet")[0] == 0
    quick = ("--no-probe", "--shots", "2", "--limit", "6", "--quiet")
    assert say(capsys, "decide", "o [/red]", "--model", "fake", "--out", "p [/red]", *quick)[0] == 0
    recipe = here / "p [/red]" / "recipe.yaml"
    assert say(capsys, "train", recipe, "--out", "r [/red]", "--quiet")[0] == 0
    assert say(capsys, "evaluate", "o [/red]", "--model", "r [/red]", "--quiet")[0] == 0
    for words in (("models",), ("lineage", "r [/red]"), ("data", "show", "o [/red]")):
        assert say(capsys, *words) == (0, "")


def test_the_quickstart_takes_a_file_of_any_name(rows, here):
    from tunesmith.cli.quickstart import QuickstartConfig, data_steps, report_config

    config = QuickstartConfig(data=rows.relative_to(Path.cwd()), model="fake")
    (step,) = data_steps(config)
    assert step.config == {"source": rows.name}
    assert report_config(config, [])["reproduce"] == [
        f"tunesmith quickstart --data '{rows.name}' --model fake"
    ]


def test_lineage_finds_a_relative_file_from_anywhere(rows, here, capsys, monkeypatch):
    assert say(capsys, "data", "prepare", rows.name, "--out", "set", "--quiet")[0] == 0
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    guarded(lambda: root().main(["lineage", "../set", "--json"], standalone_mode=False))
    (source,) = json.loads(capsys.readouterr().out)["made_from"]
    assert (source["path"], source["found"]) == (str(rows), True)


def test_finished_work_is_not_a_workspace(job, here, capsys):
    folder = data_set(job, {"train": [address(1)], "validation": [], "test": []})
    before = sorted(folder.iterdir())
    (here / "rows.jsonl").write_text(json.dumps(address(2).to_json()) + "\n")
    code, message = say(capsys, "data", "prepare", "rows.jsonl", "--workspace", folder)
    assert (code, sorted(folder.iterdir())) == (2, before)
    assert "finished work, not a workspace" in message


def test_a_key_that_stands_twice_in_a_recipe_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: x\nepochs: 1\noptimiser:\n  schedule: linear\n  schedule: cosine\n")
    with pytest.raises(
        ConfigError, match=r"recipe\.yaml:5: the key stands there twice: 'optimiser.schedule'"
    ):
        load(path, Recipe)


def test_too_few_rows_to_split_names_the_file(here, capsys):
    (here / "few.jsonl").write_text(json.dumps(address(1).to_json()) + "\n")
    code, message = say(capsys, "data", "prepare", "few.jsonl")
    assert (code, message.splitlines()[0]) == (
        2,
        "tunesmith: few.jsonl: too few rows to split: 1 can be used, at least 3 are needed",
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patience": 2}, "patience: there is no validation row to measure by when to stop: 2"),
        ({"generation": {"prompts": 2}}, "generation.prompts: there is no validation row with an answer"),
    ],
)
def test_what_needs_validation_rows_is_refused_before_the_model_is_loaded(job, here, capsys, settings, says):
    rows = {"train": [address(number) for number in range(8)], "validation": [], "test": []}
    recipe = {"model": "fake", "engine": "fake", "data": str(data_set(job, rows)), **settings}
    (here / "recipe.yaml").write_text(json.dumps(recipe))
    code, message = say(capsys, "train", "recipe.yaml")
    assert (code, says in message, "loading" in message) == (2, True, False)


# The disk


@pytest.mark.parametrize("words", [("models",), ("models", "--json"), ("--help",)])
def test_a_full_disk_behind_the_output_is_one_message(here, words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=os.environ
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_ends_the_command_in_silence(here):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            command("models"), stdout=closed, stderr=subprocess.PIPE, text=True, check=False, env=os.environ
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("code", sorted(FULL))
def test_work_for_which_there_is_no_space_at_all_leaves_no_folder(job, tmp_path, monkeypatch, code):
    def full(path, value):
        with explain_disk_errors(path):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tunesmith.core.workspace.write_json", full)
    with (
        pytest.raises(OutOfSpace, match="finished work is kept"),
        job.workspace.open(
            verb="v", kind="run", name="a", config={}, inputs={}, out=tmp_path / "out", resume=True
        ),
    ):
        pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (sqlite3.SQLITE_FULL, OutOfSpace, "tunesmith reindex"),
        (sqlite3.SQLITE_READONLY, UserError, "another --workspace"),
        (sqlite3.SQLITE_CANTOPEN, UserError, "another --workspace"),
        (sqlite3.SQLITE_NOTADB, DataError, "made anew"),
    ],
)
def test_what_sqlite_says_about_the_index_has_a_next_step(tmp_path, code, kind, says):
    error = sqlite3.OperationalError("why")
    error.sqlite_errorcode = code
    explained = index_error(error, tmp_path)
    assert type(explained) is kind
    assert says in str(explained)


def make(workspace: Workspace, out: Path) -> Path:
    """A small finished folder."""
    with workspace.open(verb="v", kind="run", name="a", config={}, inputs={}, out=out) as folder:
        (folder / "a.txt").write_text("a")
    return folder.path


@pytest.mark.parametrize("content", [b"garbage" * 100, b""])
def test_an_index_that_cannot_be_read_is_made_anew(tmp_path, content):
    workspace = Workspace(tmp_path / "w")
    folder = make(workspace, tmp_path / "w" / "runs" / "a")
    (workspace.root / "index.sqlite").write_bytes(content)
    with pytest.raises(DataError, match="run `tunesmith reindex`"):
        workspace.resolve(folder.name)
    assert workspace.resolve(str(folder)) == folder
    assert workspace.reindex() == [folder] == workspace.folders()


def test_finished_work_that_the_index_missed_is_indexed_when_it_is_asked_for_again(tmp_path):
    workspace = Workspace(tmp_path / "w")
    folder = make(workspace, tmp_path / "out")
    (workspace.root / "index.sqlite").unlink()
    with pytest.raises(AlreadyDone):
        make(workspace, tmp_path / "out")
    assert workspace.folders() == [folder]


def test_a_write_protected_index_can_be_read(tmp_path):
    workspace = Workspace(tmp_path / "w")
    folder = make(workspace, tmp_path / "w" / "runs" / "a")
    (workspace.root / "index.sqlite").chmod(0o444)
    assert workspace.folders() == [folder]


@pytest.mark.parametrize("text", ["[]", "{}", '{"inputs": [{"a": 1}]}', "{"])
def test_a_manifest_of_another_tool_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FolderError, match="none of tunesmith's, or damaged"):
        Manifest.read(tmp_path)


# Models


def test_a_hub_model_is_fetched_without_pickles_and_code(job, tmp_path, monkeypatch):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (folder / name).write_text("{}")
    asked = []

    def download(ref, *, repo_type, allow_patterns):
        asked.append((ref, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    located = locate("some-org/some-model", job)
    assert (located.name, located.kind, located.path) == ("some-model", "hub", folder)
    assert asked == [("some-org/some-model", HUB_PATTERNS)]
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py", "*")) for pattern in HUB_PATTERNS)


def test_a_hub_model_without_a_network_is_one_clear_message(job, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(ref, *, repo_type, allow_patterns):
        raise LocalEntryNotFoundError("Cannot find the snapshot folder.\nMore that nobody reads.")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError) as caught:
        locate("some-org/some-model", job)
    what, step = str(caught.value).splitlines()
    assert "could not be fetched from the hub (Cannot find the snapshot folder.)" in what
    assert "'some-org/some-model'" in what
    assert "go online, or give a model folder" in step


@pytest.mark.parametrize("name", ["absent.gguf", "folder.GGUF"])
def test_a_gguf_path_that_is_no_file_is_refused(job, tmp_path, name):
    (tmp_path / "folder.GGUF").mkdir()
    with pytest.raises(UserError, match=r"no such GGUF file: .*\n  → check the path"):
        locate(str(tmp_path / name), job)


MODEL_FILES = ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors")


@pytest.mark.parametrize(
    ("absent", "extra", "says"),
    [
        ("config.json", None, "config.json is missing"),
        ("tokenizer.json", None, "the folder has no tokenizer"),
        ("chat_template.jinja", None, "the model has no chat template"),
        ("model.safetensors", None, r"no \*\.safetensors weights"),
        ("model.safetensors", "pytorch_model.bin", "pickle files, which are refused"),
    ],
)
def test_a_model_folder_that_lacks_something_names_it(job, tmp_path, absent, extra, says):
    for name in (*MODEL_FILES, *filter(None, [extra])):
        if name != absent:
            (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=says):
        locate(str(tmp_path), job)


def test_the_start_of_a_name_is_enough_to_be_reminded_of_it(job):
    with pytest.raises(UserError, match="did you mean 'smollm2-135m-instruct'"):
        locate("smollm2", job)


# Processes


@pytest.mark.parametrize("child", ["pass", "import signal; signal.raise_signal(signal.SIGINT)"])
def test_ctrl_c_while_a_child_ends_is_never_forgotten(child, monkeypatch):
    """The child ends well, or dies of the signal before it could say 130: we were stopped all the same."""
    communicate, interrupts = subprocess.Popen.communicate, [KeyboardInterrupt]

    def interrupted_once(self, **more):
        if interrupts:
            raise interrupts.pop()
        return communicate(self, **more)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted_once)
    quiet = f"import sys; sys.excepthook = lambda *_: None; {child}"
    assert run_child([sys.executable, "-c", quiet])[0] == 130


def test_ctrl_c_during_the_first_import_leaves_no_traceback():
    code = (
        "import sys, runpy\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tunesmith.cli.main': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "runpy.run_module('tunesmith', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_server_that_refuses_its_model_says_so_once(job: Job, capfd):
    with pytest.raises(StepFailed) as caught, temporary_server("nope", job):
        pass
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("no model of this name, folder or id: 'nope'\n  → known: fake")
    assert capfd.readouterr().err == ""


def test_what_a_server_complains_about_is_passed_on(job: Job, capfd, monkeypatch):
    code = (
        "import json, pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('a request failed', file=sys.stderr, flush=True)\n"
        "target = pathlib.Path(sys.argv[sys.argv.index('--announce') + 1])\n"
        "(target.parent / 'x').write_text(json.dumps({'url': 'u', 'models': ['m']}))\n"
        "(target.parent / 'x').rename(target)\n"
        "signal.pause()\n"
    )
    monkeypatch.setattr(
        launch_server, "tunesmith_command", lambda *words: [sys.executable, "-c", code, *words]
    )
    with temporary_server("any", job) as served:
        assert served == ("u", "m")
    assert capfd.readouterr().err == "a request failed\n"


def test_a_stopped_server_ends_with_its_result_as_the_only_output(here):
    """`--json` stays one object even when the command was ended by Ctrl-C."""
    announce = here / "announce.json"
    words = ("serve", "fake", "--port", "0", "--json", "--announce", announce)
    child = subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(here)
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "serving fake" in line:
            break
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert (child.returncode, json.loads(output)["requests"]) == (0, 0)


def test_a_server_ends_with_the_process_that_started_it(job: Job, here):
    code = (
        "import os, pathlib, signal, sys\n"
        "from tunesmith.core.job import Job\n"
        "from tunesmith.core.workspace import Workspace\n"
        "from tunesmith.launch.server import temporary_server\n"
        "with temporary_server('fake', Job(Workspace(pathlib.Path('w').resolve()))) as served:\n"
        "    print(served.url, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(here)},
    )
    assert done.returncode == -signal.SIGKILL
    health = done.stdout.strip().removesuffix("/v1") + "/healthz"
    deadline = time.monotonic() + 30
    with suppress(httpx.TransportError):
        while httpx.get(health, timeout=5).status_code == 200:
            assert time.monotonic() < deadline, "the server was left behind"


def test_the_terminal_may_be_narrow(here):
    done = run(here, "doctor")
    assert done.returncode == 0
    narrow = subprocess.run(
        command("doctor"),
        env={**environment(here), "COLUMNS": "12"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (narrow.returncode, narrow.stderr) == (0, "")


def test_a_run_that_has_not_finished_is_no_model_yet(job):
    growing = job.workspace.root / "runs" / "half"
    growing.mkdir(parents=True)
    (growing / "state.json").write_text('{"kind": "run", "key": "x"}')
    with pytest.raises(ModelError, match=r"has not finished.*half.*\n.*tunesmith train half"):
        locate("half", job)


def test_a_wrong_item_of_a_list_is_one_complaint(capsys):
    """pydantic also calls the list too short, because it does not count the wrong item."""
    code, said = say(capsys, "data", "clean", "x", "--step", "trimm")
    assert code == 2
    assert "did you mean 'trim'?" in said
    assert "too few" not in said
