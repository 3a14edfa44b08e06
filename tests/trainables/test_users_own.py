"""A user's own functions: found and told apart without running anything, and run as their files are now."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import users_own
from trainables.users_own import ChangedError, call, digest, digests, search_like, source, sources


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what a test imports from it is forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)  # another test's
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


LEAVES_A_TRACE = "open('trace', 'w').close()\n"


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("nets:f", "nets.py"),
            ("package:f", "package/__init__.py"),
            ("package.inner:f", "package/inner/__init__.py"),
            ("package.inner.nets:f", "package/inner/nets.py"),
            ("bare.inner.nets:f", "bare/inner/nets.py"),
        ],
    )
    def test_a_name_stands_for_a_file_which_is_found_without_running_anything(
        self, folder: Path, name: str, file: str
    ) -> None:
        package = dict.fromkeys(["package/__init__.py", "package/inner/__init__.py"], LEAVES_A_TRACE)
        write(package | dict.fromkeys(["nets.py", "package/inner/nets.py", "bare/inner/nets.py"], LEAVES_A_TRACE))
        before = set(sys.modules)
        assert source(name) == folder / file
        assert file in digests(name)
        assert set(sys.modules) == before and not Path("trace").exists()

    @pytest.mark.parametrize(
        "name", ["gone:f", "package.gone:f", "nets.inner:f", "sys:exit", "gone.gone:f", "bare:f", ".nets:f", "..:f"]
    )
    def test_where_there_is_no_file_it_says_so(self, name: str) -> None:
        write({"nets.py": "", "package/__init__.py": "", "bare/nets.py": ""})
        with pytest.raises(ValueError, match=r"there is no module \S+ in the working folder or elsewhere"):
            source(name)

    @pytest.mark.parametrize("name", ["torch", "sweep", "json", "sys"])
    def test_a_file_called_as_something_installed_is_hidden_and_is_told_so(self, folder: Path, name: str) -> None:
        write({f"{name}.py": ""})
        with pytest.raises(ValueError, match=rf"Python finds .* before {folder / name}\.py; give your own another"):
            source(f"{name}:f")

    def test_another_working_folder_has_other_files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in "ab":
            (folder / name).mkdir()
            (folder / name / "nets.py").write_text(f"def f(): return {name!r}")
            monkeypatch.chdir(folder / name)
            assert source("nets:f") == folder / name / "nets.py" and call("nets:f") == name


class TestSources:
    @pytest.mark.parametrize(
        ("imports", "found"),
        [
            ("import helper", {"helper.py"}),
            ("import helper as h, other", {"helper.py", "other.py"}),
            ("from helper import Block", {"helper.py"}),
            ("def f():\n  from helper import Block", {"helper.py"}),
            ("try: import helper\nexcept ImportError: helper = None", {"helper.py"}),
            ("import package.nets", {"package/__init__.py", "package/nets.py", "package/blocks.py"}),
            ("from package import nets", {"package/__init__.py", "package/nets.py", "package/blocks.py"}),
            ("from package.blocks import Block", {"package/__init__.py", "package/blocks.py"}),
            ("from bare.nets import f", {"bare/nets.py"}),
            ("import circle", {"circle.py"}),
            ("import torch, json, sweep.spec, trainables\nfrom torch import nn", set()),
            ("import gone\nfrom . import helper\nfrom .. import helper", set()),
        ],
    )
    def test_what_a_module_imports_from_the_users_folders_belongs_to_it(self, imports: str, found: set[str]) -> None:
        write(
            {
                "mine.py": f"{imports}\n{LEAVES_A_TRACE}",
                "helper.py": "import torch",
                "other.py": "",
                "package/__init__.py": "",
                "package/nets.py": "from .blocks import Block\nfrom . import gone",
                "package/blocks.py": "",
                "package/unused.py": "",
                "bare/nets.py": "",
                "circle.py": "import mine",
                "torch.py": "",
                "sweep.py": "",
            }
        )
        assert set(sources("mine:f")) == found | {"mine.py"}
        assert all(file.is_file() for file in sources("mine:f").values()) and not Path("trace").exists()

    def test_a_function_in_a_package_is_made_of_that_packages_code_too(self) -> None:
        write({"package/__init__.py": "from package import blocks", "package/blocks.py": "", "package/nets.py": ""})
        assert set(sources("package.nets:f")) == {"package/__init__.py", "package/nets.py", "package/blocks.py"}

    def test_what_is_installed_is_its_own_file_alone(self) -> None:
        assert list(sources("torchvision.models.resnet:resnet18")) == ["torchvision/models/resnet.py"]


CODE = '''
"""Networks."""
from helper import width
class Net:
    """A network."""
    def forward(self, x):
        """Return the logits."""
        return x @ width  # one layer
def f(shape, classes):
    """Return a network."""
    return Net()
'''


class TestDigests:
    @pytest.fixture
    def before(self) -> dict[str, str]:
        write({"nets.py": CODE, "helper.py": "width = 64"})
        return digests("nets:f")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("# one layer", "# another comment"),
            ('"""Return the logits."""', ""),
            ('"""Networks."""', '"""Networks\n\nof mine.\n"""'),
            ("return Net()", "return (\n        Net()\n    )"),
            ("def f(", "\n\n\ndef f("),
            ("x @ width", "x@width"),
        ],
    )
    def test_the_layout_comments_and_docstrings_do_not_count(self, before: dict[str, str], old: str, new: str) -> None:
        assert old in CODE
        write({"nets.py": CODE.replace(old, new)})
        assert digests("nets:f") == before and digest(digests("nets:f")) == digest(before)

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("nets.py", CODE.replace("x @ width", "x @ width + 1")),
            ("nets.py", CODE.replace("x @ width", "x + width")),
            ("nets.py", CODE.replace("Net()", "Net")),
            ("nets.py", CODE + "x = None"),
            ("nets.py", CODE + "'text'"),
            ("helper.py", "width = 65"),
            ("helper.py", "width = 64.0"),
            ("helper.py", "width = '64'"),
            ("helper.py", "width = True"),
            ("helper.py", "width = None"),
            ("helper.py", "width: int = 64"),
            ("helper.py", "width = [64]"),
            ("helper.py", "width = -64"),
            ("helper.py", "width = 64; height = 64"),
            ("helper.py", "Width = 64"),
            ("helper.py", "width == 64"),
            ("helper.py", "def width(): 64"),
            ("helper.py", "width = 64 +"),
        ],
    )
    def test_all_else_does_and_the_file_is_named(self, before: dict[str, str], file: str, text: str) -> None:
        write({file: text})
        after = digests("nets:f")
        assert {name for name in after if after[name] != before[name]} == {file}
        assert digest(after) != digest(before)

    def test_they_are_the_same_in_every_version_of_python(self) -> None:
        write({"helper.py": "async def f(x: int = 1, *, y='\u00e4', **z):\n  return f'{x} {y!r:>3}', u'', None, 1.0"})
        assert digests("helper:f")["helper.py"][:12] == "edeb52296a4a"

    @pytest.mark.parametrize(
        "content",
        [b"\x00", b"\xff\xfe", b"(" * 10_000, b"x = " + b"-" * 100_000 + b"1", b"x = " + b"1 + " * 3000 + b"1", b"a b"],
        ids=["null", "no text", "open", "deep", "long", "no code"],
    )
    def test_a_file_that_is_no_python_or_a_strange_one_has_one_too(self, content: bytes) -> None:
        Path("strange.py").write_bytes(content)
        before = digests("strange:f")
        assert digests("strange:f") == before
        Path("strange.py").write_bytes(content + b"2")
        assert digests("strange:f") != before


class TestCall:
    def test_the_code_that_runs_is_that_of_the_files_now_that_of_what_they_import_too(self) -> None:
        write({"nets.py": "from helper import width\ndef f(): return width", "helper.py": "width = 64"})
        assert call("nets:f") == 64
        write({"helper.py": "width = 65"})  # in the same second, and of the same length
        assert call("nets:f") == 65
        write({"nets.py": "from helper import width\ndef f(): return -width"})
        assert call("nets:f") == -65
        assert not Path("__pycache__").exists()

    def test_what_was_imported_before_from_other_code_is_not_what_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write({"nets.py": "def f(): return 1"})
        monkeypatch.syspath_prepend(str(Path.cwd()))
        __import__("nets")
        write({"nets.py": "def f(): return 2"})
        assert call("nets:f") == 2

    def test_code_that_is_asked_for_runs_and_no_other(self) -> None:
        write({"nets.py": "count = 0\ndef f():\n  global count\n  count += 1\n  return count"})
        wanted = digest(digests("nets:f"))
        assert [call("nets:f", source=wanted) for _ in range(2)] == [1, 2]  # of one module
        write({"nets.py": "def f(): return 'other'"})
        assert call("nets:f", source=wanted) == 3  # what is in memory is what was asked for
        sys.modules.pop("nets")
        with pytest.raises(ChangedError, match=r"nets\.py, or a module that it imports, has changed since"):
            call("nets:f", source=wanted)
        assert call("nets:f", source=digest(digests("nets:f"))) == "other"

    @pytest.mark.parametrize(
        ("function", "said"),
        [
            ("absent", r"nets\.py has no function absent; it has f, g$"),
            ("width", r"nets\.py has no function width; it has f, g$"),
            ("g", "nets:g raised ZeroDivisionError: division by zero$"),
        ],
    )
    def test_where_there_is_no_such_function_the_file_is_named_and_what_it_has(self, function: str, said: str) -> None:
        write({"nets.py": "from pathlib import Path\nwidth = 1\ndef f(): ...\ndef g(): 1 / 0\ndef _h(): ..."})
        with pytest.raises(ValueError, match=said):
            call(f"nets:{function}")

    def test_an_import_that_fails_is_told_and_is_tried_again(self) -> None:
        write({"nets.py": "import gone"})
        with pytest.raises(ValueError, match="nets:f raised ModuleNotFoundError: No module named 'gone'"):
            call("nets:f")
        write({"nets.py": "def f(): return 1"})
        assert call("nets:f") == 1

    def test_what_is_called_alike_in_another_working_folder_is_its_own_file(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in "ab":
            (folder / name).mkdir()
            monkeypatch.chdir(folder / name)
            write({"nets.py": "def f(): return __file__"})
            assert call("nets:f", source=digest(digests("nets:f"))) == str(folder / name / "nets.py")

    def test_a_function_keeps_its_name_when_its_module_was_imported_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write({"nets.py": "def f(): return 1\ndef g(): return 2"})
        monkeypatch.syspath_prepend(str(folder))
        nets = __import__("nets")
        first = nets.f
        for _ in range(2):
            assert users_own.name_of(first) == "nets:f" and call("nets:f") == 1
        assert sys.modules["nets"].f is not first
        nets.g.__qualname__ = "f"
        with pytest.raises(ValueError, match="it is not what nets has under the name f"):
            users_own.name_of(nets.g)


def test_another_process_searches_where_this_one_does_and_in_the_same_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = list(sys.path)
    monkeypatch.setattr(sys, "path", ["", "/script", *installed])
    path = users_own.search_path()
    assert path[:2] == (str(folder), "/script")
    monkeypatch.setattr(sys, "path", ["/ray/workers", *installed])
    search_like([*path, "/last"])
    assert sys.path == [str(folder), "/script", "/ray/workers", *installed, "/last"]
    search_like([*path, "/last"])
    assert len(sys.path) == len(installed) + 4
