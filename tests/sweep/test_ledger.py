"""The ledger: what a lane's key depends on, and that no kill, foreign file or second training confuses it."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweep import ledger as ledger_module
from sweep import tables
from sweep.errors import FolderError
from sweep.ledger import Ledger, trial_id
from sweep.spec import resolve
from trainables.spec import Lane, LaneResult, Pack, Schedule, TrainSpec

TRAINING = resolve({}).training()
PACK = Pack(cycle=1, run=0, seed=11, lanes=(Lane(0.1, "p" * 64, "i" * 64), Lane(0.2, "p" * 64, "i" * 64)))
OTHER_SETTINGS: dict[str, Any] = {
    "model": "resnet20",
    "model_source": "s" * 64,
    "hidden": (64, 64),
    "batch_norm": True,
    "dataset": "cifar10",
    "images": 1000,
    "split": "fixed_test",
    "pruning": "layer_magnitude",
    "prune_rate": 0.3,
    "keep_output": True,
    "score_batches": 3,
    "rewind": "none",
    "schedule": Schedule("constant"),
    "steps": 509,
    "retrain_steps": 400,
    "batch_size": 31,
    "optimizer": "adam",
    "momentum": 0.8,
    "weight_decay": 0.0,
    "eval_every": 34,
    "score": "last",
    "dtype": "float64",
}


KNOWN_KEY = "f0fe82dc143a27f4e56556131fefce7e2e8f45aa22330895549aefef984ecbc7"
"""The key of `PACK`'s first lane, as the first version of the training code has it."""


def key(training: TrainSpec = TRAINING, data: str = "data", pack: Pack = PACK, lane: Lane = PACK.lanes[0]) -> str:
    return trial_id(training, data, pack, lane)


def result(lane: Lane, val: float | None = 90.0, **changes: Any) -> LaneResult:
    found = LaneResult(
        max_lr=lane.max_lr,
        parent_state=lane.parent or "initial",
        state=f"state_of_{round(1000 * lane.max_lr)}" if val is not None else None,
        percent_remaining=80.0,
        schedule="warmup",
        status="ok" if val is not None else "diverged",
        steps=10,
        best_step=8,
        val_accuracy=val,
        test_accuracy=val,
        val_loss=0.1 + 0.2,
        train_loss=1 / 3,
        wall_seconds=0.25,
        eval_steps=[4, 8, 10],
        eval_val_accuracy=[1 / 3, 2 / 3, 1.0],
        eval_test_accuracy=[0.1, 0.2, 0.3],
        eval_val_loss=[2.0, 1.0, 0.5],
    )
    return dataclasses.replace(found, **changes)


def append(ledger: Ledger, pack: Pack = PACK, val: float | None = 90.0) -> list[dict[str, Any]]:
    ids = [key(pack=pack, lane=lane) for lane in pack.lanes]
    return ledger.append(pack, ids, [result(lane, val) for lane in pack.lanes], "cpu", "host")


class TestKey:
    @pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainSpec)])
    def test_the_key_changes_with_every_setting_of_training(self, name: str) -> None:
        other = dataclasses.replace(TRAINING, **{name: OTHER_SETTINGS[name]})
        assert other != TRAINING
        assert key(training=other) != key()

    def test_the_key_changes_with_all_else_that_determines_a_lane(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lane = PACK.lanes[0]
        keys = [
            key(),
            key(data="other data"),
            key(pack=dataclasses.replace(PACK, seed=12)),
            key(pack=dataclasses.replace(PACK, cycle=2)),
            key(lane=Lane(lane.max_lr, lane.parent, "j" * 64)),
            key(lane=Lane(lane.max_lr, "q" * 64, lane.rewind_to)),
            key(lane=Lane(0.1000001, lane.parent, lane.rewind_to)),
            key(lane=Lane(lane.max_lr, None, lane.rewind_to)),
            key(lane=dataclasses.replace(lane, schedule=Schedule("constant"))),
            key(lane=dataclasses.replace(lane, schedule=dataclasses.replace(TRAINING.schedule, warmup_steps=7))),
        ]
        monkeypatch.setattr(ledger_module, "TRAINING_VERSION", ledger_module.TRAINING_VERSION + 1)
        keys.append(key())
        assert len(set(keys)) == 11

    @pytest.mark.parametrize("retrain_steps", [3, 17, 1000])
    def test_a_lane_of_any_length_of_retraining_has_a_key(self, retrain_steps: int) -> None:
        """Milestones that fall together, or lie behind the end of cycle 0, are those of another length all the same."""
        spec = resolve({"steps": 34, "warmup_steps": 4, "milestones": (16, 17), "retrain_steps": retrain_steps})
        assert len({key(training=spec.training()), key(training=resolve({"steps": 34}).training())}) == 2

    def test_the_key_depends_on_no_run_number_neighbours_or_size_of_the_pack(self) -> None:
        assert key(pack=dataclasses.replace(PACK, run=7)) == key()
        assert key(pack=dataclasses.replace(PACK, lanes=PACK.lanes[:1])) == key()
        assert key(pack=dataclasses.replace(PACK, lanes=PACK.lanes[::-1])) == key()

    def test_a_lane_s_own_schedule_counts_as_the_settings_same_schedule_does(self) -> None:
        lane = PACK.lanes[0]
        assert key(lane=dataclasses.replace(lane, schedule=TRAINING.schedule)) == key()
        constant = dataclasses.replace(TRAINING, schedule=Schedule("constant"))
        assert key(constant) == key(lane=dataclasses.replace(lane, schedule=Schedule("constant")))

    def test_what_comes_before_retraining_is_shared_by_all_that_retrain_alike(self) -> None:
        """Cycle 0 of ft, lrw, slr and clr is that of warmup; what follows is not."""
        before = dataclasses.replace(PACK, cycle=0)
        first, later = set(), set()
        for name in ("warmup", "ft", "lrw", "slr", "clr"):
            lane = Lane(0.1, None, None, dataclasses.replace(TRAINING.schedule, name=name))
            first.add(key(pack=before, lane=lane))
            later.add(key(lane=lane))
        assert (len(first), len(later)) == (1, 5)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("device", "cuda"),
            ("cpus_per_worker", 4),
            ("gpus_per_worker", 0.5),
            ("wait_for_resources", True),
            ("engine", "inline"),
            ("workers", 3),
            ("lanes", 7),
            ("address", "head:6379"),
            ("out", Path("elsewhere")),
            ("data_dir", Path("elsewhere")),
            ("cycles", 3),
            ("runs", 2),
            ("max_lr", "0.1,0.2"),
            ("tolerance", 2.0),
            ("decide", "per_run"),
            ("preset", "mlp"),
        ],
    )
    def test_the_key_depends_on_nothing_that_only_says_where_or_how_much(self, name: str, value: object) -> None:
        other = resolve({}).model_copy(update={name: value})
        assert key(training=other.training()) == key()

    def test_the_key_of_a_lane_is_the_same_in_every_process_and_release(self) -> None:
        # Finished lanes of earlier releases are found by their keys, as long as the training code is the same.
        assert ledger_module.TRAINING_VERSION == 1
        assert key() == KNOWN_KEY


