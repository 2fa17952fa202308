"""What `reasoning_gym:` in a suite promises, held against the real package: every family, every promise.

Needs `pip install 'tunesmith[suites]'`.  Takes about two minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tunesmith.core import gym

SIZE, ASKED = 20, 10
RAW = f"""
import json, sys, warnings
warnings.simplefilter("ignore")
import reasoning_gym
from reasoning_gym.factory import DATASETS
found = {{}}
for name in sorted(set(DATASETS) - {{"composite"}}):
    made = reasoning_gym.create_dataset(name, size={SIZE}, seed=0)
    found[name] = [[str(made[n]["question"]), str(made[n]["answer"])] for n in range({ASKED})]
sys.__stdout__.write("\\n" + json.dumps(found))
"""
ATTACKS = (
    "open({file!r}, 'w').write('x')",
    "__import__('os').system('touch ' + {file!r})",
    'exec("open({file!r}, chr(119))")',
    'sympify("open({file!r}, chr(119))")',
    'lambdify(x, "open({file!r}, chr(119))")(1)',
    "[].__class__.__base__.__subclasses__()",
)


def raw(hash_seed: int) -> dict:
    """What the package makes by itself in one process."""
    done = subprocess.run(
        [sys.executable, "-c", RAW],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def questions(families) -> dict:
    """What a fresh worker makes."""
    gym.close()
    return {name: [gym.question(gym.Place(name, SIZE, 0, n)) for n in range(ASKED)] for name in families}


def own_answers(made) -> tuple[int, list]:
    """How many of the families' own answers get all points, and those that do not."""
    right, wrong = 0, []
    for name, asked in made.items():
        for n, question in enumerate(asked):
            if question.answer is not None:
                score = gym.score(gym.Place(name, SIZE, 0, n), question.text, question.answer)
                right += score == 1
                wrong += [] if score == 1 else [(name, n, score)]
    return right, wrong


def attacked(made) -> tuple[int, bool]:
    """How many hostile answers were scored 0 to 1 or refused, and whether any of them ran."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made"
        tried = 0
        for name, asked in made.items():
            for attack in ATTACKS:
                answer = attack.format(file=str(file))
                with suppress(gym.Unscored):
                    gym.score(gym.Place(name, SIZE, 0, 0), asked[0].text, answer)
                tried += 1
        return tried, file.exists()


def main() -> None:
    about = gym.about()
    families = [name for name in about.families if name != "composite"]
    one, two = raw(1), raw(2)
    moving = [name for name in families if one[name] != two[name]]
    print(f"reasoning-gym {about.version}: {len(families)} families")
    print(f"by itself, {len(moving)} make other questions in another process: {', '.join(moving)}")
    made, again = questions(families), questions(families)
    print(f"here, {sum(made[name] != again[name] for name in families)} do")
    right, wrong = own_answers(made)
    print(f"own answers with all points: {right} of {right + len(wrong)} {wrong or ''}")
    silent = [name for name in families if made[name][0].answer is None]
    print(f"families that only check answers: {', '.join(silent)}")
    tried, ran = attacked(made)
    print(f"hostile answers: {tried}, {'SOME OF THEM RAN' if ran else 'none of them ran'}")


if __name__ == "__main__":
    main()
