"""In a bucket one driver has the lease of a folder, which ends with its holder; and whole sweeps in a bucket."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep import load
from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.runner import run
from sweep.store import lease as lease_module
from sweep.store.lease import DRIVER, lease_of
from sweep.store.ledger import Ledger
from sweep.store.lock import held
from trainables.storage import Location, Remote, locate

Tiny = Callable[..., Settings]

COMMAND = ["scyc-sweep", "oracle", "--runs", "2"]
BEAT, SILENT, SETTLED = 0.05, 0.3, 0.1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats of a twentieth of a second, and a third of a second of silence."""
    for name, value in (("BEAT", BEAT), ("SILENT", SILENT), ("SETTLED", SETTLED)):
        monkeypatch.setattr(lease_module, name, value)


@pytest.fixture
def location(bucket: str) -> Location:
    return locate(f"{bucket}/sweeps/digits")


def another(location: Location, **changes: Any) -> dict[str, Any]:
    """Leave the file of a driver on another host that does nothing any more."""
    driver = {"lease": "theirs", "pid": 4711, "host": "elsewhere", "command": "scyc-sweep tune", "since": "noon"}
    content = {**driver, "beat": 7, **changes}
    (location / DRIVER).write_text(json.dumps(content))
    return content


def content(location: Location) -> dict[str, Any]:
    found = json.loads((location / DRIVER).read_text())
    assert isinstance(found, dict)
    return found


def refused(location: Location) -> str:
    with pytest.raises(FolderError) as raised, held(location, ["another"]):
        raise AssertionError
    assert "\n" not in str(raised.value)
    return str(raised.value)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(BEAT / 5)


def beating() -> int:
    return sum("_keep" in thread.name for thread in threading.enumerate())


