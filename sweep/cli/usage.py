"""What is wrong with the words of a command, in one line. In: an error of the parser. Out: one line of text."""

from typing import Any

from cyclopts import CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import TypeAdapter, ValidationError

from sweep.config.messages import nearest, one_line, shown, unknown


def said(error: CycloptsError) -> str:
    """Return what is wrong, and with what."""
    cause, command = error.__cause__, " ".join(error.command_chain or ("scyc-sweep",))
    name = error.argument.name if error.argument else ""
    if isinstance(cause, ValidationError):
        return one_line(cause, name)
    if isinstance(error, CoercionError) and error.token is not None:
        given = error.token.value
        kind: Any = error.target_type
        if kind is bool:
            return f"{name} takes yes or no, but got {shown(given)}"
        try:
            TypeAdapter[Any](kind).validate_python(given)
        except ValidationError as refused:  # in the words of a setting
            return one_line(refused, name)
    if isinstance(error, MissingArgumentError):
        if error.keyword:
            return f"{error.keyword} takes a value, but got none"
        slips = [token for token in error.unused_tokens or () if token.startswith("--") and nearest(token, [name])]
        return f"{command} has no flag {slips[0]}{nearest(slips[0], [name])}" if slips else f"{command} needs {name}"
    if isinstance(error, UnknownOptionError):
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        known = [known for argument in error.argument_collection if argument.parse for known in argument.names]
        return f"{command} has no flag {flag}{nearest(flag, known)}"
    if isinstance(error, UnknownCommandError) and error.app and error.unused_tokens:
        known = [each for each in error.app if not each.startswith("-") and error.app[each].show]
        return unknown("command", error.unused_tokens[0], known)
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given more than once"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _too_many(command, error.unused_tokens[0], error.root_input_tokens or [])
    return " ".join(str(error).split())


def _too_many(command: str, word: str, words: list[str]) -> str:
    """Return that a word is one too many, and for which flag, if it stands behind one."""
    before = words[: words.index(word)] if word in words else []
    values: list[str] = []
    for each in reversed(before):
        if each.startswith("--"):
            if not values:
                return f"{each} takes no value, but got {shown(word)}"
            return f"{each} takes one value, but got {shown(values[-1])} and {shown(word)}"
        values.append(each)
    return f"{command} has no use for {shown(word)}: see scyc-sweep {command} --help"
