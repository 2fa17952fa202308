"""Running code that a model wrote against tests, where it can do little harm.

Each run is a fresh interpreter in a session, a network namespace and a process namespace of its own, with
limits on time, memory, files and processes, an empty environment, and a folder that is removed afterwards; as
root it also gives up root.

What remains: it may read files that the user may read (and what root may, where the interpreter stands in a
folder that only root may enter), and a program that goes looking for the driver's own variables in the same
interpreter could forge a pass.  It protects from accidents and from ordinary cheating (an early exit), not
from an attacker.
"""

from tunesmith.core.sandbox.run import Limits, Outcome, Reason, code_in, network_can_be_cut, run_python

__all__ = ["Limits", "Outcome", "Reason", "code_in", "network_can_be_cut", "run_python"]
