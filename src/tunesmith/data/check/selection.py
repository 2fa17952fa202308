"""Which checks run, and from which values on they find something."""

from collections.abc import Mapping, Sequence

from tunesmith.core.errors import ConfigError, nearest
from tunesmith.data.check.port import Check


def chosen(checks: Mapping[str, Check], only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    """The checks to run, in their own order.  Raises ConfigError for an unknown name or when none is left."""
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            known(name, checks, option)
    left = [check for name, check in checks.items() if (not only or name in only) and name not in skip]
    if not left:
        step = "name another check with --only, or leave out fewer with --skip"
        raise ConfigError("no check is left to run", next_step=step)
    return left


def known(name: str, checks: Mapping[str, Check], option: str) -> Check:
    """The check of this name.  Raises ConfigError naming the nearest one."""
    if name not in checks:
        raise ConfigError("no check of this name", where=option, value=name, next_step=nearest(name, checks))
    return checks[name]


def thresholds(checks: Mapping[str, Check], given: Sequence[str]) -> dict[str, float]:
    """Check → threshold, its own or the one given as NAME=VALUE.  Raises ConfigError."""
    found = {name: check.threshold for name, check in checks.items()}
    for entry in given:
        name, equals, text = entry.partition("=")
        if not equals:
            step = "write it like --threshold near_duplicates=0.8"
            raise ConfigError("expected NAME=VALUE", where="--threshold", value=entry, next_step=step)
        known(name, checks, "--threshold")
        found[name] = number(text, name, checks)
    return found


def number(text: str, name: str, checks: Mapping[str, Check]) -> float:
    """A threshold as a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        step = f"give a number; it is {checks[name].threshold:g} by itself"
        raise ConfigError("not a number", where=f"--threshold {name}", value=text, next_step=step)
    return value
