"""The time as all files of a results folder state it."""

from datetime import UTC, datetime


def now() -> str:
    """Return the time in UTC, to the second, such as 2026-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")
