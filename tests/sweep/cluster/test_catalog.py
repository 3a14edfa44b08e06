"""What lies in a storage: how far each sweep is, from results alone, and copies of it on this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from search_spaces.scyc import SCyc
from sweep import confirm, control, load
from sweep.cluster import catalog
from sweep.cluster.catalog import collect, survey
from sweep.cluster.records import Submission, write_record
from sweep.config.settings import Settings
from sweep.errors import FolderError, SettingsError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.runner import run
from sweep.store.ledger import Ledger
from sweep.strategies.progress import Progress
from trainables import storage as places
from trainables.storage import locate

Run = Callable[..., subprocess.CompletedProcess[str]]
Tiny = Callable[..., Settings]

NOWHERE = "http://127.0.0.1:9"


class Killed(BaseException):
    pass


def submitted(storage: Path, name: str, attempt: int = 1) -> None:
    write_record(storage, Submission(name, "oracle", "0" * 8, attempt, f"{storage}/{name}", NOWHERE))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, quick_pictures: None) -> Path:
    """A finished oracle with a control and a confirmation, one that was killed, one not begun, and other things."""
    folder = tmp_path_factory.mktemp("storage")
    run(EXPERIMENT, tiny(folder / "done"))
    control(folder / "done", ["random"], progress=False)
    confirm(folder / "done", {"scyc": SCyc(0.04, 0.1, 1, 4)}, 1, progress=False)
    append, done = Ledger.append, list[Any]()

    def two(*arguments: Any) -> Any:
        done.append(append(*arguments))
        if len(done) == 3:
            raise Killed
        return done[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "append", two)
        with pytest.raises(Killed):
            run(EXPERIMENT, tiny(folder / "killed"))
    for name in ("waiting", "done"):
        submitted(folder, name)
    (folder / "data").mkdir()
    (folder / "data" / "images.bin").write_text("much")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "manifest.json").write_text('{"schema_version": 1, "kind": "recipe"}')
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden").mkdir()
    return folder


class TestSurvey:
    def test_every_sweep_is_told_and_nothing_else(self, storage: Path) -> None:
        found = {each.name: each for each in survey(storage)}
        assert list(found) == ["done", "done/controls/random", "done/validation-held-out", "killed", "waiting"]
        assert {name: each.kind for name, each in found.items()} == {
            "done": "oracle",
            "done/controls/random": "oracle",
            "done/validation-held-out": "compare",
            "killed": "oracle",
            "waiting": "",
        }
        assert {name for name, each in found.items() if each.finished} == {
            "done",
            "done/controls/random",
            "done/validation-held-out",
        }

    def test_it_says_how_far_each_is(self, storage: Path) -> None:
        found = {each.name: each for each in survey(storage)}
        results = load(storage / "done")
        done = found["done"].progress
        assert done == results.progress and (done.lanes_done, done.lanes_planned) == (8, 8)
        assert found["done"].last == results.lanes["finished_at"].max().to_pydatetime()
        assert found["done"].seconds_left is None
        killed = found["killed"]
        assert killed.progress is not None and (killed.progress.cycle, killed.progress.cycles) == (1, 1)
        assert (killed.progress.lanes_done, killed.progress.lanes_planned) == (6, 8)
        assert killed.progress.best_max_lr == results.oracle["best_max_lr"][0]
        assert killed.seconds_left is not None
        waiting = found["waiting"]
        assert (waiting.progress, waiting.last, waiting.seconds_left, waiting.finished) == (None, None, None, False)

    def test_one_name_is_told_alone_with_what_is_in_it(self, storage: Path) -> None:
        assert [each.name for each in survey(storage, "done")] == [
            "done",
            "done/controls/random",
            "done/validation-held-out",
        ]
        assert [each.name for each in survey(storage, "waiting")] == ["waiting"]

    @pytest.mark.parametrize("name", ["gone", "foreign", "notes.txt"])
    def test_a_name_without_a_sweep_is_one_line_with_those_that_were_submitted(self, storage: Path, name: str) -> None:
        with pytest.raises(FolderError) as raised:
            survey(storage, name)
        assert str(raised.value) == f"{storage} has no sweep named {name}; it has done, waiting"

    @pytest.mark.parametrize("name", ["../x", "..", "", "submissions", "done/validation-held-out"])
    def test_nor_does_one_lead_out_of_the_storage(self, storage: Path, name: str) -> None:
        with pytest.raises(SettingsError, match="--name takes letters"):
            survey(storage, name)

    def test_an_empty_storage_or_none_has_no_sweeps(self, tmp_path: Path) -> None:
        assert survey(tmp_path) == survey(tmp_path / "gone") == []
        with pytest.raises(FolderError, match=r"has no sweep named x$"):
            survey(tmp_path, "x")

    def test_a_bucket_is_told_likewise(self, storage: Path, bucket: str) -> None:
        there = locate(f"{bucket}/s")
        for path in (storage / "killed").rglob("*"):
            if path.is_file() and "states" not in path.parts:
                place = there / "killed"
                for part in path.relative_to(storage / "killed").parts:
                    place = place / part
                place.write_bytes(path.read_bytes())
        (ours,), (theirs,) = survey(there), survey(storage, "killed")
        assert (ours.name, ours.progress, ours.last) == (theirs.name, theirs.progress, theirs.last)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seconds_left(monkeypatch: pytest.MonkeyPatch, lanes: list[int], ago: float, **changes: Any) -> float | None:
    """The time left of a sweep of 10 lanes, 4 done, whose session began at noon; lanes end so many seconds after."""
    monkeypatch.setattr(catalog, "since", lambda time: ago)
    results = SimpleNamespace(
        kind="oracle",
        progress=Progress(0, 1, 4, 10, 0, None, None),
        lanes=pd.DataFrame({"finished_at": pd.to_datetime([NOON + timedelta(seconds=lane) for lane in lanes])}),
        manifest={"started_at": "2026-01-01T12:00:00+00:00"},
        finished=changes.get("finished", False),
    )
    return catalog._entry(results, "name").seconds_left  # type: ignore[arg-type]


class TestTimeLeft:
    def test_it_is_the_pace_of_the_newest_session_times_what_is_left_less_what_has_passed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Two lanes of this session in 200 s, so 6 more take 600 s from the newest on, which is 50 s ago.
        assert seconds_left(monkeypatch, [-7200, -3600, 80, 200], ago=50) == 550
        assert seconds_left(monkeypatch, [200, 80, -3600, -7200], ago=50) == 550
        assert seconds_left(monkeypatch, [0, 30, 80, 200], ago=0) == 300

    def test_it_is_never_less_than_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert seconds_left(monkeypatch, [-2, -1, 80, 200], ago=5000) == 0

    def test_before_the_first_lane_of_a_session_and_after_the_last_there_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert seconds_left(monkeypatch, [-4, -3, -2, -1], ago=1) is None
        assert seconds_left(monkeypatch, [], ago=1) is None
        assert seconds_left(monkeypatch, [1, 2, 3, 4], ago=1, finished=True) is None


class TestStatus:
    def test_as_json_with_a_head_that_is_gone(self, here: Run, storage: Path) -> None:
        ran = here("status", "--storage", storage, "--json")
        assert ran.returncode == 0 and ran.stderr == ""
        found = {each["name"]: each for each in json.loads(ran.stdout)}
        assert {name: each["job"] for name, each in found.items()} == {
            "done": "head gone",
            "done/controls/random": "head gone",
            "done/validation-held-out": "head gone",
            "killed": None,
            "waiting": "head gone",
        }
        assert found["killed"]["progress"]["lanes_done"] == 6 and found["waiting"]["progress"] is None
        assert found["done"]["last"] == survey(storage, "done")[0].last.isoformat()  # type: ignore[union-attr]
        assert set(found["done"]) == {"name", "kind", "progress", "finished", "last", "seconds_left", "job"}

    def test_as_a_table(self, here: Run, storage: Path) -> None:
        lines = [line.split() for line in here("status", "--storage", storage).stdout.splitlines()]
        rows = {line[0]: " ".join(line) for line in lines if line}
        headings = {"name", "sweep", "job", "cycle", "lanes", "done", "best", "max_lr", "validation", "accuracy", "(%)"}
        headings |= {"time", "left", "last", "lane"}
        rule = next(number for number, line in enumerate(lines) if line and set(line[0]) == {"─"})
        assert {word for line in lines[:rule] for word in line} == headings  # they may be folded
        assert rows["done"].startswith("done oracle head gone 1 of 1 8 of 8 0.2154 ") and " finished " in rows["done"]
        assert rows["killed"].startswith("killed oracle 1 of 1 6 of 8 0.2154 ") and rows["killed"].endswith(" s ago")
        assert rows["waiting"] == "waiting not begun head gone"
        assert rows["done/validation-held-out"].startswith("done/validation-held-out compare ")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["gone"], "has no sweep named gone; it has done, waiting"),
            (["../x"], "--name takes letters"),
            (["done", "--address", NOWHERE], "no Ray reachable at 127.0.0.1:9: "),
            (["done", "--address", "ray://head:10001"], "--address takes http://HEAD:8265"),
            (["done", "--address", "127.0.0.1:9"], "no Ray reachable at 127.0.0.1:9: "),
        ],
    )
    def test_what_it_cannot_tell_is_one_line(self, here: Run, storage: Path, words: list[str], said: str) -> None:
        ran = here("status", *words, "--storage", storage)
        assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1 and said in ran.stderr

    def test_of_an_empty_storage_it_says_so(self, here: Run, tmp_path: Path) -> None:
        ran = here("status", "--storage", tmp_path / "gone")
        assert ran.returncode == 0 and ran.stdout == "" and "has no sweeps" in ran.stderr
        assert here("status", "--storage", tmp_path / "gone", "--json").stdout == "[]\n"

    def test_a_bucket_that_cannot_be_asked_is_one_line(
        self, here: Run, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from trainables import storage

        def denied(*arguments: object) -> None:
            raise OSError("AWS Error ACCESS_DENIED during HeadObject operation:\n no")

        monkeypatch.setattr(storage.Remote, "exists", denied)
        ran = here("status", "--storage", f"{bucket}/s")
        assert (
            ran.returncode == 1
            and ran.stderr == "scyc-sweep: AWS Error ACCESS_DENIED during HeadObject operation: no\n"
        )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestCollect:
    def test_all_but_states_is_copied_and_opens_as_the_original_does(self, storage: Path, tmp_path: Path) -> None:
        copied = collect(storage, "done", tmp_path / "here")
        wanted = {
            name: content
            for name, content in files_of(storage / "done").items()
            if "states" not in Path(name).parts and Path(name).name != ".lock"
        }
        assert files_of(tmp_path / "here") == wanted and copied == sorted(wanted)
        assert {
            "manifest.json",
            "oracle.parquet",
            "shortfalls.png",
            "validation-held-out/verdicts.parquet",
        } <= wanted.keys()
        assert "controls/random/manifest.json" in wanted
        results = load(tmp_path / "here")
        assert (
            isinstance(results, OracleResults)
            and list(results.controls) == ["random"]
            and results.held_out_validation.finished
        )
        pd.testing.assert_frame_equal(results.oracle, load(storage / "done").oracle)  # type: ignore[union-attr]

    def test_states_too_if_asked_for(self, storage: Path, tmp_path: Path) -> None:
        collect(storage, "done", tmp_path / "here", states=True)
        wanted = {name: each for name, each in files_of(storage / "done").items() if Path(name).name != ".lock"}
        assert files_of(tmp_path / "here") == wanted
        assert {Path(name).parts[0] for name in wanted if name.endswith(".safetensors")} == {
            "states",
            "controls",
            "validation-held-out",
        }

    def test_again_it_copies_what_is_new_or_other_and_leaves_the_rest(self, storage: Path, tmp_path: Path) -> None:
        here = tmp_path / "here"
        collect(storage, "done", here)
        (here / "notes.txt").write_text("mine")
        whole = files_of(here)
        times = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
        assert collect(storage, "done", here) == []
        assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == times
        damaged = (here / "oracle.parquet").read_bytes()
        (here / "oracle.parquet").write_bytes(damaged[:-1] + b"x")  # as large
        (here / "curves.parquet").unlink()
        assert collect(storage, "done", here) == ["curves.parquet", "oracle.parquet"]
        assert files_of(here) == whole

    def test_an_unfinished_sweep_is_collected_as_far_as_it_is(self, storage: Path, tmp_path: Path) -> None:
        collect(storage, "killed", tmp_path / "here")
        assert load(tmp_path / "here").progress == load(storage / "killed").progress

    def test_from_a_bucket_as_from_a_folder(self, storage: Path, bucket: str, tmp_path: Path) -> None:
        there = locate(f"{bucket}/s")
        for name, content in files_of(storage / "done").items():
            place = there / "done"
            for part in name.split("/"):
                place = place / part
            place.write_bytes(content)
        for states in (False, True):
            assert collect(there, "done", tmp_path / f"b{states}", states) == collect(
                storage, "done", tmp_path / f"f{states}", states
            )
            assert files_of(tmp_path / f"b{states}") == files_of(tmp_path / f"f{states}")

    @pytest.mark.parametrize("name", ["waiting", "gone"])
    def test_a_name_without_results_is_refused_and_nothing_written(
        self, storage: Path, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(FolderError, match=f"{name} holds no results yet"):
            collect(storage, name, tmp_path / "here")
        assert not (tmp_path / "here").exists()

    @pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "submissions"])
    def test_so_is_one_that_leads_elsewhere(self, storage: Path, tmp_path: Path, name: str) -> None:
        with pytest.raises(SettingsError, match="--name takes letters"):
            collect(storage, name, tmp_path / "here")

    def test_a_folder_that_holds_another_experiment_is_left_as_it_is(
        self, storage: Path, tmp_path: Path, tiny: Tiny, quick_pictures: None
    ) -> None:
        run(EXPERIMENT, tiny(tmp_path / "here", seed=7, cycles=0))
        before = files_of(tmp_path / "here")
        with pytest.raises(FolderError, match=r"here holds lanes of another experiment \(--seed was 7, now 0\)"):
            collect(storage, "done", tmp_path / "here")
        assert files_of(tmp_path / "here") == before

    def test_half_written_files_stay_and_whatever_else_lies_there_comes_along(
        self, storage: Path, tmp_path: Path
    ) -> None:
        source = tmp_path / "s" / "done"
        source.mkdir(parents=True)
        (source / "manifest.json").write_bytes((storage / "done" / "manifest.json").read_bytes())
        for name in (".oracle.parquet-0123.partial", ".driver.json", ".lock", ".seen-0123"):
            (source / name).write_text("passing")
        (source / "README").write_text("no ending")
        (source / "v1.0").mkdir()
        (source / "v1.0" / "figure.svg").write_text("mine")
        assert collect(tmp_path / "s", "done", tmp_path / "here") == ["README", "manifest.json", "v1.0/figure.svg"]

    def test_rows_that_the_sweep_has_moved_since_lie_once_in_the_copy_too(
        self, tmp_path: Path, tiny: Tiny, quick_pictures: None
    ) -> None:
        source = tmp_path / "s" / "done"
        run(EXPERIMENT, tiny(source, runs=2, cycles=0))
        collect(tmp_path / "s", "done", tmp_path / "here")
        for runs in (1, 2):
            run(EXPERIMENT, tiny(source, runs=runs, cycles=0))
            lost = min((source / "lanes").iterdir())
            content = lost.read_bytes()
            lost.unlink()  # what the source lost stays in the copy
            collect(tmp_path / "s", "done", tmp_path / "here")
            lost.write_bytes(content)
            wanted, found = (
                sorted(each.name for each in (place / "lanes").iterdir()) for place in (source, tmp_path / "here")
            )
            assert found == wanted
            assert load(tmp_path / "here").lanes.equals(load(source).lanes)

    def test_a_file_that_goes_meanwhile_is_not_missed(
        self, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = tmp_path / "s" / "done"
        (source / "states").mkdir(parents=True)
        (source / "manifest.json").write_bytes((storage / "done" / "manifest.json").read_bytes())
        (source / "states" / "lost.safetensors").write_text("a loser")
        read = places.read

        def racing(path: Path, limit: int) -> bytes:
            if path.name == "lost.safetensors":
                path.unlink(missing_ok=True)  # the sweep has closed its cycle
            return read(path, limit)

        monkeypatch.setattr(catalog, "read", racing)
        assert collect(tmp_path / "s", "done", tmp_path / "here", states=True) == ["manifest.json"]

    @pytest.mark.parametrize("name", ["notes", "notes/page.txt", "notes/deep", "oracle.parquet", "lanes"])
    def test_nothing_is_written_through_a_link_nor_taken_from_one(
        self, storage: Path, tmp_path: Path, name: str
    ) -> None:
        source, here, outside = tmp_path / "s" / "done", tmp_path / "here", tmp_path / "outside"
        shutil.copytree(storage / "done", source)
        (source / "notes" / "deep").mkdir(parents=True)
        for path in (source / "notes" / "page.txt", source / "notes" / "deep" / "page.txt"):
            path.write_text("mine")
        (outside / "folder").mkdir(parents=True)
        (outside / "secret").write_text("the user's own")
        (source / "notes" / "linked").symlink_to(outside)
        (source / "notes" / "linked.txt").symlink_to(outside / "secret")
        os.mkfifo(source / "notes" / "pipe")
        copied = collect(tmp_path / "s", "done", here)
        assert "notes/page.txt" in copied and not any("linked" in name or "pipe" in name for name in copied)
        shutil.rmtree(here / name) if (here / name).is_dir() else (here / name).unlink()
        (here / name).symlink_to(outside / ("secret" if "." in name else "folder"))
        with pytest.raises(FolderError, match="is a link, not a ") as raised:
            collect(tmp_path / "s", "done", here)
        assert str(here / name) in str(raised.value) and "\n" not in str(raised.value)
        assert (outside / "secret").read_text() == "the user's own" and not list((outside / "folder").iterdir())

    def test_a_target_that_cannot_be_written_is_one_line(self, storage: Path, tmp_path: Path) -> None:
        (tmp_path / "here").write_text("a file")
        with pytest.raises(FolderError) as raised:
            collect(storage, "done", tmp_path / "here")
        assert str(tmp_path / "here") in str(raised.value) and "\n" not in str(raised.value)

    def test_the_command_says_how_many_and_where(self, here: Run, storage: Path, tmp_path: Path) -> None:
        ran = here("collect", "killed", "--storage", storage, cwd=tmp_path)
        count = len(files_of(tmp_path / "results" / "killed"))
        assert ran.returncode == 0 and ran.stderr.endswith(f" {count} files copied to results/killed\n") and count > 2
        ran = here("collect", "waiting", "--storage", storage, cwd=tmp_path)
        assert ran.returncode == 2 and "holds no results yet" in ran.stderr


def test_what_lies_in_a_storage_is_told_without_ray_and_torch(storage: Path) -> None:
    code = "import sys; from pathlib import Path; from sweep.cluster.catalog import survey; "
    code += "print(len(survey(Path(sys.argv[1])))); print({'ray', 'torch'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code, str(storage)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(catalog.__file__).parents[2])},
    )
    assert done.stdout.split() == ["5", "set()"], done.stdout + done.stderr
