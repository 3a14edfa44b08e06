"""Parameters of commands: those that several commands have, and the settings of an experiment as flags.

In: a class of settings. Out: a type whose keys are the flags. A flag's type, help, group and default come from the
setting. Next: the parser reads words with it, and `sweep.config.resolve` checks the values.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_origin

from cyclopts import Group, Parameter, Token
from pydantic import TypeAdapter

from sweep.config.groups import MOST_USED, group_of, group_order, when_unset
from sweep.config.presets import DEFAULT_PRESET
from sweep.config.resolve import defaults, from_preset
from sweep.config.settings import EXECUTION, Settings


def _converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Return a flag's value. Raises pydantic's ValidationError, where the parser would make 2 of 1.5."""
    values = [token.value for token in tokens]
    return TypeAdapter(type_).validate_python(values if get_origin(type_) is tuple else values[0])


def group(name: str) -> Group:
    """Return a group of the help."""
    return Group(name, sort_key=group_order(name))


Command = TypeVar("Command", bound=Callable[..., Any])
STRICT = Parameter(converter=_converted)
"""A flag whose value is read as a setting's is."""
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


def flags_of(kind: type[Settings], only: Collection[str] | None = None, default: str = "") -> Any:
    """Return a type whose keys are the flags of a command that takes these settings.

    `only`: of these settings alone. `default`: what holds without a flag, where it is not the setting's own default.
    A value of the type has the settings that were given, and no other key. `resolve` checks them.
    """
    taken = set(kind.model_fields if only is None else only) - kind.NOT_FLAGS
    flags = {name: _flag(kind, name, default) for name in kind.model_fields if name in taken}
    return TypedDict("Flags", flags, total=False)  # type: ignore[operator]  # its keys are known when this runs


def _flag(kind: type[Settings], name: str, default: str) -> Any:
    field = kind.model_fields[name]
    default = default or default_text(kind, name)
    shown = Parameter(group=group(group_of(field)), help=field.description, show_default=default or False)
    return Annotated[field.annotation, shown if field.annotation is bool else Parameter.combine(shown, STRICT)]


def default_text(kind: type[Settings], name: str) -> str:
    """Return a setting's default as the help shows it: `digits: 15` where the preset gives it, else the value.

    The preset's own settings come first, then the default of `kind`, then words for what holds without a value.
    Empty if there is nothing to say.
    """
    value = defaults(DEFAULT_PRESET, kind).get(name)
    if name == "preset" or value is None:
        return when_unset(kind.model_fields[name])
    return f"{DEFAULT_PRESET}: {typed(value)}" if name in from_preset(DEFAULT_PRESET, kind) else typed(value)


def typed(value: Any) -> str:
    """Return a value as it is typed on a command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
