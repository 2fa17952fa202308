"""The pre-flight: ten proofs that a run does what its recipe says, tried before the first step.

Each proof shows its evidence.  One that fails refuses the run unless the recipe waives it by name
(`waive: [mask]`); then it is shown as waived, never as passed.

The worker calls `run(context)` when the corpora are encoded and before step 1 (not on resume), and
`activation_checkpointing(results)` says what `activation_checkpointing: auto` became.  What an earlier run
proved of the same engine may stand (`standing_proofs`), if it is asked for and `check_standing` agrees.
"""

from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.runner import PART, run
from tunesmith.train.preflight.schema import ProofResult, activation_checkpointing, read_results
from tunesmith.train.preflight.standing import check_standing, standing_proofs

__all__ = [
    "PART",
    "PreflightContext",
    "ProofResult",
    "activation_checkpointing",
    "check_standing",
    "read_results",
    "run",
    "standing_proofs",
]
