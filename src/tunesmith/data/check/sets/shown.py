"""What a report may show of two texts."""

from typing import Any

from tunesmith.data.check.texts.personal import hide
from tunesmith.data.differences import differences


def shown_differences(left: str, right: str) -> dict[str, Any]:
    """What stands in only one of two texts, without personal data and secrets.

    They are hidden in the texts before these are compared: a piece of a secret is not found any more.
    """
    return differences(hide(left), hide(right)).to_json() or {"hidden": ["personal data or secrets"]}
