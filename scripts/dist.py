"""Build the wheel and run the fake journey from it, in a fresh environment outside the checkout.

Proves that templates, assets, recipes and migrations are inside.  Run it with `make dist`.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUST_HOLD = ("report.html.jinja", "migrations/versions/", "tunesmith/recipes/")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; its failure ends this script with its output shown."""
    words = [str(word) for word in command]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, text=True, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(words)}\n{done.stdout}")
    return done.stdout


def build() -> Path:
    """Build the wheel into dist/ and look inside."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    run(sys.executable, "-m", "build", "--wheel", cwd=ROOT)
    wheel = next((ROOT / "dist").glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    missing = [part for part in MUST_HOLD if not any(part in name for name in names)]
    if missing:
        sys.exit(f"{wheel.name} lacks {missing}")
    return wheel


def main() -> None:
    """Build, install outside, run the journey with the fake model."""
    wheel = build()
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        venv.create(outside / "env", with_pip=True)
        python = outside / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=outside)
        runpy.run_path(str(ROOT / "tests" / "sample_rows.py"))["write_rows"](outside / "rows.jsonl")
        journey = ("quickstart", "--model", "fake", "--data", "rows.jsonl", "--json", "--quiet")
        result = json.loads(run(outside / "env" / "bin" / "tunesmith", *journey, cwd=outside))
        installed = run(python, "-m", "pip", "list", "--format", "freeze", cwd=outside)
        assert "torch" not in installed, "the base package must not need torch"
        assert Path(result["report"]).stat().st_size > 10_000
        print(f"{wheel.name}: the fake journey ran from it without torch: {result['verdict']}")


if __name__ == "__main__":
    main()
