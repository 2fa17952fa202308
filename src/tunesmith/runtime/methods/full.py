"""Method `full`: every parameter learns."""

from __future__ import annotations

from functools import partial

from tunesmith.core.recipe import Full
from tunesmith.runtime.init_from import begin_from
from tunesmith.runtime.methods.port import Attached, Begin
from tunesmith.runtime.methods.whole import (
    learn,
    own_parameters,
    publish_whole,
    refuse_quantised,
)
from tunesmith.runtime.models import Loaded


def attach(loaded: Loaded, settings: Full, begin: Begin) -> Attached:
    """Let every parameter learn, tied ones once.  New tokens' rows learn with the rest.

    An adapter to begin from is merged into the weights.  Raises ModelError for a quantised base, and for an
    adapter that should go on learning or be stacked on.
    """
    refuse_quantised(loaded.model, settings.kind)
    begin_from(loaded, begin, kind="")
    return Attached(
        model=loaded.model,
        trainable=learn(loaded.model, own_parameters(loaded.model)),
        publish=partial(publish_whole, loaded),
        expected_parameters=loaded.model.num_parameters(),
    )
