"""The ledger: no kill, foreign file or second training confuses it."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.config.resolve import resolve
from sweep.errors import FolderError
from sweep.experiments.oracle.tables import ORACLE
from sweep.store import ledger as ledger_module
from sweep.store.identity import lane_id
from sweep.store.lanes import LANES
from sweep.store.ledger import Ledger
from trainables.spec import Lane, LaneResult, Pack

TRAINING = resolve({}).training()
PACK = Pack(cycle=1, run=0, seed=11, lanes=(Lane(0.1, "p" * 64, "i" * 64), Lane(0.2, "p" * 64, "i" * 64)))


def result(lane: Lane, val: float | None = 90.0, **changes: Any) -> LaneResult:
    found = LaneResult(
        max_lr=lane.max_lr,
        parent_state="1" * 64,
        state=f"{round(1000 * lane.max_lr):064x}" if val is not None else None,
        percent_remaining=80.0,
        schedule="warmup",
        status="ok" if val is not None else "diverged",
        steps=10,
        best_step=8 if val is not None else None,
        val_accuracy=val,
        test_accuracy=val,
        val_loss=0.1 + 0.2 if val is not None else None,
        train_loss=1 / 3 if val is not None else None,
        wall_seconds=0.25,
        eval_steps=[4, 8, 10],
        eval_val_accuracy=[1 / 3, val or 2 / 3, 1.0],
        eval_test_accuracy=[0.1, val or 0.2, 0.3],
        eval_val_loss=[2.0, 0.1 + 0.2, 0.5],
    )
    return dataclasses.replace(found, **changes)


def append(ledger: Ledger, pack: Pack = PACK, val: float | None = 90.0) -> list[dict[str, Any]]:
    ids = [lane_id(TRAINING, "data", pack, lane) for lane in pack.lanes]
    return ledger.append(pack, ids, [result(lane, val) for lane in pack.lanes], "cpu", "host")


def named(folder: Path, cycle: int, run: int, content: bytes) -> Path:
    """Write a file of rows under the name that its content gives it, whatever the content is."""
    path = folder / f"cycle{cycle:02d}-run{run:02d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    path.write_bytes(content)
    return path


def put(folder: Path, row: dict[str, Any]) -> Path:
    return named(folder, max(0, row["cycle"]), max(0, row["run"]), LANES.encode([row]))


class TestRows:
    def test_rows_read_back_as_they_were_written(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "lanes")
        written = append(ledger) + append(ledger, dataclasses.replace(PACK, cycle=2), val=None)
        again = Ledger(tmp_path / "lanes").rows
        assert len(again) == 4 and set(again) == set(ledger.rows)
        for row in written:
            found = again[row["lane_id"]]
            assert abs(found["finished_at"] - row["finished_at"]).total_seconds() < 1e-3
            assert found | {"finished_at": 0} == row | {"finished_at": 0}

    def test_a_row_says_which_lane_it_is_and_where_it_was_trained(self, tmp_path: Path) -> None:
        row = append(Ledger(tmp_path))[1]
        found = {name: row[name] for name in ("cycle", "run", "seed", "max_lr", "lanes_in_pack", "device", "host")}
        assert found == {
            "cycle": 1,
            "run": 0,
            "seed": 11,
            "max_lr": 0.2,
            "lanes_in_pack": 2,
            "device": "cpu",
            "host": "host",
        }
        assert row["lane_id"] == lane_id(TRAINING, "data", PACK, PACK.lanes[1])

    def test_rows_without_one_for_every_lane_are_refused(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        with pytest.raises(ValueError, match="shorter"):
            ledger.append(PACK, ["a", "b"], [result(PACK.lanes[0])], "cpu", "host")
        assert ledger.rows == {} and list(tmp_path.iterdir()) == []

    def test_a_pack_is_one_file_and_nothing_half_written_stays(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        append(ledger)
        append(ledger, dataclasses.replace(PACK, run=1, seed=12))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert len(names) == 2 and names[0].startswith("cycle01-run00-") and names[1].startswith("cycle01-run01-")
        assert all(name.endswith(".parquet") for name in names)

    def test_rows_count_only_when_they_are_on_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger = Ledger(tmp_path)

        def disk_full(where: Path, content: bytes) -> None:
            where.write_text("half a file")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", disk_full)
        with pytest.raises(OSError, match="No space left"):
            append(ledger)
        assert ledger.rows == {} and list(tmp_path.iterdir()) == []

    def test_what_a_killed_writer_left_behind_is_not_read(self, tmp_path: Path) -> None:
        append(Ledger(tmp_path))
        (tmp_path / ".cycle01-run00-abc.parquet-123.partial").write_bytes(b"half a file")
        assert len(Ledger(tmp_path).rows) == 2

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_of_a_lane_that_was_trained_twice_the_newest_row_counts(self, tmp_path: Path, newest_first: bool) -> None:
        old, new = append(Ledger(tmp_path), val=70.0)[:1], append(Ledger(tmp_path), val=80.0)[:1]
        for path in tmp_path.iterdir():
            path.unlink()
        for rows in [new, old] if newest_first else [old, new]:
            put(tmp_path, rows[0] | {"finished_at": datetime(2001 if rows is old else 2002, 1, 1, tzinfo=UTC)})
        assert [row["val_accuracy"] for row in Ledger(tmp_path).rows.values()] == [80.0]

    def test_a_folder_that_is_not_there_yet_has_no_rows(self, tmp_path: Path) -> None:
        assert Ledger(tmp_path / "none").rows == {}


class TestDamage:
    def test_any_cut_is_noticed_and_the_file_is_named(self, tmp_path: Path) -> None:
        append(Ledger(tmp_path))
        (path,) = tmp_path.iterdir()
        content = path.read_bytes()
        for size in (0, 3, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            ledger = Ledger(tmp_path)
            assert ledger.rows == {} and list(ledger.damaged) == [path]
            assert ledger.damaged[path] == f"{path} is damaged: its content does not match its name"

    def test_any_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        append(Ledger(tmp_path))
        (path,) = tmp_path.iterdir()
        content = path.read_bytes()
        for at in range(0, len(content), 97):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            assert list(Ledger(tmp_path).damaged) == [path]

    def test_what_is_damaged_takes_no_other_file_along(self, tmp_path: Path) -> None:
        append(Ledger(tmp_path))
        (path,) = tmp_path.iterdir()
        append(Ledger(tmp_path), dataclasses.replace(PACK, cycle=2))
        path.write_bytes(b"")
        ledger = Ledger(tmp_path)
        assert {row["cycle"] for row in ledger.rows.values()} == {2} and list(ledger.damaged) == [path]

    @pytest.mark.parametrize(
        "name", ["mine.parquet", "cycle01-run00-abc.parquet", "cycle1-run0-0123456789abcdef.parquet"]
    )
    def test_a_foreign_file_is_named_and_stays(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        pq.write_table(pa.table({"a": [1, 2]}), path)
        with pytest.raises(FolderError, match="was not written by scyc-sweep: move it out of this folder") as raised:
            Ledger(tmp_path)
        assert str(path) in str(raised.value) and path.exists()

    def test_another_table_of_ours_is_damage_here(self, tmp_path: Path) -> None:
        path = named(tmp_path, 1, 0, ORACLE.encode([]))
        assert "is no table of lanes" in Ledger(tmp_path).damaged[path]

    def test_rows_that_do_not_fit_their_file_s_name_are_damage(self, tmp_path: Path) -> None:
        row = append(Ledger(tmp_path))[0]
        path = named(tmp_path, 1, 7, LANES.encode([row]))
        twice = named(tmp_path, 1, 0, LANES.encode([row, row]))
        found = Ledger(tmp_path).damaged
        assert found.keys() == {path, twice} and all("do not match its name" in said for said in found.values())

    @pytest.mark.parametrize("version", [1, 99])
    def test_another_schema_version_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
    ) -> None:
        schema = LANES.schema.with_metadata({**LANES.schema.metadata, b"schema_version": str(version).encode()})
        monkeypatch.setitem(vars(LANES), "schema", schema)
        monkeypatch.setattr("sweep.store.version.SCHEMA_VERSION", version)
        append(Ledger(tmp_path))
        assert len(Ledger(tmp_path).rows) == 2
        monkeypatch.undo()
        (path,) = tmp_path.iterdir()
        with pytest.raises(FolderError, match=f"schema version {version}, this scyc-sweep reads version 3") as raised:
            Ledger(tmp_path)
        assert str(path) in str(raised.value)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"max_lr": -0.1}, "max_lr is -0.1"),
            ({"max_lr": 0.0}, "max_lr is 0.0"),
            ({"max_lr": math.nan}, "max_lr is nan"),
            ({"max_lr": math.inf}, "max_lr is inf"),
            ({"cycle": -1}, "cycle is -1"),
            ({"run": -1}, "run is -1"),
            ({"seed": 2**40}, "seed is"),
            ({"lanes_in_pack": 0}, "lanes_in_pack is 0"),
            ({"wall_seconds": math.nan}, "wall_seconds is nan"),
            ({"percent_remaining": 101.0}, "percent remaining"),
            ({"percent_remaining": math.nan}, "percent remaining"),
            ({"steps": 0}, "0 steps"),
            ({"steps": 9}, "order of its steps"),
            ({"status": "fine"}, "status is 'fine'"),
            ({"status": "diverged"}, "has a score or a network"),
            ({"lane_id": "../x"}, "lane_id is no digest"),
            ({"lane_id": None}, "no lane_id"),
            ({"host": None}, "no host"),
            ({"state": None}, "no digest of its network"),
            ({"val_accuracy": 91.0}, "score is not that of its evaluation"),
            ({"test_accuracy": 91.0}, "score is not that of its evaluation"),
            ({"val_loss": 0.25}, "score is not that of its evaluation"),
            ({"val_accuracy": None}, "score is not that of its evaluation"),
            ({"best_step": 9}, "best_step is not the step of an evaluation"),
            ({"best_step": None}, "best_step is not the step of an evaluation"),
            ({"train_loss": -1.0}, "train_loss is -1.0"),
            ({"train_loss": None}, "train_loss is None"),
            ({"eval_steps": [4, 8]}, "differ in length"),
            ({"eval_steps": None}, "differ in length"),
            ({"eval_steps": [8, 4, 10]}, "order of its steps"),
            ({"eval_val_accuracy": [1.0, 90.0, 90.5]}, "best evaluation"),
            ({"eval_val_accuracy": [1.0, 90.0, 100.5]}, "out of range"),
            ({"eval_val_accuracy": [1.0, 90.0, None]}, "lacks an evaluation"),
            ({"eval_val_loss": [math.nan, 0.1 + 0.2, 0.5]}, "out of range"),
        ],
    )
    @pytest.mark.parametrize("evaluations", [True, False])
    def test_a_row_that_no_training_can_have_left_is_damage(
        self, tmp_path: Path, changes: dict[str, Any], said: str, evaluations: bool
    ) -> None:
        row = append(Ledger(tmp_path / "whole"))[0]
        path = put(tmp_path, row | changes)
        ledger = Ledger(tmp_path, evaluations)
        assert ledger.rows == {} and said in ledger.damaged[path] and str(path) in ledger.damaged[path]

    @pytest.mark.parametrize("name", ["state", "parent_state", "rewind_state"])
    def test_a_state_that_would_lead_out_of_the_folder_is_damage(self, tmp_path: Path, name: str) -> None:
        path = put(tmp_path, append(Ledger(tmp_path / "whole"))[0] | {name: "../../elsewhere"})
        assert f"{name} is no digest" in Ledger(tmp_path).damaged[path]


class TestWrongRows:
    """Rows whose file is whole, but that are not what the lane of their key would have left."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"max_lr": 0.25}, "says max_lr 0.25, not 0.01"),
            ({"seed": 1}, "says seed 1, not"),
            ({"schedule": "decay"}, "says schedule decay, not warmup"),
            ({"steps": 11}, "says steps 11, not 10"),
            ({"rewind_state": None}, "set back to"),
            ({"rewind_state": "5" * 64}, "set back to other weights"),
            (
                {"eval_steps": [4, 6, 10], "eval_val_accuracy": [0.0, 99.0, 75.5]},
                "not scored by its best evaluation after the warmup",
            ),
            (
                {"eval_steps": [1, 2, 10], "eval_val_accuracy": [75.5, 0.0, 0.0], "best_step": 1},
                "not scored by its best evaluation after the warmup",
            ),
        ],
    )
    def test_it_is_named_and_its_lanes_are_trained_again(
        self, make_sweep: Callable[..., Any], changes: dict[str, Any], said: str
    ) -> None:
        sweep = make_sweep(
            lambda cycle, run, max_lr: 80.0 - 50 * abs(max_lr - 0.1),
            max_lr="0.01,0.1,0.2",
            runs=1,
            cycles=0,
            warmup_steps=3,
        )
        sweep.run()
        trials = sweep.folder / "lanes"
        [path] = [path for path in trials.iterdir() if len(pq.read_table(path)) == 2]
        rows = LANES.read_rows(path)
        lane = {"eval_test_accuracy": [1.0, 2.0, 50.0], "eval_val_loss": [2.0, 1.0, 0.5]}
        if "eval_steps" in changes:
            at = changes["eval_steps"].index(changes.get("best_step", 10))
            lane["eval_test_accuracy"][at], lane["eval_val_loss"][at] = 50.0, 0.5
            changes = lane | changes
        changed = [rows[0] | changes, rows[1]]
        path.unlink()
        content = LANES.encode(changed)
        path = named(trials, 0, 0, content)
        oracle = sweep.oracle()
        assert oracle.ledger.damaged == {}
        pack = oracle.ask()
        assert [lane.max_lr for lane in pack.lanes] == [0.01, 0.1]
        assert said in oracle.ledger.damaged[path] and "cycle 0, run 0, max_lr 0.01" in oracle.ledger.damaged[path]
        sweep.train(oracle, pack)
        assert oracle.ask() is None and oracle.finished


