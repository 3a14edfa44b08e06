"""All settings of a preset as a TOML file to edit, for --config. In: a preset, a class of settings. Out: its text.

Next: `sweep.config.resolve.read_toml` reads it back.
"""

import json
import textwrap
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from sweep.config.groups import UsersOwn, group_of, group_order, when_unset
from sweep.config.messages import USERS_OWN, listed
from sweep.config.resolve import defaults, parts
from sweep.config.settings import Settings

WIDTH = 100
"""Characters of a line of comments."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
"""Words for pydantic's limits of a number."""


def template(preset: str, kind: type[Settings], command: str) -> str:
    """Return the settings of a command as a preset has them: grouped as in the help, each with its description.

    A setting without a value is commented out. Read back, the text gives the settings of the preset.
    """
    values = defaults(preset, kind)
    fields = {name: field for name, field in kind.model_fields.items() if name not in kind.NOT_FLAGS}
    lines = _comment(
        f"Settings of `scyc-sweep {command}` with the preset {preset}. Change what you need, then run: scyc-sweep "
        f"{command} --config FILE. Flags win over this file. Delete the lines that you do not need: for example, "
        "warmup_steps and milestones are rescaled with steps only if they are not given here."
    )
    ordered = sorted(fields, key=lambda name: group_order(group_of(fields[name])))
    for group, names in groupby(ordered, lambda name: group_of(fields[name])):
        lines += ["", "", f"# ---- {group} ----"]
        for name in names:
            lines += ["", *_comment(f"{fields[name].description} {_range(fields[name])}"), _line(name, values, fields)]
    return "\n".join(lines) + "\n"


def _line(name: str, values: dict[str, Any], fields: dict[str, FieldInfo]) -> str:
    value = values.get(name)
    if value is None:
        unset = when_unset(fields[name])
        return f"# {name} =" + (f"  # without a value: {unset}" if unset else "")
    return f"{name} = {_toml(value)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text.strip(), WIDTH - 2, break_long_words=False)]


def _range(field: FieldInfo) -> str:
    """Return in words which values a setting takes, as far as its type says more than the description."""
    choices = [str(name) for part in parts(field.annotation) if get_origin(part) is Literal for name in get_args(part)]
    if choices:
        own = [USERS_OWN] if UsersOwn in parts(field.annotation) else []
        number = ["a number"] if int in parts(field.annotation) else []
        return f"Choices: {listed([*choices, *own, *number], 'or')}."
    limits = [
        f"{words} {getattr(bound, limit)}"
        for limit, words in BOUNDS.items()
        for bound in field.metadata
        if hasattr(bound, limit)
    ]
    return f"Range: {listed(limits)}." if limits else ""


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value if isinstance(value, bool | int | float | str) else str(value))
