"""How a command ends before its time: by Ctrl-C (SIGINT) and SIGTERM, whatever its main thread is doing.

Python raises KeyboardInterrupt wherever the main thread happens to be. Within an import or within Ray, the exception is
lost, or the process hangs or crashes. So `deferred` keeps it out of Ray, a signal during an import ends the process at
once, and a thread of `Watch` ends the process if it does not end by itself. No data depend on this: a finished lane is
on the disk before it counts.
"""

import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""Signals that end a command, and the word that is printed then."""
GRACE = 5.0
"""Seconds that a command has to end by itself after a signal; a second signal ends it at once."""
GLANCE = 0.25
"""Seconds between two looks for processes that were started meanwhile."""


class Watch:
    """Ends this process after a signal, with status 130 (SIGINT) or 143 (SIGTERM); a context for the main thread.

    The main thread gets a KeyboardInterrupt at the first signal. `number` is the signal that came, or 0.
    """

    def __init__(self, with_advice: Callable[[str], str]) -> None:
        """`with_advice` adds to a last message how to resume."""
        self.with_advice = with_advice
        self.number = 0
        self._raised = False
        self._last_word = threading.Lock()

    def __enter__(self) -> "Watch":
        global _watching
        # The bytes of `set_wakeup_fd` arrive even while the main thread is in a library and cannot run a handler.
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        # A signal that is ignored, as under nohup, stays ignored.
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._own = {number: signal.signal(number, self._handle) for number in heard}
        self._own_wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        _watching = self
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        global _watching
        _watching = None
        self.let_go()
        self._write.close()
        self._thread.join()
        self._read.close()

    def let_go(self) -> None:
        """Restore the handlers of before."""
        signal.set_wakeup_fd(self._own_wakeup)
        for number, handler in self._own.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """Exit status of a command that a signal ended."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def message(self) -> str:
        """The last message of a command that a signal ended."""
        return self.with_advice(SIGNALS[signal.Signals(self.number or signal.SIGINT)])

    def claim(self) -> None:
        """Let the caller print the last message and end the command: from now on nothing else here does."""
        self._raised = True
        self._last_word.acquire()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Interrupt the main thread, once."""
        self.number = self.number or number
        if self._raised:
            return
        self._raised = True
        if _importing(frame):
            self.claim()
            _leave(self.message, self.status)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        """Wait for a signal, then for the end of the command; end the command if it takes too long."""
        while (number := self._next()) != 0:
            self.number = self.number or number
            first, started = time.monotonic(), set(children())
            while (passed := time.monotonic() - first) < GRACE:
                if select.select([self._read], [], [], GLANCE)[0]:
                    if self._next() == 0:
                        return
                    if passed > GLANCE:  # an earlier one is the same: a terminal and a launcher may both send it
                        break
                started |= set(children())
            if self._last_word.acquire(blocking=False):
                _leave(self.message, self.status, started)

    def _next(self) -> int:
        """Wait for a signal and return its number; 0 means that the command has ended."""
        while (came := self._read.recv(1)) and came[0] not in SIGNALS:
            pass
        return came[0] if came else 0

    def fail(self, reason: str) -> None:
        """End this process with status 1, from any thread, unless it already ends for another reason."""
        time.sleep(0.005)  # the reason may be a signal that has not reached its thread yet
        if self.number == 0 and self._last_word.acquire(blocking=False):
            _leave(self.with_advice(reason), 1)


def end_at_signals() -> None:
    """Let a signal end this process at once, without a traceback: for the time before anything must be closed."""

    def end_now(number: int, frame: FrameType | None) -> NoReturn:
        os.write(2, f"scyc-sweep: {SIGNALS[signal.Signals(number)]}\n".encode())
        os._exit(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_now)


_watching: Watch | None = None


def fail(reason: str) -> None:
    """End this process with one line and status 1 if it is a command's; do nothing in other processes."""
    if _watching is not None:
        _watching.fail(reason)


def _forget_in_child() -> None:
    """In a fork of this process: restore the handlers, so that its signals do not wake the parent's thread."""
    if _watching is not None:
        _watching.let_go()


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Keep signals from interrupting a block of a library's code, and the library from setting handlers of its own.

    A signal that came raises KeyboardInterrupt after the block. Yields a function that raises it within the block, to
    be called where this is safe.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python runs handlers in the main thread alone
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    own = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in own:
        signal.signal(number, lambda number, frame: came.append(number))
    set_handler = signal.signal
    signal.signal = lambda number, handler: signal.getsignal(number)  # type: ignore[assignment]

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    try:
        yield check
    finally:
        signal.signal = set_handler
        for number, handler in own.items():
            signal.signal(number, handler)
        if came:
            own[signal.Signals(came[0])](came[0], None)


@contextmanager
def kept() -> Iterator[None]:
    """Keep this process's handler of SIGTERM during a block in which Ray's C code sets others without Python.

    When Ray starts, it makes SIGTERM print a stack and abort, and when it ends, it restores the system's default. So
    our handler is set again in the system every millisecond.
    """
    library = ctypes.CDLL(None, use_errno=False)
    action = ctypes.create_string_buffer(1024)  # a struct sigaction, whatever is in it; glibc's has 152 bytes
    if not hasattr(library, "sigaction") or library.sigaction(int(signal.SIGTERM), None, action):
        yield
        return
    ended = threading.Event()

    def put_back() -> None:
        while not ended.wait(0.001):
            library.sigaction(int(signal.SIGTERM), action, None)

    keeper = threading.Thread(target=put_back, name="signal handler", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def children(process: Any = None) -> list[Any]:
    """Return all processes below one, by default this one, as psutil has them; none before Ray brings psutil."""
    with suppress(Exception):  # Ray may be half imported, and processes come and go
        found: list[Any] = (process or sys.modules["psutil"].Process()).children(recursive=True)
        return found
    return []


def end(processes: Iterable[Any]) -> None:
    """End processes at once, by their ids."""
    for process in processes:
        with suppress(Exception):  # it is gone; psutil notices if another process has its id now
            process.kill()


def leave(status: int) -> NoReturn:
    """End this process without waiting for its threads, and without messages of libraries that it interrupts."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


def _leave(message: str, status: int, started: Iterable[Any] = ()) -> NoReturn:
    """End this process, which may hang, and those that it started."""
    show_cursor = "\r\x1b[2K\x1b[?25h" if os.isatty(2) else ""  # the live view has hidden it
    with suppress(OSError):
        os.write(2, f"{show_cursor}scyc-sweep: {message}\n".encode(errors="backslashreplace"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # for libraries that log the end of their servers
    end({*started, *children()})
    os._exit(status)


def _importing(frame: FrameType | None) -> bool:
    """Return whether the code that runs now is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