class TestLease:
    def test_a_second_driver_is_refused_and_told_of_the_first_while_that_lives(self, location: Location) -> None:
        with held(location, COMMAND) as check:
            first = content(location)
            message = refused(location)
            for part in (str(location), f"process {os.getpid()} on {socket.gethostname()} since ", " ".join(COMMAND)):
                assert part in message
            check()
            assert {**content(location), "beat": 0} == {**first, "beat": 0} and content(location)["beat"] > first[
                "beat"
            ]
        assert not (location / DRIVER).exists()
        with held(location, ["another"]) as check:
            check()

    def test_a_silent_holder_is_watched_for_a_while_and_then_taken_over(self, location: Location) -> None:
        another(location)
        began = time.monotonic()
        with held(location, COMMAND) as check:
            assert SILENT <= time.monotonic() - began < 20 * SILENT
            assert lease_of(location) == content(location)["lease"] != "theirs"
            check()

    def test_it_is_beats_that_count_and_not_what_the_clock_of_the_holder_says(self, location: Location) -> None:
        another(location, since="2999-01-01T00:00:00+00:00")
        with held(location, COMMAND):
            pass
        ended = threading.Event()

        def beat() -> None:
            number = 0
            while not ended.wait(BEAT):
                another(location, since="1970-01-01T00:00:00+00:00", beat=(number := number + 1))

        thread = threading.Thread(target=beat)
        thread.start()
        until(lambda: (location / DRIVER).exists())
        message = refused(location)
        ended.set()
        thread.join()
        assert "process 4711 on elsewhere since 1970-01-01T00:00:00+00:00 (scyc-sweep tune)" in message

    def test_a_dead_process_of_this_host_is_not_waited_for(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease_module, "SILENT", 60.0)
        with subprocess.Popen([sys.executable, "-c", ""]) as dead:
            dead.wait()
        another(location, machine=lease_module._machine(), pid=dead.pid)
        began = time.monotonic()
        with held(location, COMMAND):
            assert time.monotonic() - began < 10

    @pytest.mark.parametrize("host", ["this", "another"])
    def test_a_living_process_and_one_of_another_host_are(self, location: Location, host: str) -> None:
        # Names tell nothing: cloned machines share them.
        with subprocess.Popen([sys.executable, "-c", ""]) as dead:
            dead.wait()
        pid = os.getpid() if host == "this" else dead.pid
        machine = lease_module._machine() if host == "this" else "another"
        another(location, host=socket.gethostname(), machine=machine, pid=pid)
        began = time.monotonic()
        with held(location, COMMAND):
            assert time.monotonic() - began >= SILENT

    def test_a_holder_that_leaves_meanwhile_is_not_waited_for(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease_module, "SILENT", 60.0)
        another(location)
        leaves = threading.Timer(4 * BEAT, (location / DRIVER).unlink)
        leaves.start()
        began = time.monotonic()
        with held(location, COMMAND):
            assert time.monotonic() - began < 10
        leaves.join()

    def test_of_two_that_come_together_one_gets_it(self, location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
        # Both have seen that nobody is there before either writes.
        monkeypatch.setattr(lease_module, "SETTLED", 0.5)
        both, read, seen = threading.Barrier(2), lease_module.read_record, threading.local()

        def read_together(path: Location) -> Any:
            found = read(path)
            if not hasattr(seen, "once"):
                seen.once = True
                both.wait(10)
            return found

        monkeypatch.setattr(lease_module, "read_record", read_together)
        held_by, turned_away, left = list[str](), list[str](), threading.Event()

        def drive(name: str) -> None:
            try:
                with held(location, [name]) as check:
                    held_by.append(name)
                    left.wait(10)
                    check()
            except FolderError as error:
                turned_away.append(str(error))
                left.set()

        threads = [threading.Thread(target=drive, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held_by) == len(turned_away) == 1
        assert f"({held_by[0]})" in turned_away[0]
        assert not (location / DRIVER).exists()

    def test_a_holder_whose_lease_was_taken_hears_of_it_and_leaves_the_other_alone(self, location: Location) -> None:
        def lost() -> bool:
            try:
                check()
            except FolderError as error:
                assert "was taken over by process 4711 on elsewhere" in str(error) and "\n" not in str(error)
                return True
            return False

        with held(location, COMMAND) as check:
            assert not lost()
            until(lambda: another(location) and lost())  # as another driver would, it beats again
            wanted = another(location)
            time.sleep(4 * BEAT)
            assert content(location) == wanted  # it beats no more
        assert content(location) == wanted

    def test_one_that_was_taken_as_it_ends_leaves_the_other_alone_too(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease_module, "BEAT", 60.0)
        with held(location, COMMAND):
            wanted = another(location)
        assert content(location) == wanted

    def test_it_goes_on_beating_after_an_outage_and_ends_in_one(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = []

        def fail(*arguments: object) -> None:
            tried.append(arguments)
            raise OSError("the network is gone")

        with held(location, COMMAND) as check:
            with monkeypatch.context() as outage:
                outage.setattr(Remote, "write_text", fail)
                until(lambda: len(tried) > 2)
            before = content(location)["beat"]
            until(lambda: content(location)["beat"] > before)
            check()
        with pytest.raises(ZeroDivisionError), held(location, COMMAND):
            monkeypatch.setattr(Remote, "ask", fail)
            raise ZeroDivisionError  # which the outage must not hide

    def test_a_beat_that_is_under_way_at_the_end_leaves_no_file_behind(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write, beats = Remote.write_text, threading.Event()

        def slow(path: Remote, content: str) -> None:
            if "_keep" in threading.current_thread().name:
                beats.set()
                time.sleep(4 * BEAT)
            write(path, content)

        monkeypatch.setattr(Remote, "write_text", slow)
        with held(location, COMMAND):
            assert beats.wait(10)
        time.sleep(6 * BEAT)
        assert not (location / DRIVER).exists()

    def test_no_thread_is_left_when_it_is_over(self, location: Location) -> None:
        with held(location, COMMAND):
            assert beating() == 1
        assert beating() == 0

    @pytest.mark.parametrize("damaged", [b"half a fi", b"[1, 2]", b"null", b"\xff\xfe", b"", b"{}", b'{"pid": 7}'])
    def test_a_file_that_names_no_driver_stops_nobody(self, location: Location, damaged: bytes) -> None:
        (location / DRIVER).write_bytes(damaged)
        assert lease_of(location) == ""
        with held(location, COMMAND):
            assert content(location)["pid"] == os.getpid()

    def test_a_bucket_that_is_not_there_is_one_clear_line(self, bucket: str) -> None:
        message = refused(locate("s3://no-such-bucket/digits"))
        assert message.startswith("s3://no-such-bucket/digits cannot be written: ")


# --- Whole sweeps in a bucket ----------------------------------------------------------------------------------------


def assert_equal_tables(one: Location, other: Location) -> None:
    ours, theirs = load(one), load(other)
    for table in ("lanes", "oracle", "curves", "comparison"):
        first, second = (
            getattr(each, table).drop(columns=["wall_seconds", "finished_at"], errors="ignore")
            for each in (ours, theirs)
        )
        pd.testing.assert_frame_equal(first, second, check_exact=True)


def names(location: Location, folder: str) -> set[str]:
    return {path.name for path in (location / folder).iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, quick_pictures: None) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "digits"
    run(EXPERIMENT, tiny(folder))
    return folder


@pytest.mark.parametrize(("packs", "written"), [(0, False), (1, True), (3, False), (4, True)])
def test_killed_after_any_pack_the_same_command_goes_on_in_a_bucket_to_the_same_tables(
    location: Location,
    tiny: Tiny,
    undisturbed: Path,
    objects: Callable[[], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    packs: int,
    written: bool,
) -> None:
    class Killed(BaseException):
        pass

    append, done = Ledger.append, []

    def lasting(*arguments: Any) -> Any:
        if not written and len(done) == packs:
            raise Killed  # the states are there, their rows are not
        done.append(append(*arguments))
        if written and len(done) == packs:
            raise Killed
        return done[-1]

    def die(lease: Any) -> None:
        lease.ended.set()  # no beats any more; its file stays

    with monkeypatch.context() as dying:
        dying.setattr(Ledger, "append", lasting)
        dying.setattr(lease_module.Lease, "release", die)
        with pytest.raises(Killed):
            run(EXPERIMENT, tiny(location))
    before = {name: found for name, found in objects().items() if "/lanes/" in name}
    assert len(before) == packs and (location / DRIVER).exists()
    run(EXPERIMENT, tiny(location))
    after = {name: found for name, found in objects().items() if "/lanes/" in name}
    assert before.items() <= after.items() and len(after) == 4  # nothing finished was trained again
    assert_equal_tables(location, undisturbed)
    assert names(location, "states") == names(undisturbed, "states")
    assert not (location / DRIVER).exists()


def test_a_sweep_whose_lease_was_taken_ends_at_the_next_pack_and_keeps_what_it_has(
    location: Location, tiny: Tiny, quick_pictures: None
) -> None:
    heard = []

    def steal(progress: Any) -> None:
        heard.append(progress.lanes_done)
        if progress.lanes_done == 2:
            # Again and again, as its holder may be about to write; one that has lost it beats no more.
            until(lambda: another(location) and not beating())

    with pytest.raises(FolderError, match="was taken over by process 4711 on elsewhere"):
        run(EXPERIMENT, tiny(location), steal)
    assert heard == [0, 0, 2, 2]  # the pack that was under way is kept: its rows are written first
    assert len(load(location).lanes) == 4 and not load(location).finished
    assert content(location)["pid"] == 4711


def test_in_a_bucket_every_command_says_what_it_says_of_a_folder_and_no_object_has_a_credential(
    here: Any,
    location: Location,
    tiny: Tiny,
    objects: Callable[[], dict[str, bytes]],
    tmp_path: Path,
    quick_pictures: None,
) -> None:
    secrets = [os.environ[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    said: dict[Location, list[str]] = {}
    for folder in (tmp_path / "digits", location):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in tiny(folder).model_dump().items() if value]
        wanted = ("max-lr", "runs", "cycles", "steps", "lanes", "engine", "scyc", "out")
        commands = [
            ["oracle", *[flag for flag in flags if flag[2:].partition("=")[0] in wanted], "--json"],
            ["compare", folder, "--confirm", "1", "--json"],
            ["compare", folder, "--json"],
            ["control", folder, "--pruning", "random", "--json"],
            ["gradients", folder, "--images", "50", "--json"],
            ["show", folder, "--format", "json"],
            ["show", f"{folder}/validation-held-out", "--format", "csv"],
            ["report", folder, "-o", tmp_path / "report.html"],
        ]
        said[folder] = []
        for words in commands:
            ran = here(*words)
            assert ran.returncode == 0, ran.stderr
            said[folder].append(re.sub(r'"wall_seconds": \[[^\]]*\]', "", ran.stdout))
        page = (tmp_path / "report.html").read_text()
        assert page.count("data:image") > 2 and not any(secret in page for secret in secrets)
    assert said[location] == said[tmp_path / "digits"]
    found = objects()
    root = str(location).split("/", 3)[3]
    local = tmp_path / "digits"
    there = [name.removeprefix(f"{root}/") for name in found]
    here_too = [str(path.relative_to(local)) for path in local.rglob("*") if path.is_file() and path.name != ".lock"]
    # Rows say when they were trained, and their files are named by what is in them.
    timeless = [sorted(re.sub(r"-[0-9a-f]{16}\.parquet$", "", name) for name in names) for names in (there, here_too)]
    assert timeless[0] == timeless[1]
    for name, written in found.items():
        assert not any(secret.encode() in written for secret in secrets), name
