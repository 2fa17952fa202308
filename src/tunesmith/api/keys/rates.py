"""How many requests of a key are let through: a bucket that fills at the rate of its limit."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE = 60.0


class Admission(NamedTuple):
    """Whether a request is let through, and what its client is told."""

    passed: bool
    limit: int
    remaining: int
    wait_seconds: float
    """Until one more is let through; 0 while there is room."""
    full_seconds: float
    """Until the whole limit is there again."""

    def headers(self) -> dict[str, str]:
        """The three that OpenAI sends."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{math.ceil(self.full_seconds * 1000)}ms",
        }


@dataclass
class Buckets:
    """One bucket for each key; they are empty of requests when the server starts."""

    clock: Callable[[], float]
    held: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Key → (requests left, when that was)."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str, limit: int) -> Admission:
        """Let a request through if the key's limit in a minute allows."""
        now = self.clock()
        with self.lock:
            left, then = self.held.get(key, (float(limit), now))
            left = min(float(limit), left + (now - then) * limit / MINUTE)
            passed = left >= 1
            left -= passed
            self.held[key] = (left, now)
        wait = 0.0 if left >= 1 else (1 - left) * MINUTE / limit
        return Admission(passed, limit, int(left), wait, (limit - left) * MINUTE / limit)
