"""The report: one HTML page about data, training and results.

Enters: folders of the other rooms (data set, plan, run, reports, comparison), read through their
manifests and documented files only.  Leaves: a folder of kind "summary" with `report.html`, one
self-contained file that opens offline, and `report.md` and `report.json` with the same facts.
"""

from typing import Any

__all__ = ["ReportConfig", "ReportResult", "report"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "report":
        from tunesmith.evaluate.report.door import report

        return report
    if name in __all__:
        from tunesmith.evaluate.report import schema

        return {"ReportConfig": schema.ReportConfig, "ReportResult": schema.ReportResult}[name]
    raise AttributeError(name)
