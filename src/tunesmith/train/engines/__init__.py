"""Engines that training can run on, behind one port; opened by the recipe's `engine`."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.train.engines.port import Engine, EngineSetup


def open_ragged(setup: EngineSetup) -> Engine:
    """Our own engine on torch."""
    from tunesmith.train.engines.ragged import RaggedEngine

    return RaggedEngine(setup)


def open_fake(setup: EngineSetup) -> Engine:
    """Learning without a neural network."""
    from tunesmith.train.engines.fake import FakeEngine

    return FakeEngine(setup)


ENGINES: dict[str, Callable[[EngineSetup], Engine]] = {"ragged": open_ragged, "fake": open_fake}
