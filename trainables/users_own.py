"""Functions of the user's own, by name. In: `package.module:function`. Out: its file, or what it returns.

Modules are searched for in the working folder too, as Python does for a script that lies there. No torch. Next:
`trainables.models` and `trainables.users_data` check what came back.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def source(name: str) -> Path:
    """Return the file of a user's function. Raises ValueError where there is no such module."""
    module = name.partition(":")[0]
    _search_working_folder()
    try:
        found = importlib.util.find_spec(module)
    except (Exception, SystemExit) as error:  # a module's package is imported to find it, and may raise anything
        raise ValueError(f"{name} cannot be found: {_said(error)}") from error
    if found is None or found.origin is None or not found.has_location:
        raise ValueError(f"{name}: there is no module {module} in the working folder or elsewhere")
    return Path(found.origin)


def function(name: str) -> Callable[..., Any]:
    """Return a user's function, its module imported. Raises ValueError, naming it, where there is none."""
    source(name)
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except (Exception, SystemExit) as error:  # whatever a user's code may raise
        raise ValueError(f"{name} raised {_said(error)}") from error


def call(name: str, *arguments: Any) -> Any:
    """Return what a user's function returns. Raises ValueError, naming it, where there is none or it raises."""
    called = function(name)
    try:
        return called(*arguments)
    except (Exception, SystemExit) as error:  # whatever a user's code may raise
        raise ValueError(f"{name} raised {_said(error)}") from error


def _search_working_folder() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # Ray's workers search where the driver does


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
