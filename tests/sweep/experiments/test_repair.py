"""A results folder that was extended, damaged or bereft: what the same command makes of it, and at what cost.

All sweeps here are real and tiny; what is trained is counted.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sweep
from search_spaces.scyc import SCyc
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.execution.worker import Worker
from sweep.experiments import registry, runner
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.tables import COMPARISON, CURVES, ORACLE, TREND
from sweep.experiments.results import Results
from sweep.experiments.validation.experiment import settings_of
from sweep.statistics.comparison import fits
from sweep.store.folder import Folder
from sweep.store.lanes import LANES
from sweep.store.ledger import Ledger
from sweep.strategies.progress import Progress
from trainables.spec import Pack

pytestmark = pytest.mark.usefixtures("quick_pictures")
TIMES = ["wall_seconds", "finished_at"]
SETTINGS: dict[str, Any] = {
    "max_lr": "0.02,0.1,0.5",
    "hidden": (8,),
    "cycles": 2,
    "runs": 2,
    "steps": 17,
    "lanes": 2,
    "tolerance": 0.0,
    "engine": "inline",
    "device": "cpu",
}


def spec_of(out: Path, **changes: Any) -> Settings:
    return settings_for("oracle", out, **changes)


def settings_for(name: str, out: Path, **changes: Any) -> Any:
    return resolve(SETTINGS | {"out": str(out)} | changes, kind=registry.settings_class(name))


def run(name: str, *arguments: Any, **more: Any) -> Any:
    return runner.run(registry.experiment(name), *arguments, **more)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float]]:
    """Cycle, run and max_lr of every lane that is trained."""
    lanes: list[tuple[int, int, float]] = []
    do = Worker.do

    def noting(worker: Worker, job: Any, dataset: Any) -> Any:
        if isinstance(job, Pack):
            lanes.extend((job.cycle, job.run, lane.max_lr) for lane in job.lanes)
        return do(worker, job, dataset)

    monkeypatch.setattr(Worker, "do", noting)
    return lanes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, quick_pictures: None) -> Path:
    """A finished oracle that nobody changes."""
    out = tmp_path_factory.mktemp("finished") / "o"
    run("oracle", spec_of(out), command=["scyc-sweep", "oracle", "--out", "o"])
    return out


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "o"))


def timeless(results: Results) -> pd.DataFrame:
    return results.lanes.drop(columns=TIMES)


def states(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "states").iterdir()}


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, but for its locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def check_plain_readers(folder: Path, results: Results) -> None:
    """Whoever opens `lanes` without this project sees what `results.lanes` says, and each lane once."""
    order = ["cycle", "run", "max_lr", "schedule", "lane_id"]
    wanted = results.lanes[[*order, "val_accuracy", "state"]].reset_index(drop=True)
    plain = pd.read_parquet(folder / "lanes").sort_values(order)[wanted.columns].reset_index(drop=True)
    assert plain.astype(object).where(plain.notna(), None).equals(wanted.astype(object).where(wanted.notna(), None))
    assert plain["lane_id"].is_unique
    [(rows, lanes)] = duckdb.sql(f"SELECT count(*), count(DISTINCT lane_id) FROM '{folder}/lanes/*.parquet'").fetchall()
    assert rows == lanes == len(wanted)


class TestSuperseded:
    def test_other_runs_another_grid_and_back_leave_each_cell_once_and_train_nothing_twice(
        self, tmp_path: Path, trained: list[Any]
    ) -> None:
        out, cell = tmp_path / "o", ["cycle", "run", "max_lr"]
        seen: dict[str, pd.DataFrame] = {}
        everything: set[str] = set()
        changes: list[dict[str, Any]] = [
            {},
            {"runs": 3},
            {"max_lr": "0.03,0.2"},
            {"runs": 1},
            {"cycles": 1},
            {"decide": "per_run"},
            {"max_lr": "0.03,0.2"},
            {"runs": 3},
            {},
        ]
        for change in changes:
            before = len(trained)
            results = run("oracle", spec_of(out, **change))
            check_plain_readers(out, results)
            assert not results.lanes.duplicated(cell).any()
            everything |= set(results.lanes["lane_id"])
            assert set(results.superseded["lane_id"]) == everything - set(results.lanes["lane_id"])
            name = str(change)
            if name in seen:
                assert len(trained) == before, f"{trained[before:]} trained again"
                pd.testing.assert_frame_equal(results.lanes, seen[name])
            seen[name] = results.lanes
            assert results.manifest["lanes"] == results.lanes.groupby("cycle").size().tolist()
            opened = sweep.load(out)
            pd.testing.assert_frame_equal(opened.lanes, results.lanes)
            assert opened.finished
        assert len(everything) == len(trained)

    def test_a_folder_says_so_while_its_sweep_goes_on_and_when_it_is_interrupted(self, folder: Path) -> None:
        seen = []

        def look(progress: Progress) -> None:
            results = sweep.load(folder)
            seen.append(progress.lanes_done)
            check_plain_readers(folder, results)
            assert len(results.lanes) <= progress.lanes_done  # those of an extension come back when its cycle closes
            if progress.cycle == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run("oracle", spec_of(folder, max_lr="0.03,0.1,0.2"), look)
        assert len(seen) > 3
        check_plain_readers(folder, sweep.load(folder))
        assert not sweep.load(folder).finished

    def test_a_sweep_that_was_killed_before_it_tidied_up_is_tidied_by_the_next(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, trained: list[Any]
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "tidy", lambda ledger, current: None)
            run("oracle", spec_of(folder, max_lr="0.03,0.2"))
        lanes = len(trained)
        assert len(pd.read_parquet(folder / "lanes")) > len(sweep.load(folder).lanes)
        results = run("oracle", spec_of(folder, max_lr="0.03,0.2"))
        assert len(trained) == lanes
        check_plain_readers(folder, results)

    def test_states_of_a_grid_that_was_given_up_in_the_midst_of_a_cycle_go(self, tmp_path: Path) -> None:
        def interrupt(progress: Progress) -> None:
            if progress.lanes_done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run("oracle", spec_of(tmp_path / "o", lanes=1, runs=1, max_lr="0.1,0.10001,0.10002,0.2"), interrupt)
        begun = {path.stem for path in (tmp_path / "o" / "states").iterdir()}
        assert len(begun) > 2  # of lanes that are as good, and the initial weights
        results = run("oracle", spec_of(tmp_path / "o", runs=1, max_lr="0.03,0.2"))
        left = {path.stem for path in (tmp_path / "o" / "states").iterdir()}
        assert left & begun == set(results.lanes.query("cycle == 0")["parent_state"])


class TestLostStates:
    def test_a_half_done_folder_whose_first_rows_are_lost_keeps_its_networks(
        self, tmp_path: Path, finished: Path, trained: list[Any]
    ) -> None:
        out, counts, done = tmp_path / "o", OracleResults(finished).manifest["lanes"], list[int]()

        def interrupt(progress: Progress) -> None:
            if progress.cycle == 2 and progress.lanes_done > sum(counts[:2]):
                done.append(progress.lanes_done)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run("oracle", spec_of(out), interrupt)
        path = min((out / "lanes").iterdir())
        lost = len(pd.read_parquet(path))
        path.unlink()
        assert len(trained) == done[0]
        results = run("oracle", spec_of(out))
        assert len(trained) == sum(counts) + lost
        pd.testing.assert_frame_equal(timeless(results), timeless(sweep.load(finished)))
        assert states(out) == states(finished)

    def test_a_finished_folder_that_lacks_an_early_state_gets_it_again_and_keeps_all_others(
        self, folder: Path, finished: Path, trained: list[Any]
    ) -> None:
        winner = OracleResults(finished).replay.closed[0].best_rows[1]
        (folder / "states" / f"{winner['state']}.safetensors").unlink()
        run("oracle", spec_of(folder))
        assert (0, 1, winner["max_lr"]) in trained  # with its pack
        assert {lane[:2] for lane in trained} == {(0, 1)} and len(trained) == winner["lanes_in_pack"]
        assert states(folder) == states(finished)
        check_plain_readers(folder, sweep.load(folder))

    def test_rows_that_were_moved_away_are_an_error_and_nothing_is_touched(
        self, folder: Path, trained: list[Any]
    ) -> None:
        (folder / "lanes").rename(folder.parent / "elsewhere")
        before = files(folder)
        with pytest.raises(FolderError, match=r"lanes is missing, and manifest.json counts \d+ finished lanes: put it"):
            run("oracle", spec_of(folder))
        with pytest.raises(FolderError, match=r"lacks (\d+) of its \1 finished lanes \(of cycles 0, 1, 2\)"):
            sweep.load(folder)
        assert files(folder) == before and trained == []
        (folder.parent / "elsewhere").rename(folder / "lanes")
        run("oracle", spec_of(folder))
        assert trained == []

    def test_what_no_row_names_stays(self, folder: Path) -> None:
        names = ["notes.txt", f"{'a' * 64}.safetensors", "mine.safetensors"]
        for name in names:
            (folder / "states" / name).write_text("mine")
        run("oracle", spec_of(folder, runs=1))
        run("oracle", spec_of(folder, cycles=3))
        assert all((folder / "states" / name).read_text() == "mine" for name in names)

    @given(data=st.data())
    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_from_any_loss_of_rows_and_states_the_same_command_comes_back_to_the_same_folder(
        self, tmp_path_factory: pytest.TempPathFactory, finished: Path, trained: list[Any], data: st.DataObject
    ) -> None:
        """Tables and states bit for bit, and only packs whose rows or whose winner's networks are lost are trained."""
        folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("lost") / "o"))
        lost_files = data.draw(st.sets(st.sampled_from(sorted((folder / "lanes").iterdir()))), label="rows")
        lost_states = data.draw(st.sets(st.sampled_from(sorted((folder / "states").iterdir()))), label="states")
        damage = data.draw(st.booleans(), label="damaged, not gone")
        rows = OracleResults(finished).rows.rows.values()
        wanted = {row["lane_id"] for path in lost_files for row in LANES.read_rows(path)}
        winners = {row["lane_id"] for closed in OracleResults(finished).replay.closed for row in closed.best_rows}
        # Whatever is trained in cycle 0 brings its run's initial weights back.
        back = {row["parent_state"] for row in rows if row["cycle"] == 0 and row["lane_id"] in wanted}
        gone = {path.stem for path in lost_states} - back
        wanted |= {
            row["lane_id"]
            for row in rows
            if row["lane_id"] in winners
            and gone & {row["state"], row["rewind_state"], row["parent_state"]}
            # A network that is lost comes from the lane that left it, and not from those that start from it.
            and (row["cycle"] == 0 or row["state"] in gone)
        }
        # A lane comes with all of its pack.
        packs = [{row["lane_id"] for row in LANES.read_rows(path)} for path in (finished / "lanes").iterdir()]
        wanted = set().union(*(pack for pack in packs if pack & wanted))
        for path in lost_files:
            path.write_bytes(path.read_bytes()[:-1]) if damage else path.unlink()
        for path in lost_states:
            path.unlink()
        trained.clear()
        results = run("oracle", spec_of(folder))
        expected = sorted((r["cycle"], r["run"], r["max_lr"]) for r in rows if r["lane_id"] in wanted)
        assert sorted(trained) == expected
        pd.testing.assert_frame_equal(
            timeless(results).drop(columns="lanes_in_pack"),
            timeless(sweep.load(finished)).drop(columns="lanes_in_pack"),
        )
        assert states(folder) == states(finished)
        check_plain_readers(folder, results)
        for table in (ORACLE, CURVES, TREND, COMPARISON):
            ours, theirs = (table.read(table.path(place)) for place in (folder, finished))
            pd.testing.assert_frame_equal(*(t.drop(columns=TIMES, errors="ignore") for t in (ours, theirs)))


