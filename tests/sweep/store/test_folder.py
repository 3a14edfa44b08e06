"""A results folder: one driver at a time, what its manifest says, and that other experiments are kept out."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.store import tables
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, identity
from sweep.store.provenance import PACKAGES, cores, hardware, new_manifest

COMMAND = ["scyc-sweep", "oracle", "--runs", "2"]


def one_line(raised: pytest.ExceptionInfo[FolderError]) -> str:
    message = str(raised.value)
    assert "\n" not in message
    return message


class TestLock:
    def test_a_second_driver_is_refused_and_told_of_the_first(self, tmp_path: Path) -> None:
        with Folder(tmp_path).locked(COMMAND):
            with pytest.raises(FolderError) as raised, Folder(tmp_path).locked(["another"]):
                raise AssertionError
            message = one_line(raised)
            for part in (str(tmp_path), f"process {os.getpid()}", socket.gethostname(), "scyc-sweep oracle --runs 2"):
                assert part in message
        with Folder(tmp_path).locked(COMMAND):
            pass  # the first has gone

    def test_the_refused_driver_leaves_the_first_one_s_lock_and_name_alone(self, tmp_path: Path) -> None:
        with Folder(tmp_path).locked(COMMAND):
            for _ in range(2):
                with pytest.raises(FolderError, match="--runs 2"), Folder(tmp_path).locked(["another"]):
                    raise AssertionError

    def test_a_driver_in_another_process_is_named_and_its_death_frees_the_folder(self, tmp_path: Path) -> None:
        code = textwrap.dedent(
            """
            import sys
            from pathlib import Path
            from sweep.store.folder import Folder
            with Folder(Path(sys.argv[1])).locked(["scyc-sweep", "from", "elsewhere"]):
                print("locked", flush=True)
                sys.stdin.read()
            """
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(FolderError) as raised, Folder(tmp_path).locked(COMMAND):
                raise AssertionError
            assert f"process {other.pid} on" in one_line(raised)
            assert "scyc-sweep from elsewhere" in str(raised.value)
            other.kill()
            other.wait()
        with Folder(tmp_path).locked(COMMAND):
            pass

    def test_a_lock_whose_owner_cannot_be_read_still_refuses(self, tmp_path: Path) -> None:
        with Folder(tmp_path).locked(COMMAND):
            (tmp_path / ".driver.json").write_text("half a fi")
            with pytest.raises(FolderError, match="in use by another scyc-sweep"), Folder(tmp_path).locked(COMMAND):
                raise AssertionError

    def test_of_ten_that_come_together_one_has_it_and_nobody_takes_its_lock_away(self, tmp_path: Path) -> None:
        # A process that knows no torch is forked at no cost; each round is on a new folder.
        code = textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            from sweep.errors import FolderError
            from sweep.store.folder import Folder

            def drive(folder, gate, said, left):
                os.read(gate, 1)
                try:
                    with Folder(folder).locked(["a", "driver"]):
                        os.write(said, b"held ")
                        os.read(left, 1)
                except FolderError as error:
                    os.write(said, b"refused " if "is in use by" in str(error) else str(error).encode())

            for number in range(6):
                folder = Path(sys.argv[1]) / str(number) / "digits"
                (gate, open_gate), (heard, said), (left, leave) = os.pipe(), os.pipe(), os.pipe()
                for _ in range(10):
                    if not os.fork():
                        os.close(open_gate), os.close(leave)
                        drive(folder, gate, said, left)
                        os._exit(0)
                os.close(open_gate)
                words = []
                while len(words) < 10:
                    words += os.read(heard, 10_000).split()
                for _ in range(words.count(b"refused")):
                    os.wait()
                there = sorted(path.name for path in folder.iterdir())
                os.close(leave)
                for _ in range(words.count(b"held")):
                    os.wait()
                print(words.count(b"held"), words.count(b"refused"), len(words), there)
            """
        )
        ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100)
        assert ran.stdout == 6 * "1 9 10 ['.driver.json', '.lock']\n", ran

    def test_a_holder_that_never_began_takes_the_folder_away_and_the_next_one_makes_it_anew(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "results" / "digits"
        for _ in range(2):
            with Folder(path).locked(COMMAND):
                with pytest.raises(FolderError, match="in use"), Folder(path).locked(["another"]):
                    raise AssertionError
                assert {each.name for each in path.iterdir()} == {".lock", ".driver.json"}
            assert list(tmp_path.iterdir()) == []


class TestCreation:
    def test_a_folder_made_for_a_sweep_that_never_began_is_taken_away_with_its_parents(self, tmp_path: Path) -> None:
        path = tmp_path / "results" / "deep" / "digits"
        with pytest.raises(RuntimeError), Folder(path).locked(COMMAND):
            assert path.is_dir()
            raise RuntimeError
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_was_there_before_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "results"
        path.mkdir()
        (path / "notes.txt").write_text("mine")
        with pytest.raises(RuntimeError), Folder(path).locked(COMMAND):
            raise RuntimeError
        assert (path / "notes.txt").read_text() == "mine"

    def test_a_folder_whose_sweep_has_begun_stays_whatever_happens(self, tmp_path: Path) -> None:
        folder = Folder(tmp_path / "results")
        with pytest.raises(RuntimeError), folder.locked(COMMAND):
            folder.write_manifest(new_manifest("oracle", resolve({}), "fingerprint", COMMAND, None))
            raise RuntimeError
        assert folder.manifest() is not None
        assert not (folder.path / ".driver.json").exists()

    def test_the_error_of_the_block_is_not_hidden_by_a_file_that_somebody_else_put_there(self, tmp_path: Path) -> None:
        path = tmp_path / "results"
        with pytest.raises(RuntimeError, match="the reason"), Folder(path).locked(COMMAND):
            (path / "notes.txt").write_text("mine")
            raise RuntimeError("the reason")
        assert (path / "notes.txt").exists()

    @pytest.mark.parametrize("deeper", ["", "digits", "deep/digits"])
    def test_a_file_in_the_way_is_one_clear_line(self, tmp_path: Path, deeper: str) -> None:
        (tmp_path / "results").write_text("a file")
        path = tmp_path / "results" / deeper
        with pytest.raises(FolderError, match="cannot be written") as raised, Folder(path).locked(COMMAND):
            raise AssertionError
        assert str(path) in one_line(raised)
        assert (tmp_path / "results").read_text() == "a file"


class TestManifest:
    @pytest.fixture
    def settings(self, make_spec: Callable[..., Settings]) -> Settings:
        return make_spec(cpus_per_worker=2)

    def test_it_holds_the_whole_spec_versions_hardware_and_what_determines_lanes(self, settings: Settings) -> None:
        manifest = new_manifest("oracle", settings, "fingerprint", COMMAND, None)
        assert manifest["schema_version"] == tables.SCHEMA_VERSION == 3
        assert Settings.model_validate(manifest["settings"]) == settings
        assert manifest["identity"] == identity(settings, "fingerprint")
        assert manifest["command"] == "scyc-sweep oracle --runs 2"
        spaced = new_manifest("oracle", settings, "fingerprint", ["scyc-sweep", "oracle", "--out", "my results"], None)
        assert spaced["command"] == "scyc-sweep oracle --out 'my results'"
        assert datetime.fromisoformat(manifest["started_at"]).utcoffset() is not None
        assert set(manifest["versions"]) == {"python", *PACKAGES}
        assert manifest["versions"]["torch"] and manifest["versions"]["ray"] and manifest["versions"]["pandas"]
        assert manifest["hardware"] == hardware()
        assert (manifest["threads"], manifest["finished_at"], manifest["ended_early"]) == (2, None, [])
        assert manifest["lanes_per_pack"] is None and manifest["earlier_sessions"] == []
        assert "git_commit" in manifest
        json.dumps(manifest)

    def test_hardware_says_host_processor_cores_memory_and_gpus(self) -> None:
        found = hardware()
        assert found["host"] == socket.gethostname()
        assert found["cores"] == cores() >= 1
        assert found["cpu"] and isinstance(found["gpus"], list)
        assert found["memory_bytes"] is None or found["memory_bytes"] > 2**28

    def test_a_sweep_that_goes_on_keeps_its_packs_size_and_what_earlier_sessions_were(self, settings: Settings) -> None:
        first = new_manifest("oracle", settings, "fingerprint", ["first"], None) | {"lanes_per_pack": 7}
        second = new_manifest("oracle", settings, "fingerprint", ["second"], first)
        third = new_manifest("oracle", settings, "fingerprint", ["third"], second)
        assert second["lanes_per_pack"] == third["lanes_per_pack"] == 7
        assert third["command"] == "third"
        assert [session["command"] for session in third["earlier_sessions"]] == ["first", "second"]
        assert {"versions", "hardware", "threads", "git_commit", "started_at"} <= set(third["earlier_sessions"][0])


class TestIdentity:
    def refused(self, tmp_path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> str:
        with pytest.raises(FolderError) as raised:
            check_identity(Folder(tmp_path), found, wanted)
        return one_line(raised)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"prune_rate": 0.3}, ["--prune-rate was 0.2, now 0.3"]),
            ({"seed": 5}, ["--seed was 0, now 5"]),
            ({"hidden": (8, 4)}, ["--hidden was 64 64 64, now 8 4"]),
            (
                {"pruning": "layer_magnitude"},
                ["--pruning was global_magnitude, now layer_magnitude", "--rewind was init, now none"],
            ),
            ({"dataset": "fashion_mnist"}, ["--dataset was digits, now fashion_mnist"]),
            ({"eval_every": 7}, ["--eval-every was not given, now 7"]),
            ({"keep_output": True, "score": "last"}, ["--keep-output was off, now on", "--score was best, now last"]),
            ({"warmup_steps": 50}, ["--warmup-steps was 82, now 50"]),
            ({"milestones": (300,)}, ["--milestones was 255 382, now 300"]),
            # What follows from a difference is not told as another.
            ({"schedule": "constant"}, ["--schedule was warmup, now constant"]),
            ({"model": "resnet20", "preset": "digits"}, ["--model was mlp, now resnet20"]),
        ],
    )
    def test_every_setting_that_differs_is_named_with_both_values(
        self, tmp_path: Path, settings: dict[str, Any], said: list[str]
    ) -> None:
        message = self.refused(tmp_path, identity(resolve({}), "d" * 64), identity(resolve(settings), "d" * 64))
        assert message == (f"{tmp_path} holds lanes of another experiment ({'; '.join(said)}); give another --out")

    def test_other_data_and_code_under_the_same_name_have_changed(self, tmp_path: Path) -> None:
        settings = resolve({})
        data = identity(settings, "a" * 64), identity(settings, "b" * 64)
        assert self.refused(tmp_path, *data) == (
            f"the data of digits have changed since {tmp_path} was begun; give another --out"
        )
        files = {"nets.py": "1", "blocks.py": "1"}
        own = [each | {"model": "nets:small", "model_source": "s", "model_files": files} for each in data]
        new = own[1] | {"model_source": "t", "model_files": files | {"nets.py": "2", "other.py": "2"}}
        assert self.refused(tmp_path, own[1], new).startswith(f"nets.py has changed since {tmp_path} was begun; ")
        assert self.refused(tmp_path, own[0], new).startswith("nets.py has changed and the data of digits have changed")
        assert "experiment (--seed was 0, now 1; nets.py has changed);" in self.refused(
            tmp_path, own[1], new | {"seed": 1}
        )
        less = own[1] | {"model_source": "t", "model_files": {"nets.py": "1"}}
        assert self.refused(tmp_path, own[1], less).startswith("blocks.py has changed since")

    def test_another_network_or_data_set_is_named_alone(self, tmp_path: Path) -> None:
        found = identity(resolve({}), "a" * 64)
        wanted = found | {"model": "nets:small", "model_source": "s", "model_files": {"nets.py": "1"}}
        assert "(--model was mlp, now nets:small)" in self.refused(tmp_path, found, wanted)
        wanted = found | {"dataset": "pics:load", "data": "b" * 64}
        assert "(--dataset was digits, now pics:load)" in self.refused(tmp_path, found, wanted)

    def test_a_folder_of_an_older_training_code_is_refused(self, tmp_path: Path) -> None:
        now = identity(resolve({}), "d")
        message = self.refused(tmp_path, now | {"training_version": 0}, now)
        assert "the training code of scyc-sweep has changed since" in message

    @pytest.mark.parametrize(
        "settings",
        [
            {"cycles": 3, "runs": 9, "max_lr": "0.1,0.2", "tolerance": 1.0, "tolerance_kind": "relative"},
            {
                "decide": "per_run",
                "scyc": "0.1,0.1,1,4",
                "lanes": 3,
                "engine": "inline",
                "workers": 2,
                "cpus_per_worker": 2,
            },
            {"device": "cpu", "address": "head:6379", "data_dir": Path("elsewhere"), "out": Path("elsewhere")},
        ],
    )
    def test_what_only_extends_a_sweep_or_moves_it_is_accepted(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        check_identity(Folder(tmp_path), identity(resolve({}), "d"), identity(resolve(settings), "d"))

    def test_an_identity_that_went_through_a_manifest_is_the_same(self, tmp_path: Path) -> None:
        wanted = identity(resolve({}), "d")
        check_identity(Folder(tmp_path), json.loads(json.dumps(wanted)), wanted)
