"""Time that may be spent: each phase ends at a share of the whole, and takes over what earlier ones left."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PROMPTS, METHODS, PROBES = 0.35, 0.45, 0.95
"""Where the phases end; the rest is for checking the data and writing the plan."""
PROMPTS_ALONE = 0.9
"""Where measuring prompts ends when nothing is trained."""


@dataclass(frozen=True)
class Budget:
    """Seconds from now on."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "started", self.clock())

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def left(self, until: float) -> float:
        """Seconds until a share of the whole is spent; below 0 when it is."""
        return until * self.seconds - self.spent