class TestLostRows:
    def test_every_reader_says_what_is_missing_and_the_command_that_trains_it(self, folder: Path) -> None:
        for path in (folder / "lanes").glob("cycle01-*"):
            path.unlink()
        before, counts = files(folder), json.loads((folder / "manifest.json").read_text())["lanes"]
        for read in (
            lambda: sweep.load(folder),
            lambda: OracleResults(folder).oracle,
            lambda: OracleResults(folder).comparison,
            lambda: OracleResults(folder).lanes,
            lambda: OracleResults(folder).compare({}),
        ):
            with pytest.raises(FolderError) as raised:
                read()
            assert str(raised.value) == (
                f"{folder} lacks {counts[1]} of its {sum(counts)} finished lanes (of cycle 1); "
                "`scyc-sweep oracle --out o` trains them again"
            )
        assert files(folder) == before

    def test_a_damaged_file_is_named_by_readers_and_mended_by_the_command(
        self, folder: Path, finished: Path, trained: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        path = sorted((folder / "lanes").iterdir())[1]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(FolderError) as raised:
            sweep.load(folder)
        assert str(raised.value) == (
            f"{path} is damaged: its content does not match its name; "
            "`scyc-sweep oracle --out o` trains its lanes again"
        )
        rows = LANES.read_rows(sorted((finished / "lanes").iterdir())[1])
        with caplog.at_level(logging.WARNING):
            results = run("oracle", spec_of(folder))
        assert [record.getMessage() for record in caplog.records] == [
            f"{path} is damaged: its content does not match its name; "
            "its lanes are lost, and trained again if they are needed"
        ]
        assert trained == [(row["cycle"], row["run"], row["max_lr"]) for row in rows]
        pd.testing.assert_frame_equal(timeless(results), timeless(sweep.load(finished)))
        assert not path.exists()
        check_plain_readers(folder, results)

    def test_a_damaged_superseded_file_hinders_no_reader_of_the_tables(self, folder: Path, trained: list[Any]) -> None:
        run("oracle", spec_of(folder, runs=1))
        path = min((folder / "superseded").iterdir())
        path.write_bytes(b"PAR1")
        results = sweep.load(folder)
        assert len(results.lanes) == sum(results.manifest["lanes"]) and trained == []
        with pytest.raises(FolderError, match="is damaged"):
            _ = results.superseded
        lost = path.name[:13]
        run("oracle", spec_of(folder))
        assert trained and {f"cycle{cycle:02d}-run{run:02d}" for cycle, run, _ in trained} == {lost}

    def test_a_lane_of_another_version_of_the_training_code_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sweep.experiments.results.TRAINING_VERSION", 99)
        with pytest.raises(FolderError, match="of the training code, this scyc-sweep has 99"):
            sweep.load(folder)


class TestLostManifest:
    def test_without_it_the_same_command_goes_on_at_no_cost(
        self, folder: Path, finished: Path, trained: list[Any]
    ) -> None:
        (folder / "manifest.json").unlink()
        with pytest.raises(FolderError, match="but rows of one: the command that trained them makes it again"):
            sweep.load(folder)
        results = run("oracle", spec_of(folder, lanes="auto"))
        assert trained == [] and results.finished
        assert results.manifest["lanes_per_pack"] == OracleResults(finished).manifest["lanes_per_pack"] == 2
        pd.testing.assert_frame_equal(results.lanes, sweep.load(finished).lanes)
        assert states(folder) == states(finished)

    @pytest.mark.parametrize("changes", [{"steps": 34}, {"seed": 1}, {"hidden": (9,)}])
    def test_another_experiment_is_refused_and_nothing_is_touched(self, folder: Path, changes: dict[str, Any]) -> None:
        (folder / "manifest.json").unlink()
        before = files(folder)
        with pytest.raises(FolderError, match=r"no manifest\.json, and no finished lanes of this experiment"):
            run("oracle", spec_of(folder, **changes))
        assert files(folder) == before

    def test_a_damaged_one_stops_the_command_and_the_way_back_works(self, folder: Path, trained: list[Any]) -> None:
        path = folder / "manifest.json"
        path.write_text(path.read_text().replace("fixed", "mixed").replace('"runs": 2', '"runs": 3'))
        with pytest.raises(FolderError, match=r"does not fit its digest.*remove it and run the sweep's command again"):
            run("oracle", spec_of(folder))
        path.unlink()
        assert run("oracle", spec_of(folder)).finished and trained == []


class TestComparison:
    def test_a_damaged_one_is_made_again(self, folder: Path, finished: Path) -> None:
        wanted = OracleResults(finished).comparison
        for content in (b"", b"PAR1", (folder / "oracle.parquet").read_bytes()):
            (folder / "comparison.parquet").write_bytes(content)
            pd.testing.assert_frame_equal(OracleResults(folder).comparison, wanted, check_dtype=False)
            assert (folder / "comparison.parquet").read_bytes() == content  # opening writes nothing

    def test_one_that_is_older_than_its_oracle_is_made_again(self, folder: Path, finished: Path) -> None:
        wanted = OracleResults(finished).comparison
        for other in (wanted.iloc[:-1], wanted.assign(best_max_lr=0.3), wanted.iloc[:0]):
            COMPARISON.write(other, COMPARISON.path(folder))
            assert not fits(other, OracleResults(folder).oracle)
            pd.testing.assert_frame_equal(OracleResults(folder).comparison, wanted, check_dtype=False)

    def test_where_the_settings_have_no_scyc_the_command_is_named_and_the_oracle_is_shown(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["settings"]["scyc"] = None
        Folder(folder).write_manifest(manifest)
        (folder / "comparison.parquet").write_bytes(b"")
        with pytest.raises(FolderError, match=r"damaged .*: run `scyc-sweep compare .*o --scyc \.\.\.` again"):
            _ = OracleResults(folder).comparison
        assert OracleResults(folder).compared is None


class TestOtherKinds:
    @pytest.fixture(params=["tune", "takeover", "schedules", "validation", "validation-held-out"])
    def build(self, request: pytest.FixtureRequest, tmp_path: Path, finished: Path) -> Callable[[], Results]:
        out = tmp_path / "k"
        if request.param in ("validation", "validation-held-out"):
            oracle = Path(shutil.copytree(finished, tmp_path / "o"))
            runs = None if request.param == "validation" else 1
            predicted = {"S-Cyc": SCyc.parse("0.05,0.2,0,4")}
            where = {"engine": "inline", "device": "cpu"}
            return lambda: run("compare", settings_of(OracleResults(oracle), predicted, runs, where))
        if request.param == "schedules":
            return lambda: run("schedules", settings_for("schedules", out, schedules=("scyc", "constant")))
        given = {"oracle": str(finished)} if request.param == "takeover" else {}
        return lambda: run("tune", settings_for("tune", out, trials=4, **given))

    def test_lost_rows_are_said_and_trained_again_to_the_same_tables(
        self, build: Callable[[], Results], trained: list[Any]
    ) -> None:
        results = build()
        folder = Path(str(results.folder.path))
        check_plain_readers(folder, results)
        assert sum(results.manifest["lanes"]) == len(results.lanes)
        wanted, all_lanes = timeless(results), len(trained)
        networks = states(folder)
        trained.clear()
        build()
        assert trained == [] and states(folder) == networks
        paths = sorted((folder / "lanes").iterdir())
        for index in (0, len(paths) // 2, len(paths) - 1):
            path = sorted((folder / "lanes").iterdir())[index]
            path.unlink()
            with pytest.raises(FolderError, match=r"lacks \d+ of its \d+ finished lanes"):
                sweep.load(folder)
            trained.clear()
            again = build()
            assert len(trained) < max(2, all_lanes)
            pd.testing.assert_frame_equal(
                timeless(again).drop(columns=["lanes_in_pack"]), wanted.drop(columns=["lanes_in_pack"])
            )
            check_plain_readers(folder, again)
            assert states(folder) == networks
        trained.clear()
        (folder / "manifest.json").unlink()
        again = build()
        assert trained == []
        pd.testing.assert_frame_equal(timeless(again), timeless(sweep.load(folder)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
