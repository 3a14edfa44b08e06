"""What a setting is made of: its types, and its place in the help. In: values. Out: fields of `Settings`.

Next: `sweep.config.settings` defines all settings with these; an experiment's `settings.py` adds its own.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from trainables.spec import CriterionName
from trainables.storage import Location, expanded, locate

LocationText = Annotated[
    str,
    BeforeValidator(lambda given: str(given) if isinstance(given, Location) else given),
    AfterValidator(lambda given: str(locate(given)) and given),  # raises ValueError for what is no location
]
"""A path, or the URI of a folder in a bucket, which a Path would spoil."""
LocalFolder = Annotated[Path, AfterValidator(lambda path: expanded(path) and path)]  # raises ValueError likewise
UsersOwn = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
PruningName = Literal[CriterionName, "imp"]

MOST_USED = "Most used"
OF_THIS_COMMAND = "Of this command"
GROUPS = (
    MOST_USED,
    "What is trained",
    "Data",
    "Pruning",
    "Learning rate",
    "Search and decision",
    "Where it runs",
    "Plan",
    "Results",
)
"""The groups of the help, in its order. A group that an experiment adds stands behind the most used settings."""


def setting(default: Any = ..., *, group: str, description: str, when_unset: str = "", **checks: Any) -> Any:
    """Define a setting: pydantic's `Field`, with its group in the help.

    `description`: plain text in short sentences; `code` in backticks. `when_unset`: in words, what holds where the
    default is None. `checks`: pydantic's, such as `ge=1`.
    """
    extra: dict[str, Any] = {"group": group, "when_unset": when_unset}
    return Field(default, description=description, json_schema_extra=extra, **checks)


def group_of(field: FieldInfo) -> str:
    """Return the group of a setting that `setting` defined."""
    return str(_extra(field)["group"])


def when_unset(field: FieldInfo) -> str:
    """Return what holds where a setting has no value; empty where that needs no words."""
    return str(_extra(field)["when_unset"])


def group_order(group: str) -> int:
    """Return the place of a group in the help."""
    return 10 * GROUPS.index(group) if group in GROUPS else 5


def _extra(field: FieldInfo) -> dict[str, Any]:
    """Return what `setting` noted; a field of a third party's settings may be a plain one of pydantic's."""
    noted = field.json_schema_extra
    return {"group": OF_THIS_COMMAND, "when_unset": ""} | (noted if isinstance(noted, dict) else {})
