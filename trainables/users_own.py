"""Functions of the user's own, by name. In: `package.module:function`. Out: its files and their digests, or a call.

Files are found and read without importing anything, not even packages: only `function` and `call` run the user's code.
The working folder is searched last, so that no file there hides an installed package. This module imports no torch.
Next: `trainables.networks.models` and `trainables.data.users_data` check what a call returns.
"""

import ast
import hashlib
import importlib
import importlib.util
import itertools
import json
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

OURS = ("search_spaces", "sweep", "trainables")
INSTALLED = {"site-packages", "dist-packages"}
STANDARD_LIBRARY = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}

_loaded: dict[str, str] = {}
"""Digest of the code that is in memory, by module."""
_working_folder = ""
_appended: list[str] = []
"""What `search_working_folder` has added to the search path: one folder or none."""


class ChangedError(ValueError):
    """The code of a user's function is not the code that was asked for."""


def source(name: str) -> Path:
    """Return the file of a user's function; nothing is imported.

    Raises ValueError if there is no such module, or if another file hides one of the working folder.
    """
    module = name.partition(":")[0]
    file = _files(module).get(module)
    top = module.partition(".")[0]
    here, found = _find(top, [str(Path.cwd())]), _find(top, None)
    if here and here.origin and found and found.origin and not _same(here.origin, found.origin):
        raise ValueError(f"{name}: Python finds {found.origin} before {here.origin}; give your own another name")
    if file is None or not file.is_file():
        raise ValueError(f"{name}: there is no module {module} in the working folder or elsewhere")
    return file


def sources(name: str) -> dict[str, Path]:
    """Return the files that a user's function needs, by names such as `nets.py` and `package/nets.py`.

    They are its module, all modules of the user's own that this imports directly or indirectly, and their packages. The
    standard library, installed packages and this project are left out. Import statements are read, not run, so modules
    that are imported by a computed name are not found. Raises ValueError as `source`.
    """
    source(name)
    asked = name.partition(":")[0]
    found: dict[str, Path] = {}
    waiting, seen = [asked], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for each, file in _files(module).items():
            own = _is_own(each, file)
            if own or each == asked:
                found[_label(each, file)] = file
            if own and each not in seen:
                waiting.append(each)
            if own and each == module:
                waiting += _imports(each, file)
    return dict(sorted(found.items()))


def digests(name: str) -> dict[str, str]:
    """Return the sha256 of the code in each of `sources`, by the same names; comments and docstrings do not count.

    Raises ValueError as `source`, and where a file cannot be read.
    """
    try:
        return {label: _code_digest(file) for label, file in sources(name).items()}
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def digest(files: Mapping[str, str]) -> str:
    """Return one sha256 for the digests of several files; empty for no files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() if files else ""


def name_of(function: Any) -> str:
    """Return `package.module:function` for a user's function: the name by which other processes find it.

    Raises ValueError if they could not: it must be defined at the top level of a module that can be imported.
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
    elif not _is_same_function(getattr(sys.modules.get(module), name, None), function):
        why = f"it is not what {module} has under the name {name}"
    else:
        return f"{module}:{name}"
    raise ValueError(f"workers import the function by its name, but {why}: give a def of a file, such as nets.py")


def _is_same_function(one: Any, other: Any) -> bool:
    """Return whether two functions are one, or come from importing the same code twice, which `call` may do."""
    return one is other or (type(one) is type(other) and getattr(one, "__code__", "") == getattr(other, "__code__", ""))