class TestSuperseded:
    """Rows of lanes that the tables do not tell of lie in a folder of their own, and come back from there."""

    def keys(self, folder: Path) -> list[str]:
        return sorted(key for path in folder.glob("*") for key in pq.read_table(path)["lane_id"].to_pylist())

    def opened(self, tmp_path: Path) -> Ledger:
        return Ledger(tmp_path / "lanes", superseded=tmp_path / "superseded")

    def test_rows_lie_where_they_belong_and_are_never_lost(self, tmp_path: Path) -> None:
        ledger = self.opened(tmp_path)
        first = [row["lane_id"] for row in append(ledger)]
        second = [row["lane_id"] for row in append(ledger, dataclasses.replace(PACK, cycle=2))]
        for current in ([], first, second, first[:1], [*first[1:], *second], [*first, *second], first[1:]):
            ledger.tidy(set(current))
            assert self.keys(tmp_path / "lanes") == sorted(current)
            assert self.keys(tmp_path / "superseded") == sorted({*first, *second} - {*current})
            again = self.opened(tmp_path)
            assert again.rows == Ledger(tmp_path / "lanes", superseded=tmp_path / "superseded").rows
            assert again.rows.keys() == {*first, *second} and again.damaged == {}
            assert again.file_of == ledger.file_of and again.files == ledger.files

    def test_they_can_come_back_before_any_goes(self, tmp_path: Path) -> None:
        ledger = self.opened(tmp_path)
        first, second = (row["lane_id"] for row in append(ledger))
        ledger.tidy({first})
        ledger.bring_back({second})
        assert self.keys(tmp_path / "lanes") == sorted([first, second])
        ledger.tidy({second})
        assert (self.keys(tmp_path / "lanes"), self.keys(tmp_path / "superseded")) == ([second], [first])

    def test_of_a_lane_that_was_trained_again_the_old_row_goes(self, tmp_path: Path) -> None:
        ledger = self.opened(tmp_path)
        append(ledger, val=70.0)
        new = [row["lane_id"] for row in append(ledger, val=80.0)]
        assert len(self.keys(tmp_path / "lanes")) == 4
        self.opened(tmp_path).tidy(set(new))
        assert self.keys(tmp_path / "lanes") == sorted(new)
        assert {row["val_accuracy"] for row in self.opened(tmp_path).rows.values()} == {80.0}

    @pytest.mark.parametrize("writes", range(4))
    def test_a_kill_at_any_write_loses_nothing_and_the_next_call_mends_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
    ) -> None:
        ledger = self.opened(tmp_path)
        first, second = (row["lane_id"] for row in append(ledger))
        (third, fourth) = (row["lane_id"] for row in append(ledger, dataclasses.replace(PACK, cycle=2)))
        left, remove = iter(range(writes)), Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.suffix == ".parquet" and next(left, None) is None:
                raise KeyboardInterrupt
            remove(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink)
        try:
            ledger.tidy({second, third})
            ledger.tidy({first, fourth})
        except KeyboardInterrupt:
            monkeypatch.undo()
        else:
            raise AssertionError("it was not killed")
        again = self.opened(tmp_path)
        assert again.rows.keys() == {first, second, third, fourth}
        again.tidy({first, fourth})
        assert self.keys(tmp_path / "lanes") == sorted([first, fourth])
        assert self.keys(tmp_path / "superseded") == sorted([second, third])

    def test_a_reader_beside_a_driver_that_moves_files_reads_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = self.opened(tmp_path)
        keys = {row["lane_id"] for row in append(driver) + append(driver, dataclasses.replace(PACK, cycle=2))}
        found, moved = ledger_module.rows_in, []

        def moving(path: Path) -> list[dict[str, Any]]:
            if not moved:
                moved.append(path)
                driver.tidy(keys - set(driver.files[path]))
            return found(path)

        with monkeypatch.context() as patch:
            patch.setattr(ledger_module, "READERS", 1)
            patch.setattr(ledger_module, "rows_in", moving)
            rows = Ledger(tmp_path / "lanes").rows
        assert len(moved) == 1 and len(rows) == 2 and rows.keys() < keys


def test_a_sweep_goes_on_with_the_rows_of_a_ledger_that_was_read_again(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep(lambda cycle, run, max_lr: 90.0 - abs(max_lr - 0.1), max_lr="0.05,0.1,0.15", cycles=1)
    done = sweep.run()
    again = sweep.run()
    fields = ("lane_id", "state", "val_accuracy", "eval_steps")
    ours, theirs = ([[row[f] for f in fields] for c in o.closed for row in c.rows] for o in (done, again))
    assert ours == theirs
