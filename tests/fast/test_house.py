"""The house rules that a machine can check: layers, start-up, sizes, doors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "tunesmith"
FILES = sorted(SOURCE.rglob("*.py"))
FOUNDATIONS = {"core": {"core"}, "runtime": {"core", "runtime"}, "launch": {"core", "launch"}}
ROOMS = {"data", "decide", "train", "evaluate", "serve", "monitor", "export"}
SKINS = {"cli", "api", "web"}
HEAVY = ("torch", "transformers", "pydantic", "numpy", "rich", "yaml", "httpx", "fastapi", "pyarrow")

TORCH_IN_TRAIN = {("train", "engines"), ("train", "objectives.py")}

LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
"""Exceptions to the size rules (file or file:function → lines).  Entries may only go or shrink."""


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def imports(path: Path) -> set[str]:
    """Full names of the tunesmith modules that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("tunesmith.")}


def room(module: str) -> str:
    return module.split(".")[1]


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_imports_only_layers_below_it(path):
    parts = path.relative_to(SOURCE).parts
    if len(parts) == 1 or parts[0] in SKINS:
        return
    here = parts[0]
    allowed = FOUNDATIONS.get(here, {"core", "runtime", "launch", here})
    outside = {
        name for name in imports(path) if room(name) not in allowed and name != "tunesmith.__version__"
    }
    assert not outside, f"{place(path)} reaches out of its layer: {sorted(outside)}"


def test_every_folder_of_the_package_is_a_known_layer():
    folders = {path.parent.relative_to(SOURCE).parts[0] for path in FILES if path.parent != SOURCE}
    assert folders <= set(FOUNDATIONS) | ROOMS | SKINS


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_is_under_500_lines(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONG_FILES.get(place(path), 500)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_function_is_over_80_lines(path):
    long = {
        name: size for name, size in functions(path) if size > LONG_FUNCTIONS.get(f"{place(path)}:{name}", 80)
    }
    assert not long


def test_the_median_function_is_at_most_12_lines():
    sizes = sorted(size for path in FILES for _, size in functions(path))
    assert sizes[len(sizes) // 2] <= 12


def test_no_exception_to_the_size_rules_has_become_needless():
    lines = {place(path): len(path.read_text().splitlines()) for path in FILES}
    sizes = {f"{place(path)}:{name}": size for path in FILES for name, size in functions(path)}
    assert all(lines.get(name, 0) == size > 500 for name, size in LONG_FILES.items())
    assert all(sizes.get(name, 0) == size > 80 for name, size in LONG_FUNCTIONS.items())


def test_only_the_runtime_and_the_training_engines_import_torch():
    for path in FILES:
        parts = path.relative_to(SOURCE).parts
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        if names & {"torch", "transformers", "peft"}:
            assert parts[0] == "runtime" or parts[:2] in TORCH_IN_TRAIN, place(path)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['tunesmith', '--help']\n"
        "from tunesmith.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = python(code)
    assert "quickstart" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "schema", [path for path in FILES if path.name in ("schema.py", "recipe.py")], ids=place
)
def test_a_schema_imports_no_engine_no_statistics_and_no_client(schema):
    module = ".".join(("tunesmith", *schema.relative_to(SOURCE).with_suffix("").parts))
    heavy = ("torch", "transformers", "scipy", "httpx", "sqlalchemy")
    done = python(f"import sys, {module}; print([n for n in {heavy} if n in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_a_room_says_what_enters_and_leaves_and_has_at_most_seven_names(name):
    door = SOURCE / name / "__init__.py"
    if not door.exists():
        assert not (SOURCE / name).exists()
        return
    tree = ast.parse(door.read_text())
    assert ast.get_docstring(tree)
    done = python(f"import tunesmith.{name} as room; print(len(room.__all__))")
    assert int(done.stdout) <= 7, done.stderr


def test_nobody_asks_our_own_objects_what_they_are():
    """hasattr and getattr hide what an object is; the few left ask libraries, modules or pydantic."""
    allowed = {"cli/verbs.py", "core/machine.py"}
    for path in FILES:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        asks = calls & {"getattr", "hasattr"}
        assert not asks or place(path) in allowed or path.name == "__init__.py" or "runtime" in place(path), (
            place(path)
        )


def test_help_loads_few_modules():
    """A count instead of a time: what is loaded is what is paid (`benchmarks/startup.py` has the times)."""
    code = (
        "import sys; bare = set(sys.modules); sys.argv = ['tunesmith', '--help']\n"
        "from tunesmith.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(len(set(sys.modules) - bare), file=sys.stderr)"
    )
    assert int(python(code).stderr) <= 120


def test_nothing_reads_pickles():
    """A pickle can run code when it is read; tensors travel as safetensors."""
    for path in FILES:
        text = path.read_text()
        assert "torch.load(" not in text, place(path)
        assert "import pickle" not in text, place(path)