class TestRows:
    def test_rows_read_back_as_they_were_written(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "trials")
        written = append(ledger) + append(ledger, dataclasses.replace(PACK, cycle=2), val=None)
        again = Ledger(tmp_path / "trials").rows
        assert len(again) == 4 and set(again) == set(ledger.rows)
        for row in written:
            found = again[row["trial_id"]]
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
        assert row["trial_id"] == key(lane=PACK.lanes[1])

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

        def disk_full(content: object, where: Path) -> None:
            where.write_bytes(b"half a file")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tables.pq, "write_table", disk_full)
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
        files = [new, old] if newest_first else [old, new]
        for name, rows in zip("ab", files, strict=True):
            dated = rows[0] | {"finished_at": datetime(2001 if rows is old else 2002, 1, 1, tzinfo=UTC)}
            tables.write("trials", [dated], tmp_path / f"{name}.parquet")
        assert [row["val_accuracy"] for row in Ledger(tmp_path).rows.values()] == [80.0]

    def test_a_folder_that_is_not_there_yet_has_no_rows(self, tmp_path: Path) -> None:
        assert Ledger(tmp_path / "none").rows == {}


class TestDamage:
    def test_a_truncated_file_is_named(self, tmp_path: Path) -> None:
        append(Ledger(tmp_path))
        (path,) = tmp_path.iterdir()
        content = path.read_bytes()
        for size in (0, 3, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(FolderError, match="truncated or no Parquet file") as raised:
                Ledger(tmp_path)
            assert str(path) in str(raised.value) and "\n" not in str(raised.value)

    def test_a_foreign_parquet_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "foreign.parquet"
        pq.write_table(tables.pa.table({"a": [1, 2]}), path)
        with pytest.raises(FolderError, match="is no table of trials of scyc-sweep") as raised:
            Ledger(tmp_path)
        assert str(path) in str(raised.value)

    def test_another_table_of_ours_is_foreign_here(self, tmp_path: Path) -> None:
        tables.write("oracle", [], tmp_path / "oracle.parquet")
        with pytest.raises(FolderError, match=r"oracle\.parquet is no table of trials"):
            Ledger(tmp_path)

    def test_a_newer_schema_version_is_refused_and_an_older_one_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables, "SCHEMA_VERSION", 99)
        append(Ledger(tmp_path))
        assert len(Ledger(tmp_path).rows) == 2
        monkeypatch.undo()
        (path,) = tmp_path.iterdir()
        with pytest.raises(FolderError, match=r"schema version 99, this scyc-sweep reads up to 1") as raised:
            Ledger(tmp_path)
        assert str(path) in str(raised.value)


def test_a_sweep_goes_on_with_the_rows_of_a_ledger_that_was_read_again(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep(lambda cycle, run, max_lr: 90.0 - abs(max_lr - 0.1), max_lr="0.05,0.1,0.15", cycles=1)
    done = sweep.run()
    again = sweep.run()
    fields = ("trial_id", "state", "val_accuracy", "eval_steps")
    ours, theirs = ([[row[f] for f in fields] for c in o.closed for row in c.rows] for o in (done, again))
    assert ours == theirs


@pytest.mark.parametrize("name", ["state", "parent_state", "rewind_state"])
def test_a_state_that_would_lead_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    append(Ledger(tmp_path))
    (path,) = tmp_path.glob("*.parquet")
    rows = tables.read_rows("trials", path)
    tables.write("trials", [row | {name: "../../elsewhere"} for row in rows], path)
    with pytest.raises(FolderError, match="would lead elsewhere"):
        Ledger(tmp_path)
