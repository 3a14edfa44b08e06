"""Functions of the user's own, by name. In: `package.module:function`. Out: its file, or what it returns.

Modules are searched for in the working folder too, as Python does for a script that lies there. No torch. Next:
`trainables.models` and `trainables.users_data` check what came back.
"""

import importlib
import importlib.util
import sys
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


def call(name: str, *arguments: Any) -> Any:
    """Return what a user's function returns. Raises ValueError, naming it, where there is none or it raises."""
    source(name)
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(*arguments)
    except (Exception, SystemExit) as error:  # whatever a user's code may raise
        raise ValueError(f"{name} raised {_said(error)}") from error


def name_of(function: Any) -> str:
    """Return `package.module:function` of a function of the user's own, by which other processes find it.

    Raises ValueError where they would not: it must be defined at the top level of a module that can be imported.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        raise ValueError(f"{type(function).__name__} is no function of a module: give a def of a file, such as nets.py")
    if name == "<lambda>":
        why = "a lambda has no name"
    elif "." in name:
        why = f"{name} is defined inside something else"
    elif module == "__main__":
        why = f"{name} is defined in a script or notebook, which workers do not run"
    elif getattr(sys.modules.get(module), name, None) is not function:
        why = f"it is not what {module} has under the name {name}"
    else:
        return f"{module}:{name}"
    raise ValueError(f"workers import the function by its name, but {why}: give a def of a file, such as nets.py")


def _search_working_folder() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # Ray's workers search where the driver does


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
