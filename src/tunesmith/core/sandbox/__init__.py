"""Running code that a model wrote against tests, where it can do little harm.

On Linux each run is a fresh interpreter in a cell: without network, without the machine's other processes,
with a root folder of its own that shows the system's programs and the interpreter, read-only, and nothing of
the user's; one small folder in memory to write to; limits on time, memory, output, files and processes; an
empty environment.  When its first process ends, the kernel ends all the others.  Root gives up being root.
Where any part of the cell is refused (macOS always), nothing is run unless `Limits(allow_network=True)`; then
only the limits, the empty environment and the end of the process group are left: it may then read and write
what the user may, and a child that starts a session of its own lives on.

What remains in the cell: code and tests share one interpreter, so a program that goes looking (through the
descriptors, frames or memory of its own process) can read the tests and forge a pass; leaving early,
replacing builtins and speaking in the driver's place cannot.  The memory of all its processes together is
watched every 20 ms, not bounded by the kernel; files without a name (memfd) do not count there, and where a
container refuses a /proc of its own it is not watched at all.  It is one kernel: no defence against a fault
in that.
"""

from tunesmith.core.sandbox.answers import code_in
from tunesmith.core.sandbox.run import Limits, Outcome, Reason, network_can_be_cut, run_python

__all__ = ["Limits", "Outcome", "Reason", "code_in", "network_can_be_cut", "run_python"]
