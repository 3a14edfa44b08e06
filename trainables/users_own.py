"""Functions of the user's own, by name. In: `package.module:function`. Out: its files and their digests, or a call.

Files are found and read without importing anything, packages neither: only `call` runs what they hold. The working
folder is searched last, so that no file there takes the place of an installed package. No torch. Next:
`trainables.networks.models` and `trainables.data.users_data` check what came back.
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
"""By module, the digest of the code that is in memory."""
_working_folder = ""
_appended: list[str] = []
"""What `search_working_folder` has put into the search path, if that lacked it."""


class ChangedError(ValueError):
    """The code of a user's function is not the code that was asked for."""


def source(name: str) -> Path:
    """Return the file of a user's function; nothing is imported.

    Raises ValueError where there is no such module, or where a file of the working folder is hidden by another.
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
    """Return the files that a user's function is made of, by names such as `nets.py` and `package/nets.py`.

    They are its module and what that imports, at any remove, from the user's own folders, with the packages that these
    lie in. The standard library, installed packages and this project are left out. Imports are read, not carried out:
    those by a computed name are not seen. Raises ValueError as `source`.
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
    """Return one sha256 for the digests of several files; nothing for none."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() if files else ""


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
    elif not _alike(getattr(sys.modules.get(module), name, None), function):
        why = f"it is not what {module} has under the name {name}"
    else:
        return f"{module}:{name}"
    raise ValueError(f"workers import the function by its name, but {why}: give a def of a file, such as nets.py")


def _alike(one: Any, other: Any) -> bool:
    """Whether two functions are one, or were made by importing the same code twice, as `call` may."""
    return one is other or (type(one) is type(other) and getattr(one, "__code__", "") == getattr(other, "__code__", ""))


def function(name: str, source: str = "") -> Callable[..., Any]:
    """Return a user's function, its module imported.

    `source`: the digest that its code must have; it is imported again where what is in memory has another. Raises
    ChangedError where its files have another, and ValueError, naming it, where there is no such function.
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
    """Return what a user's function returns. Raises as `function`, and ValueError, naming it, where it raises."""
    called = function(name, source)
    with _told(name):
        return called(*arguments)


def search_path() -> tuple[str, ...]:
    """Return where this process searches for modules, for a process elsewhere to do likewise."""
    search_working_folder()
    return tuple(str(Path(folder).absolute()) for folder in sys.path)


def search_like(path: Sequence[str]) -> None:
    """Search for modules where another process does, too; what that searches first is searched first here.

    Everything that this project needs must be imported by then: a user's folder may hold files of any name.
    """
    first = list(itertools.takewhile(lambda folder: folder not in sys.path, path))
    last = [folder for folder in path[len(first) :] if folder not in (*first, *sys.path)]
    sys.path[:] = [*first, *sys.path, *last]


def search_working_folder() -> None:
    """Search for modules in the working folder too, after everything else."""
    global _working_folder
    here = str(Path.cwd())
    if here != _working_folder:
        _loaded.clear()  # what is called alike there is of another file
        if _appended and _appended[0] in sys.path:
            sys.path.remove(_appended[0])
        _working_folder = here
        _appended.clear()
    if here not in sys.path:
        sys.path.append(here)
        _appended[:] = [here]


def _module(name: str, wanted: str) -> ModuleType:
    """Return the module of a user's function, imported from its files as they are now unless `wanted` is in memory."""
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
        with _told(name):
            imported = importlib.import_module(module)
    finally:
        sys.meta_path.remove(finder)
    _loaded[module] = found
    return imported


class _FromSource(MetaPathFinder):
    """Finds modules whose bytecode is neither read nor written: it is told from its source by second and size alone."""

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
    """Return the files that importing a module runs: those of the packages that it lies in, and its own.

    Nothing where there is no such module; a package without `__init__.py` has no file.
    """
    search_working_folder()
    importlib.invalidate_caches()  # a file may have been written a moment ago
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
    """Return where one part of a module's name lies: in `folders`, or if there are none where Python begins."""
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
    """Return the name of a module's file that is the same on every machine."""
    parts = module.split(".")
    return "/".join([*(parts if file.name.startswith("__init__.") else parts[:-1]), file.name])


def _module_of(label: str) -> str:
    parts = label.split("/")
    name = parts.pop().partition(".")[0]
    return ".".join(parts if name == "__init__" else [*parts, name])


def _imports(module: str, file: Path) -> Iterator[str]:
    """Yield the names of the modules that a file may import, and of what it may import from them."""
    tree = _tree(file.read_bytes())
    package = module if file.name.startswith("__init__.") else module.rpartition(".")[0]
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # from beyond the outermost package; whoever runs it is told
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _tree(content: bytes) -> ast.Module | None:
    """Return the syntax tree of a Python file; None for what is none, such as a compiled module."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _code_digest(file: Path) -> str:
    """Return the sha256 of what a file does, however it is laid out; of its bytes if it is no Python."""
    content = file.read_bytes()
    tree = _tree(content)
    return hashlib.sha256("\n".join(_plain(tree)).encode() if tree else content).hexdigest()


def _plain(tree: ast.Module) -> Iterator[str]:
    """Yield a syntax tree node by node, without positions and docstrings, in the same words in every Python."""
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
def _told(name: str) -> Iterator[None]:
    """Raise ValueError, naming the function, for whatever a user's code may raise."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} raised {type(error).__name__}: {' '.join(str(error).split())}") from error
