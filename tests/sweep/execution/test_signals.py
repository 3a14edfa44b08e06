"""How a process ends by a signal, in scripts of a few lines: no library is needed to be stuck."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep.execution import signals

Script = Callable[..., subprocess.Popen[str]]

WATCHED = """
import ctypes, os, signal, subprocess, sys, threading, time
from sweep.execution import signals
signals.GRACE = float(sys.argv[1])

def ready(): print("ready", flush=True)

def stuck():  # in C, where Python runs no handler, and goes on sleeping after a signal
    import hashlib
    threading.Timer(0.5, ready).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

with signals.Watch("{}; go on".format) as watch:
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Start a script that runs under a watch, with so many seconds of grace; return it once it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str, grace: float = 1.0) -> subprocess.Popen[str]:
        lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHED + lines, str(grace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.parametrize(
    "sent, status, said", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_main_thread_that_is_stuck_is_ended_after_the_grace_with_one_line(
    script: Script, sent: signal.Signals, status: int, said: str
) -> None:
    process = script("stuck()")
    process.send_signal(sent)
    assert ended(process) == (status, f"scyc-sweep: {said}; go on\n")


def test_a_second_signal_ends_it_at_once(script: Script) -> None:
    process = script("stuck()", grace=1000.0)
    process.send_signal(signal.SIGINT)
    time.sleep(4 * signals.GLANCE)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "scyc-sweep: interrupted; go on\n")  # the first says how


def test_the_same_signal_twice_together_is_one(script: Script) -> None:
    process = script(
        """
try:
    ready()
    while True: time.sleep(0.1)  # a signal that comes just before a sleep does not end it
except KeyboardInterrupt:
    time.sleep(3 * signals.GLANCE)  # what there is to put away
    os._exit(7)
""",
        grace=1000.0,
    )
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (7, "")


def test_an_import_is_not_unwound(script: Script, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n    print('ready', flush=True)\n    while True: time.sleep(0.1)\n"
        "except BaseException as error:\n    print(f'torn by {error!r}')\n"
    )
    process = script("sys.path.insert(0, os.getcwd())\nimport slow", grace=1000.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "scyc-sweep: interrupted; go on\n")


def test_foreign_code_is_interrupted_after_it_or_where_it_is_safe_and_sets_no_handler(script: Script) -> None:
    process = script(
        """
done = []
try:
    with signals.deferred():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ready()
        until = time.monotonic() + 0.5
        while time.monotonic() < until: pass
        done.append("whole")
except KeyboardInterrupt:
    done.append("then")
print(done, watch.number, flush=True)
""",
        grace=1000.0,
    )
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "['whole', 'then'] 15\n", "")
    process = script(
        """
try:
    with signals.deferred() as check:
        ready()
        while True: check()
except KeyboardInterrupt:
    print("safe", flush=True)
""",
        grace=1000.0,
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "safe\n", "")


def test_a_signal_to_a_fork_is_none_to_its_parent(script: Script) -> None:
    process = script(
        """
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
time.sleep(0.2)
os.kill(child, signal.SIGTERM)
_, how = os.waitpid(child, 0)
ready()
time.sleep(3 * signals.GLANCE)
os._exit(os.WTERMSIG(how) + watch.number)
""",
        grace=signals.GLANCE,
    )
    assert ended(process) == (signal.SIGTERM, "")


def test_what_the_process_started_ends_with_it(script: Script) -> None:
    process = script(
        """
import psutil
inner = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, text=True)
grandchild = child.stdout.readline()
threading.Timer(1, lambda: print(child.pid, grandchild, flush=True)).start()
stuck()
"""
    )
    assert process.stdout
    pids = [int(word) for word in process.stdout.readline().split()]
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which waits for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_thread_may_end_it_with_a_reason_but_not_where_a_signal_is_the_reason(script: Script) -> None:
    failing = """
threading.Timer(0.6, signals.fail, ["the server died"]).start()
stuck()
"""
    assert ended(script(failing, grace=1000.0)) == (1, "scyc-sweep: the server died; go on\n")
    process = script(failing, grace=1.0)
    process.send_signal(signal.SIGTERM)  # of which the server died too
    assert ended(process) == (143, "scyc-sweep: terminated; go on\n")


def test_an_ignored_signal_stays_ignored() -> None:
    code = WATCHED + "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.5)\n    print(watch.number)\n"
    result = subprocess.run(
        [sys.executable, "-c", code, "0.1"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


def test_a_watch_leaves_handlers_as_it_found_them() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.Watch(str):
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_line_is_loading_ends_it_in_one_line(tmp_path: Path, number: signal.Signals) -> None:
    # What the command line imports first sends it.
    (tmp_path / "cyclopts.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n")
    searched = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(signals.__file__).parents[2]}"}
    command = [sys.executable, "-P", "-m", "sweep", "presets"]
    ended = subprocess.run(
        command,
        env=os.environ | searched,
        capture_output=True,
        text=True,
        timeout=30,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (ended.returncode, ended.stderr) == (128 + number, f"scyc-sweep: {signals.SIGNALS[number]}\n")


def test_a_handler_is_kept_though_code_in_c_sets_another() -> None:
    program = """
import ctypes, os, signal, time
from sweep.execution import signals
came = []
signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
library = ctypes.CDLL(None)
with signals.kept():
    library.signal(int(signal.SIGTERM), ctypes.c_void_p(0))  # SIG_DFL
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
print(came)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, f"[{int(signal.SIGTERM)}]\n"), ended.stderr
