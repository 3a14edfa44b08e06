"""Settings as flags of a command. In: a class of settings. Out: a type whose keys are the flags.

A flag's type, help, group and default come from the setting. Next: `sweep.cli` parses words with it.
"""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypedDict, get_origin

from cyclopts import Group, Parameter, Token
from pydantic import TypeAdapter

from sweep.config.groups import group_of, group_order, when_unset
from sweep.config.presets import DEFAULT_PRESET
from sweep.config.resolve import defaults, from_preset
from sweep.config.settings import Settings


def _converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Return a flag's value. Raises pydantic's ValidationError, where the parser would make 2 of 1.5."""
    values = [token.value for token in tokens]
    return TypeAdapter(type_).validate_python(values if get_origin(type_) is tuple else values[0])


STRICT = Parameter(converter=_converted)
"""A flag whose value is read as a setting's is."""


def flags_of(kind: type[Settings], only: Collection[str] | None = None, default: str = "") -> Any:
    """Return a type whose keys are the flags of a command that takes these settings.

    `only`: of these settings alone. `default`: what holds without a flag, where it is not the setting's own default.
    A value of the type has the settings that were given, and no other key. `resolve` checks them.
    """
    taken = set(kind.model_fields if only is None else only) - kind.NOT_FLAGS
    flags = {name: _flag(kind, name, default) for name in kind.model_fields if name in taken}
    return TypedDict("Flags", flags, total=False)  # type: ignore[operator]  # its keys are known when this runs


def group(name: str) -> Group:
    """Return a group of the help."""
    return Group(name, sort_key=group_order(name))


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
