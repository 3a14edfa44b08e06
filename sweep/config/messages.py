"""What is wrong with an input, in one line of plain words. In: an unknown name, or an error of pydantic. Out: text.

A message has the rule and the value. Next: it is raised as a `SettingsError`, or printed by the command line.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

USERS_OWN = "package.module:function"
NOUNS = {"model": "network", "dataset": "data set", "by": "way to tune", "decide": "way to decide"}
"""What the choices of a setting are called, where its name does not say so."""

TAKES = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}
"""What a setting takes, by the kinds of pydantic's errors."""
BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
LONGEST = 100
"""Characters of a value that are shown."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name closest to `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown(what: str, given: object, known: Sequence[str], other: str = "") -> str:
    """Return that a name is unknown, with the nearest one that is known; `other` may be given in place of a name."""
    said = f"unknown {what} {shown(given)}"
    near = nearest(str(given), known)
    if other:
        return f"{said}{near} Or give {other}" if near else f"{said}; known are {', '.join(known)}; or give {other}"
    return f"{said}{near} Known are {listed(known)}" if near else f"{said}; known are {listed(known)}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def printable(text: str) -> str:
    """Return a text on one line, in characters that can be printed and written: what else it has goes by its number.

    A folder's name may hold anything, such as bytes that are no UTF-8.
    """
    line = " ".join(text.splitlines())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and on one line."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value))}]"
    else:
        text = " ".join((repr(value) if isinstance(value, str) else str(value)).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def one_line(error: ValidationError, name: str = "") -> str:
    """Return a validation error as one line: setting, rule, value.

    `name` is that of the one value that was checked; without it the error tells which setting each value is of, and
    settings go by their flags.
    """
    found: dict[str, list[Any]] = {}
    for detail in error.errors():
        within = detail["loc"] if name else detail["loc"][1:]
        setting = name or (str(detail["loc"][0]) if detail["loc"] else "")
        found.setdefault(setting, []).append({**detail, "within": within})
    return "; ".join(
        _said(setting if name or not setting else f"--{setting.replace('_', '-')}", _key(setting), details)
        for setting, details in found.items()
    )


def _key(flag: str) -> str:
    """Return the name of a setting, also from its flag."""
    return flag.removeprefix("--").replace("-", "_")


def _said(label: str, setting: str, details: Sequence[Any]) -> str:
    """Return what is wrong with one setting; `details` has an error for each form that it might have had."""
    first = details[0]
    kind, given = first["type"], shown(first["input"])
    for detail in details:
        if detail["type"] in ("value_error", "assertion_error"):  # a rule of our own, which says what it got
            said = str(detail["ctx"]["error"])
            between = " " if said.startswith("must ") else ": "
            return f"{label}{between}{said}" if label else said
    choices = [name for detail in details for name in _choices(detail)]
    kinds = {detail["type"] for detail in details}
    if choices and kinds <= {"literal_error", "string_pattern_mismatch", "string_type"}:
        own = USERS_OWN if len(kinds) > 1 else ""
        return unknown(NOUNS.get(setting, setting.replace("_", " ")), first["input"], choices, own)
    if kind in BOUNDS:
        words, limit = BOUNDS[kind]
        return f"{label} must be {words} {_number(first['ctx'][limit])}, but got {_number(first['input'])}"
    forms = [*choices, *dict.fromkeys(_form(detail) for detail in details if detail["type"] != "literal_error")]
    return f"{label} takes {listed(forms, 'or')}, but got {given}"


def _number(value: float) -> str:
    return shown(int(value) if isinstance(value, float) and value.is_integer() else value)  # 1 was typed, not 1.0


def _form(detail: Any) -> str:
    form = TAKES.get(detail["type"])
    if form is None:
        return f"something else ({' '.join(detail['msg'].lower().split())})"
    inside_a_list = any(isinstance(part, int) for part in detail["within"])
    return f"{form.removeprefix('a ')}s" if inside_a_list and form.endswith("number") else form


def _choices(detail: Any) -> list[str]:
    return re.findall(r"'([^']*)'", detail["ctx"]["expected"]) if detail["type"] == "literal_error" else []
