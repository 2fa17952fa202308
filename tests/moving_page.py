"""The code of docs/moving.md, as it stands there, against `tunesmith serve`."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from journeys import command, environment

PAGE = Path(__file__).parents[1] / "docs" / "moving.md"
ADDRESS = "http://127.0.0.1:8000/v1"


def block(language):
    """The first block of the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.S)[0]


@contextmanager
def served(folder, *words):
    """The address of `tunesmith serve` while the block runs; it may listen on any port."""
    process = subprocess.Popen(
        command(*words, "--port", "0"),
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process, process.stderr:
        try:
            said = next(line for line in process.stderr if "(Ctrl-C stops)" in line)
            yield re.search(r"http://\S+", said)[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.stderr.read()


def run_the_page(folder, model, rows):
    """What the page's code prints, with the page's command for another model."""
    (folder / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = block("bash").replace("smollm2-135m-instruct", model).split()[1:]
    with served(folder, *words) as url:
        code = block("python")
        assert code.count(ADDRESS) == 1
        environ = {**os.environ, "OPENAI_API_KEY": "any"}
        (folder / "old_code.py").write_text(code.replace(ADDRESS, url))
        done = subprocess.run(
            [sys.executable, "old_code.py"],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of_addresses(number):
    """Rows whose answer is the address as fields."""
    for place in range(number):
        address = f"{place} Main St, Springfield"
        fields = json.dumps({"number": str(place), "street": "Main St", "city": "Springfield"})
        yield {"messages": [{"role": "user", "content": address}, {"role": "assistant", "content": fields}]}