def function(name: str, source: str = "") -> Callable[..., Any]:
    """Import the module of a user's function, and return the function.

    `source` is the digest that its code must have. If the code in memory has another, it is imported again. Raises
    ChangedError if its files have another digest, and ValueError, with its name, if there is no such function.
    """
    wanted, module = name.partition(":")[2], _module(name, source)
    found = getattr(module, wanted, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    there = [
        each
        for each, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not each.startswith("_")
    ]
    raise ValueError(f"{name}: {module.__file__} has no function {wanted}; it has {', '.join(there) or 'none'}")


def call(name: str, *arguments: Any, source: str = "") -> Any:
    """Call a user's function. Raises as `function`, and ValueError, with its name, for whatever the function raises."""
    called = function(name, source)
    with _named_errors(name):
        return called(*arguments)


def search_path() -> tuple[str, ...]:
    """Return the folders in which this process searches for modules; see `search_like`."""
    search_working_folder()
    return tuple(str(Path(folder).absolute()) for folder in sys.path)


def search_like(path: Sequence[str]) -> None:
    """Search for modules where another process does too; folders that it searches first are searched first here.

    All modules that this project needs must be imported before: a user's folder may have files of any name.
    """
    first = list(itertools.takewhile(lambda folder: folder not in sys.path, path))
    last = [folder for folder in path[len(first) :] if folder not in (*first, *sys.path)]
    sys.path[:] = [*first, *sys.path, *last]


def search_working_folder() -> None:
    """Search for modules in the working folder too, after everything else."""
    global _working_folder
    here = str(Path.cwd())
    if here != _working_folder:
        _loaded.clear()  # a module of the same name may be another file there
        if _appended and _appended[0] in sys.path:
            sys.path.remove(_appended[0])
        _working_folder = here
        _appended.clear()
    if here not in sys.path:
        sys.path.append(here)
        _appended[:] = [here]


def _module(name: str, wanted: str) -> ModuleType:
    """Return the module of a user's function. Unless the code with digest `wanted` is in memory, it is imported."""
    module = name.partition(":")[0]
    if wanted and _loaded.get(module) == wanted and module in sys.modules:
        return sys.modules[module]
    found = digest(digests(name))
    if wanted and found != wanted:
        raise ChangedError(
            f"{source(name)}, or a module that it imports, has changed since the settings were read, or is another on "
            "this host"
        )
    if _loaded.get(module) == found and module in sys.modules:
        return sys.modules[module]
    for label in sources(name):
        sys.modules.pop(_module_of(label), None)
    finder = _FromSource({_module_of(label): file for label, file in sources(name).items()})
    sys.meta_path.insert(0, finder)
    try:
        with _named_errors(name):
            imported = importlib.import_module(module)
    finally:
        sys.meta_path.remove(finder)
    _loaded[module] = found
    return imported


class _FromSource(MetaPathFinder):
    """Finds modules without bytecode: Python notices a change of the source by its second and size only."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self.files.get(fullname)
        if file is None or file.suffix != ".py":
            return None
        return importlib.util.spec_from_file_location(fullname, file, loader=_SourceLoader(fullname, str(file)))


class _SourceLoader(SourceFileLoader):
    def path_stats(self, path: object) -> NoReturn:
        raise OSError(f"bytecode of {path} is not asked for")


def _files(module: str) -> dict[str, Path]:
    """Return the files that run when a module is imported, by module: those of its packages, and its own.

    Empty if there is no such module. A package without `__init__.py` has no file.
    """
    search_working_folder()
    importlib.invalidate_caches()  # a file may be new
    found: dict[str, Path] = {}
    folders: list[str] | None = None
    parts = module.split(".")
    for count, part in enumerate(parts, 1):
        spec = _find(part, folders)
        if spec is None or (count < len(parts) and spec.submodule_search_locations is None):
            return {}
        if spec.has_location and spec.origin:
            found[".".join(parts[:count])] = Path(spec.origin)
        folders = list(spec.submodule_search_locations or ())
    return found


def _same(one: str, other: str) -> bool:
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)


def _find(part: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    """Return where Python finds one part of a module's name: in `folders`, or for None where it begins to search."""
    if not part:
        return None
    if folders is not None:
        return PathFinder.find_spec(part, folders)
    specs = (finder.find_spec(part, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next(filter(None, specs), None)


def _is_own(module: str, file: Path) -> bool:
    return (
        module.partition(".")[0] not in OURS
        and not INSTALLED & set(file.parts)
        and not any(file.is_relative_to(folder) for folder in STANDARD_LIBRARY)
    )


def _label(module: str, file: Path) -> str:
    """Return a name for a module's file that is the same on every machine."""
    parts = module.split(".")
    return "/".join([*(parts if file.name.startswith("__init__.") else parts[:-1]), file.name])


def _module_of(label: str) -> str:
    parts = label.split("/")
    name = parts.pop().partition(".")[0]
    return ".".join(parts if name == "__init__" else [*parts, name])


def _imports(module: str, file: Path) -> Iterator[str]:
    """Yield the names of the modules that a file may import, and of the names that it may import from them."""
    tree = _tree(file.read_bytes())
    package = module if file.name.startswith("__init__.") else module.rpartition(".")[0]
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # from above the outermost package: an error when it runs
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _tree(content: bytes) -> ast.Module | None:
    """Return the syntax tree of a Python file; None for other files, such as a compiled module."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _code_digest(file: Path) -> str:
    """Return the sha256 of a file's code, whatever its layout; of its bytes if it is not Python."""
    content = file.read_bytes()
    tree = _tree(content)
    return hashlib.sha256("\n".join(_plain(tree)).encode() if tree else content).hexdigest()


def _plain(tree: ast.Module) -> Iterator[str]:
    """Yield a syntax tree node by node, without positions and docstrings, the same in every version of Python."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.AST):
            # A field that is empty in one version of Python does not exist in an older one.
            fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
            fields = [(name, value) for name, value in fields if name != "kind"]  # of a string: u"..."
            yield f"{type(node).__name__} {len(fields)}"
            for name, value in reversed(fields):
                waiting += [_without_docstring(node, value) if name == "body" else value, name]
        elif isinstance(node, list):
            yield f"list {len(node)}"
            waiting += reversed(node)
        else:
            yield ascii(node)


def _without_docstring(node: ast.AST, body: Any) -> Any:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    first = body[0] if documented else None
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if text else body


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Context: whatever a user's code raises becomes a ValueError with the function's name."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} raised {type(error).__name__}: {' '.join(str(error).split())}") from error
