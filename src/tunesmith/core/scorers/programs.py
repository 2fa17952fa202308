"""Scorers of answers that are programs."""

from tunesmith.core.sandbox import Limits, code_in, run_python
from tunesmith.core.scorers.port import Case, Faulty, Scorer


def code(case: Case, *, seconds: float = 5.0, memory_mb: int = 512, allow_network: bool = False) -> float:
    """1 when the answer's Python code passes the `tests` in the item's metadata, in a sandbox.

    Tests are assertions, functions named test…, or a unittest.
    """
    tests = case.example.metadata.get("tests")
    if not isinstance(tests, str) or not tests.strip():
        raise Faulty("the item's metadata have no tests")
    limits = Limits(
        seconds=seconds,
        cpu_seconds=max(1, round(seconds)),
        memory_bytes=memory_mb << 20,
        allow_network=allow_network,
    )
    return float(run_python(code_in(case.reply.text), tests, limits).passed)


SCORERS = (Scorer("code", code, "share"),)
