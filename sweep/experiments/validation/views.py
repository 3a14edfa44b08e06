"""Temporary."""

from typing import Any

VIEWS: dict[str, Any] = {}


def answers(results: Any) -> tuple[str, ...]:
    """Say."""
    return ()
