"""Scorers of questions that a package made, which knows what a right answer is."""

import re
from collections.abc import Mapping
from dataclasses import fields

from tunesmith.core import gym
from tunesmith.core.scorers.port import Case, Faulty, Scorer

TAGGED = re.compile(r"<answer>(.*?)</answer>", flags=re.S)


def reasoning_gym(case: Case) -> float:
    """What a reasoning-gym family gives for the answer, or for the last part of it in <answer> tags."""
    at = case.example.metadata.get("reasoning_gym")
    if not isinstance(at, Mapping) or set(at) != {field.name for field in fields(gym.Place)}:
        raise Faulty("the item's metadata name no question of reasoning-gym")
    asked = case.example.prompt[-1].content or ""
    try:
        return gym.score(gym.Place(**at), asked, final_answer(case.reply.text))
    except gym.Unscored as error:
        raise Faulty(str(error)) from None


def final_answer(text: str) -> str:
    """The last part in answer tags, or everything; without white space at its ends."""
    tagged = TAGGED.findall(text)
    return (tagged[-1] if tagged else text).strip()


SCORERS = (Scorer("reasoning_gym", reasoning_gym, "unit"),)
