"""Parameters that several commands have: types, groups of the help, and the flags of an experiment's settings."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from sweep.config.flags import STRICT, flags_of, group
from sweep.config.groups import MOST_USED
from sweep.config.settings import EXECUTION, Settings

Command = TypeVar("Command", bound=Callable[..., Any])
Flags = dict[str, Any] | None
"""The settings that were given as flags; a command says with `takes` which there are."""
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch: it is given or not."""
Whole = Annotated[int, STRICT]
"""A whole number: the parser would make 2 of 1.5."""
Json = Annotated[Flag, Parameter(group=group("Results"))]
Config = Annotated[Path | None, Parameter(group=group(MOST_USED))]
Plan = Annotated[Flag, Parameter(group=group("Plan"))]


def takes(kind: type[Settings], only: Collection[str] | None = None, default: str = "") -> Callable[[Command], Command]:
    """Give a command's parameter `flags` the settings of an experiment, each as a flag. Arguments as `flags_of`."""

    def mark(command: Command) -> Command:
        each_alone = Parameter(name="*", consume_multiple=1)
        command.__annotations__["flags"] = Annotated[flags_of(kind, only, default), each_alone] | None
        return command

    return mark


def takes_execution(command: Command) -> Command:
    """Give a command that trains beside an oracle the flags of where and how."""
    return takes(Settings, EXECUTION, "as in the oracle")(command)
