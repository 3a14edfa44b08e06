"""Stdout has results and nothing else, whatever else prints, and whoever reads it; a command ends when it is done."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cli.console import print_json

Small = Callable[..., list[str]]
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]

NOISY = """
import ctypes, os, threading, time
from torch import nn

print("said at import")
C = ctypes.CDLL(None)
threading.Thread(target=time.sleep, args=(600,), name="the user's own").start()

class Noisy(nn.Sequential):
    def forward(self, x):
        print("said by print")
        os.write(1, b"said by a system call\\n")
        C.puts(b"said by C")
        return super().forward(x)

def make(shape, classes):
    return Noisy(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.fixture(scope="module")
def noisy(run: Run, small: Small, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """An oracle of a network that prints in every way and leaves a thread behind, told as JSON."""
    folder = tmp_path_factory.mktemp("noisy")
    (folder / "noisy.py").write_text(NOISY)
    return run(
        *small(cycles=0, runs=1, out="o", model="noisy:make", steps=17),
        *("--preset", "digits", "--json"),
        cwd=folder,
        timeout=120,
    )


def test_json_is_all_of_stdout_though_a_users_code_prints(noisy: subprocess.CompletedProcess[str]) -> None:
    assert noisy.returncode == 0, noisy.stderr
    assert json.loads(noisy.stdout)["cycle"] == [0]
    for said in ("said at import", "said by print", "said by a system call", "said by C"):
        assert said in noisy.stderr


def test_a_command_that_is_done_does_not_wait_for_a_users_thread(noisy: subprocess.CompletedProcess[str]) -> None:
    assert noisy.returncode == 0  # it came back: the thread sleeps for ten minutes


def test_what_c_keeps_until_the_end_and_what_python_prints_go_to_stderr(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import ctypes, sys
import sweep.cli.main
from sweep.cli.console import print_json

def call(*arguments, **options):
    ctypes.CDLL(None).puts(b"said by C")
    print("said by print")
    print_json([1])

sweep.cli.main.call = call
sweep.cli.main.main()
"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=buffered)
    assert (result.stdout, sorted(result.stderr.split("\n"))) == ("[1]\n", ["", "said by C", "said by print"])

    def printing(*arguments: object, **options: object) -> None:
        print("said by print")
        print_json([1])

    monkeypatch.setattr("sweep.cli.main.call", printing)
    assert (here("show").stdout, here("show").stderr) == ("[1]\n", "said by print\n")  # where a stream is no file


def command(*words: str, close: tuple[int, ...] = (), **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command that needs no library, with some of its standard streams closed before it starts."""
    code = "import os, sys; [os.close(int(n)) for n in sys.argv[1].split()]; os.execv(sys.executable, sys.argv[2:])"
    numbers = " ".join(map(str, close))
    start = [sys.executable, "-c", code, numbers, sys.executable, "-m", "sweep", *words]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(start, timeout=60, **given)  # type: ignore[call-overload, no-any-return]


TRAJECTORY = ["trajectory", "--epsilon", "0.04", "--delta", "0.06", "--q", "1", "--beta", "4"]


def test_without_a_stdout_the_results_have_nowhere_to_go_and_it_says_so() -> None:
    result = command(*TRAJECTORY, close=(1,))
    assert (result.returncode, result.stderr) == (1, b"scyc-sweep: stdout is closed\n")
    assert command(*TRAJECTORY, close=(0, 1, 2)).returncode == 1
    assert command("oops", close=(0, 1, 2)).returncode == 2
    assert command(*TRAJECTORY, "--json", close=(0, 2)).stdout.startswith(b'{"cycle": [0, 1, ')


@pytest.mark.parametrize("words", [["--help"], TRAJECTORY, [*TRAJECTORY, "--json"]], ids=["help", "table", "json"])
def test_where_nobody_reads_it_ends_as_other_commands_do(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    result = command(*words, stdout=write)
    assert (result.returncode, result.stderr) == (141, b"")
    assert command("oops", stdout=write, stderr=write).returncode == 2
    os.close(write)


def test_a_disk_that_is_full_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = command(*TRAJECTORY, stdout=full)
    assert (result.returncode, result.stderr) == (1, b"scyc-sweep: [Errno 28] No space left on device\n")


def test_an_ascii_terminal_gets_other_characters_and_no_traceback(tmp_path: Path) -> None:
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = command(*TRAJECTORY, env=ascii_only)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii() and rb"\u03bb" in result.stdout  # λ
    result = command("show", "größer", env=ascii_only, cwd=tmp_path)
    assert (result.returncode, result.stderr.isascii()) == (2, True)
    assert rb"gr\xf6\xdfer holds no sweep" in result.stderr
