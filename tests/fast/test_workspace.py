from pathlib import Path

import pytest

from tunesmith.core.errors import FolderError
from tunesmith.core.files import read_json
from tunesmith.core.lineage import ancestors, descendants
from tunesmith.core.workspace import AlreadyDone, Manifest, Workspace, cache_root


def make(
    workspace: Workspace, kind="data-set", name="a", config=None, inputs=None, out=None, text="x", **more
):
    with workspace.open(
        verb=f"make {kind}", kind=kind, name=name, config=config or {}, inputs=inputs or {}, out=out, **more
    ) as folder:
        (folder / "content.txt").write_text(text)
        folder.summary = {"length": len(text)}
    return folder.path


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "root")


def test_a_finished_folder_has_a_manifest_with_everything_it_came_from(workspace, tmp_path):
    (tmp_path / "in.txt").write_text("input")
    path = make(workspace, config={"a": 1}, inputs={"source": tmp_path / "in.txt"}, seed=7)
    manifest = Manifest.read(path)
    assert manifest.summary == {"length": 1}
    assert (manifest.seed, manifest.config, manifest.inputs[0].kind) == (7, {"a": 1}, "file")
    assert list(manifest.files) == ["content.txt"]
    assert "python" in manifest.versions
    assert read_json(path / "state.json")["status"] == "finished"


def test_the_same_work_is_not_done_again(workspace):
    path = make(workspace, config={"a": 1})
    with pytest.raises(AlreadyDone) as done:
        make(workspace, config={"a": 1})
    assert done.value.folder == path


def test_a_changed_input_is_other_work(workspace, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("one")
    first = make(workspace, inputs={"source": source})
    source.write_text("two")
    assert make(workspace, inputs={"source": source}) != first


def test_the_id_is_the_content_and_not_the_place(workspace, tmp_path):
    here = make(workspace, out=tmp_path / "here")
    there = make(workspace, out=tmp_path / "there")
    other = make(workspace, out=tmp_path / "other", text="y")
    assert Manifest.read(here).id == Manifest.read(there).id != Manifest.read(other).id


def test_a_folder_of_other_work_is_never_touched(workspace, tmp_path):
    path = make(workspace, out=tmp_path / "out", config={"a": 1})
    with pytest.raises(FolderError, match="other finished work"):
        make(workspace, out=path, config={"a": 2})
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match="did not make"):
        make(workspace, out=foreign)
    assert (foreign / "thesis.txt").read_text() == "years of work"


def failing(workspace, out):
    with workspace.open(verb="v", kind="run", name="a", config={}, inputs={}, out=out) as folder:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError


def test_work_that_fails_leaves_no_folder(workspace, tmp_path):
    with pytest.raises(ZeroDivisionError):
        failing(workspace, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_resumable_work_that_fails_keeps_what_it_has(workspace, tmp_path):
    def attempt(fail):
        with workspace.open(
            verb="v", kind="run", name="a", config={}, inputs={}, out=tmp_path / "out", resume=True
        ) as folder:
            found = (folder / "half.txt").exists()
            (folder / "half.txt").write_text("half")
            if fail:
                raise KeyboardInterrupt
            return found

    with pytest.raises(KeyboardInterrupt):
        attempt(fail=True)
    with pytest.raises(FolderError, match="not finished"):
        Manifest.read(tmp_path / "out")
    assert attempt(fail=False)


def test_unfinished_work_with_other_settings_is_refused(workspace, tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        workspace.open(
            verb="v", kind="run", name="a", config={"a": 1}, inputs={}, out=tmp_path / "out", resume=True
        ),
    ):
        raise KeyboardInterrupt
    with pytest.raises(FolderError, match="other settings"):
        make(workspace, kind="run", out=tmp_path / "out", config={"a": 2})


def test_a_folder_that_another_process_fills_is_refused(workspace, tmp_path):
    with (
        workspace.open(verb="v", kind="run", name="a", config={}, inputs={}, out=tmp_path / "out"),
        pytest.raises(FolderError, match="another process"),
        workspace.open(verb="v", kind="run", name="a", config={}, inputs={}, out=tmp_path / "out"),
    ):
        pass


def test_the_index_can_be_rebuilt_from_the_folders(workspace):
    made = {make(workspace, name=name, text=name) for name in "abc"}
    (workspace.root / "index.sqlite").unlink()
    assert workspace.folders() == []
    assert set(workspace.reindex()) == made == set(workspace.folders())


def test_a_thing_is_found_by_path_name_and_start_of_id(workspace):
    path = make(workspace)
    for thing in (str(path), path.name, Manifest.read(path).id[:10]):
        assert workspace.resolve(thing) == path
    with pytest.raises(FolderError, match="no folder of this name"):
        workspace.resolve("nothing")


def test_lineage_walks_both_ways_by_content(workspace, tmp_path):
    data = make(workspace, kind="data-set", name="data")
    run = make(workspace, kind="run", name="run", inputs={"data": data}, text="run")
    report = make(workspace, kind="report", name="report", inputs={"model": run}, text="report")
    up = ancestors(workspace, report)
    assert [node.kind for node in up] == ["run"]
    assert [node.kind for node in up[0].children] == ["data-set"]
    down = descendants(workspace, data)
    assert [node.name for node in down[0].children] == [report.name]
    moved = tmp_path / "moved"
    data.rename(moved)
    workspace.index(moved)
    assert ancestors(workspace, run)[0].path == str(moved)


def test_the_workspace_is_the_nearest_above(tmp_path, monkeypatch):
    (tmp_path / ".tunesmith").mkdir()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Workspace.find().root == tmp_path / ".tunesmith"
    assert Workspace.find(Path("elsewhere")).root == below / "elsewhere"


def test_one_variable_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    assert cache_root() == tmp_path


def test_lineage_goes_through_a_file_to_the_folder_that_made_it(workspace):
    source = make(workspace, kind="source", name="source")
    data = make(
        workspace, kind="data-set", name="data", inputs={"source": source / "content.txt"}, text="data"
    )
    assert ancestors(workspace, data)[0].path == str(source)
    assert [node.path for node in descendants(workspace, source)] == [str(data)]


def test_a_folder_is_found_by_its_name_without_the_hash_as_long_as_one_matches(workspace):
    one = make(workspace, name="rows", config={"a": 1})
    assert workspace.resolve("rows") == one
    source = make(workspace, kind="source", name="rows", config={"a": 2})
    assert workspace.resolve("rows", "data-set") == one
    assert workspace.resolve("rows", "source") == source
    with pytest.raises(FolderError, match="2 folders match") as error:
        workspace.resolve("rows")
    assert one.name in error.value.message()
    with pytest.raises(FolderError, match="no folder of this name"):
        workspace.resolve("row")
