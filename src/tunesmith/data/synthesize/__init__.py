"""Synthesize: more training rows like the ones there are, written by a teacher model.

Enters: a data set folder, a `/v1` URL.  Leaves: a data set folder whose training split has the new rows too,
each marked; every reply that was not used is listed with the reason.
"""

from typing import Any

__all__ = ["SynthesizeConfig", "SynthesizeResult", "synthesize"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the package costs nothing."""
    if name == "synthesize":
        from tunesmith.data.synthesize.door import synthesize

        return synthesize
    if name in __all__:
        from tunesmith.data.synthesize import schema

        configs: dict[str, Any] = {
            "SynthesizeConfig": schema.SynthesizeConfig,
            "SynthesizeResult": schema.SynthesizeResult,
        }
        return configs[name]
    raise AttributeError(name)
