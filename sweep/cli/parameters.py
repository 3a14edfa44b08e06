"""Parameters that several commands have: types, groups of the help, and the flags of an experiment's settings."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sweep.config.flags import flags_of, group
from sweep.config.groups import MOST_USED
from sweep.config.settings import EXECUTION, Settings

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch: it is given or not."""
Json = Annotated[Flag, Parameter(group=group("Results"))]
Config = Annotated[Path | None, Parameter(group=group(MOST_USED))]
Plan = Annotated[Flag, Parameter(group=group("Plan"))]


AS_FLAGS = Parameter(name="*", consume_multiple=1)
"""Each key of a type is a flag of its own."""
Execution = Annotated[flags_of(Settings, EXECUTION, "as in the oracle"), AS_FLAGS]  # type: ignore[valid-type]
"""The flags of where and how lanes train."""
