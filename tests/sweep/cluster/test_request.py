"""A command as it shall run on a cluster: the settings that it comes to, and what is refused before it is sent."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.cluster.names import storage_of
from sweep.cluster.request import Asked
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import FolderError, SettingsError, SweepError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.runner import run
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.validation.settings import ValidationSettings
from sweep.store.folder import Folder
from sweep.store.manifest import read_manifest
from sweep.store.provenance import new_manifest
from trainables.storage import Remote

Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Asked]
Tiny = Callable[..., Settings]
NOWHERE = ["--address", "http://127.0.0.1:9"]
"""Where nothing listens: whatever asks there fails."""

pytestmark = pytest.mark.usefixtures("somewhere")


def settings_of(asked: Asked) -> Any:
    """The settings of the only sweep that is asked for."""
    [(_, settings)] = asked.sweeps
    return settings


@pytest.fixture(scope="module")
def oracles(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, quick_pictures: None) -> Path:
    """A storage with a finished oracle, `digits`, one without S-Cyc, `plain`, and one that rewinds, `rewinding`."""
    storage = tmp_path_factory.mktemp("storage")
    run(EXPERIMENT, tiny(storage / "digits", pruning="global_magnitude", data_dir="d", download=True))
    run(EXPERIMENT, tiny(storage / "plain", scyc="none", cycles=0))
    return storage


class TestSweeps:
    def test_a_sweep_goes_to_its_name_in_the_storage(self, ask: Ask) -> None:
        asked = ask("oracle", "--model", "vgg19", "--runs", "2", "--data-dir", "/data")
        assert (asked.command, asked.name, str(asked.folder)) == ("oracle", "vgg19", "/nfs/sweeps/vgg19")
        typed = {"model": "vgg19", "runs": 2, "data_dir": Path("/data"), "out": "/nfs/sweeps/vgg19"}
        assert asked.sweeps == [("oracle", resolve(typed, kind=OracleSettings))]
        asked = ask("oracle", name="night-1")
        assert (asked.name, settings_of(asked).out) == ("night-1", "/nfs/sweeps/night-1")

    def test_each_experiment_has_its_own_settings_and_name(self, ask: Ask) -> None:
        for command, kind, name in (
            ("oracle", OracleSettings, "digits"),
            ("tune", TuningSettings, "digits-tuning"),
            ("schedules", SchedulesSettings, "digits-schedules"),
        ):
            asked = ask(command, "--runs", "2")
            assert type(settings_of(asked)) is kind and settings_of(asked).runs == 2 and asked.name == name
            assert settings_of(asked).folder == asked.folder == Path("/nfs/sweeps") / name

    def test_a_relative_storage_is_that_of_the_submitter(self, ask: Ask, somewhere: Path) -> None:
        assert ask("oracle", storage="results").folder == somewhere / "results" / "digits"
        asked = ask("oracle", storage="s3://b/it's here")
        assert settings_of(asked).folder == asked.folder == Remote("s3://b/it's here/digits")

    @pytest.mark.parametrize("command", ["oracle", "schedules", "tune"])
    @pytest.mark.parametrize("typed", [["--data-dir", "d"], ["--data-dir=d"], ["--data_dir", "d"], ["--data_dir=d"]])
    def test_a_relative_data_folder_is_that_of_the_submitter(
        self, ask: Ask, somewhere: Path, command: str, typed: list[str]
    ) -> None:
        assert settings_of(ask(command, *typed)).data_dir == somewhere / "d"

    def test_so_is_that_of_a_config_file(self, ask: Ask, somewhere: Path) -> None:
        (somewhere / "c.toml").write_text('data_dir = "d"\n')
        assert settings_of(ask("oracle", "--config", "c.toml")).data_dir == somewhere / "d"
        assert settings_of(ask("oracle", "--config", "c.toml", "--data-dir", "e")).data_dir == somewhere / "e"

    @pytest.mark.parametrize(
        ("storage", "flags", "wanted"),
        [
            ("/nfs/sweeps", ["--dataset", "fashion_mnist"], "/nfs/sweeps/data"),
            ("s3://b/sweeps", ["--dataset", "fashion_mnist"], "~/scyc-sweep-data"),
            ("/nfs/sweeps", [], "data"),  # digits come with scikit-learn
        ],
    )
    def test_by_default_data_outlive_the_job(self, ask: Ask, storage: str, flags: list[str], wanted: str) -> None:
        assert str(settings_of(ask("oracle", *flags, storage=storage)).data_dir) == wanted

    @pytest.mark.parametrize("typed", [["--oracle", "digits"], ["--oracle=digits"], ["--config", "c.toml"]])
    def test_the_oracle_of_a_tuning_may_be_a_name_of_the_storage(
        self, ask: Ask, somewhere: Path, typed: list[str]
    ) -> None:
        (somewhere / "c.toml").write_text('oracle = "digits"\n')
        assert settings_of(ask("tune", *typed, name="tuned")).oracle == "/nfs/sweeps/digits"
        assert settings_of(ask("tune", "--oracle", "s3://other/digits")).oracle == "s3://other/digits"
        assert settings_of(ask("tune", "--oracle", "results/digits")).oracle == str(somewhere / "results" / "digits")

    def test_files_that_are_named_are_read_where_it_is_submitted(self, ask: Ask, somewhere: Path) -> None:
        (somewhere / "c.toml").write_text("runs = 3")
        (somewhere / "scyc.toml").write_text('schedule = "scyc"\nepsilon = 0.1\ndelta = 0.2\nq = 1\nbeta = 4.0\n')
        asked = ask("schedules", "--config", "c.toml", "--schedules", "scyc=scyc.toml")
        assert settings_of(asked).runs == 3 and settings_of(asked).schedules == ("scyc=0.1,0.2,1,4",)
        assert ".toml" not in str(asked.request.documents)

    def test_the_command_is_kept_as_it_was_typed(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        typed = ["scyc-sweep", "submit", "--storage", "it's here", "--", "oracle", "--max-lr", "0.1, 0.2"]
        monkeypatch.setattr(sys, "argv", typed)
        assert list(ask(*typed[5:]).request.command) == typed


class TestBesideAnOracle:
    def test_a_control_is_the_oracle_with_other_pruning(self, ask: Ask, oracles: Path) -> None:
        asked = ask("control", "digits", "--workers", "2", "--data-dir", "e", storage=oracles)
        assert (asked.command, asked.name, asked.folder) == ("control", "digits", oracles / "digits")
        assert [experiment for experiment, _ in asked.sweeps] == ["oracle", "oracle"]
        found = Folder(oracles / "digits").manifest()
        assert found is not None
        oracle = OracleSettings.model_validate(found["settings"])
        for name, (_, settings) in zip(("none", "random"), asked.sweeps, strict=True):
            assert settings.folder == oracles / "digits" / "controls" / name
            different = {
                each for each in OracleSettings.model_fields if getattr(settings, each) != getattr(oracle, each)
            }
            assert different == {"pruning", "out", "workers", "data_dir"}
            assert (settings.pruning, settings.workers, settings.data_dir) == (name, 2, Path.cwd() / "e")
        [(_, settings)] = ask("control", "digits", "--pruning", "random", storage=oracles).sweeps
        assert settings.pruning == "random"

    def test_a_comparison_holds_the_oracle_its_choices_and_each_trajectory(self, ask: Ask, oracles: Path) -> None:
        scyc = ["--scyc", "0.1,0.2,1,4"]
        asked = ask("compare", "digits", "--train", "--confirm", "3", *scyc, storage=oracles)
        (one, train), (other, confirm) = asked.sweeps
        assert one == other == "compare" and asked.folder == oracles / "digits"
        assert isinstance(train, ValidationSettings) and isinstance(confirm, ValidationSettings)
        assert train.folder == oracles / "digits" / "validation"
        assert confirm.folder == oracles / "digits" / "validation-held-out"
        assert (train.runs, confirm.runs) == (1, 3) and train.oracle == str(oracles / "digits")
        assert train.choices == confirm.choices and len(train.choices) == 2
        assert train.trajectories == {"0.1,0.2,1,4": (0.1, 0.1)}
        assert list(settings_of(ask("compare", "digits", "--train", storage=oracles)).trajectories) == ["S-Cyc"]

    def test_its_files_are_read_where_it_is_submitted_too(self, ask: Ask, oracles: Path, somewhere: Path) -> None:
        (somewhere / "a.toml").write_text('schedule = "scyc"\nepsilon = 0.1\ndelta = 0.2\nq = 1\nbeta = 4.0\n')
        settings = settings_of(ask("compare", "digits", "--train", "--scyc", "a.toml", storage=oracles))
        assert list(settings.trajectories.values()) == [(0.1, 0.1)]

    def test_where_the_oracle_was_trained_does_not_count(
        self, ask: Ask, somewhere: Path, tiny: Tiny, quick_pictures: None
    ) -> None:
        """Neither the address of its cluster nor a folder of data on its machine."""
        settings = tiny(somewhere / "s" / "there", engine="ray", address="head:6379", data_dir="d", dataset="cifar10")
        (somewhere / "s" / "there").mkdir(parents=True)
        Folder(settings.folder).write_manifest(new_manifest("oracle", settings, "fingerprint", [], None))
        asked = ask("control", "there", "--pruning", "random", storage="s")
        assert (settings_of(asked).address, settings_of(asked).data_dir) == (None, somewhere / "s" / "data")

    def test_the_comparison_that_needs_no_training_is_written_when_it_is_submitted(
        self, ask: Ask, oracles: Path
    ) -> None:
        asked = ask("compare", "digits", "--train", "--scyc", "0.123,0.2,1,4", storage=oracles)
        table = oracles / "digits" / "comparison.parquet"
        before = table.read_bytes()
        assert table.read_bytes() == before
        asked.at_once()
        assert table.read_bytes() != before
        ask("control", "digits", storage=oracles).at_once()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["compare", "gone", "--train"], "gone holds no sweep: there is no manifest.json"),
            (["control", "gone"], "gone holds no sweep"),
            (["control", "results/digits"], "lies elsewhere than --storage"),
            (["compare", "s3://b/digits", "--train"], "s3://b/digits lies elsewhere than --storage"),
            (["compare", "digits"], "compare trains nothing without --train or --confirm: run it here"),
            (["compare", "digits", "--scyc", "paper"], "compare trains nothing without --train or --confirm"),
            (["compare", "digits", "--confirm", "0"], "--confirm must be at least 1, but got 0"),
            (["compare", "digits", "--train", "--scyc", "none"], "--train and --confirm train what --scyc gives"),
            (["compare", "plain", "--train"], "was run without S-Cyc parameters: give --scyc"),
            (["control", "digits", "--pruning", "global_magnitude"], "is the pruning of the oracle in"),
            (["control", "plain", "--pruning", "none"], "--pruning none is no control where every cycle rewinds"),
        ],
    )
    def test_what_cannot_be_trained_is_one_line(self, ask: Ask, oracles: Path, words: list[str], said: str) -> None:
        with pytest.raises(SweepError) as raised:
            ask(*words, storage=oracles)
        assert said in str(raised.value) and "\n" not in str(raised.value)

    def test_the_results_go_to_the_folder_that_is_given(self, ask: Ask, oracles: Path) -> None:
        for words in (["compare", "digits", "--train"], ["control", "digits"]):
            with pytest.raises(SweepError, match=f"--name: the results of {words[0]} go to the folder"):
                ask(*words, storage=oracles, name="mine")


class TestDigest:
    """The id follows from what was asked for: the same settings mean the same job."""

    def test_how_it_is_carried_out_makes_no_other_job(self, ask: Ask, oracles: Path) -> None:
        flags = ["--workers", "max", "--cpus-per-worker", "2", "--gpus-per-worker", "0.5", "--device", "cuda"]
        flags += ["--wait-for-resources", "--data-dir", "d", "--download", "--engine", "inline"]
        for words in (["oracle"], ["compare", "digits", "--train"], ["control", "digits"]):
            digests = {ask(*words, *more, storage=oracles).request.digest for more in ([], flags)}
            assert len(digests) == 1

    def test_nor_do_order_spelling_and_what_is_the_default_anyway(
        self, ask: Ask, somewhere: Path, oracles: Path
    ) -> None:
        (somewhere / "c.toml").write_text("runs = 2\n")
        wanted = ask("oracle", "--runs", "2", "--cycles", "3").request.digest
        for words in (
            ["--cycles", "3", "--runs", "2"],
            ["--cycles=3", "--runs=2"],
            ["--cycles", "3", "--config", "c.toml"],
            ["--runs", "2", "--cycles", "3", "--preset", "digits"],
        ):
            assert ask("oracle", *words).request.digest == wanted
        compare = ask("compare", "digits", "--confirm", "2", "--scyc", "0.04,0.1,1,4", storage=oracles)
        same = ask("compare", "--scyc=0.04, 0.1, 1, 4", "digits", "--confirm=2", storage=oracles)
        assert same.request.documents[0].settings["choices"] == compare.request.documents[0].settings["choices"]
        assert (
            ask("compare", "--confirm", "2", "digits", "--scyc=0.04,0.1,1,4", storage=oracles).request
            == compare.request
        )

    def test_settings_folder_and_command_do(self, ask: Ask, somewhere: Path, oracles: Path) -> None:
        for name, epsilon in (("a", 0.1), ("b", 0.2)):
            (somewhere / f"{name}.toml").write_text(
                f'schedule = "scyc"\nepsilon = {epsilon}\ndelta = 0.2\nq = 1\nbeta = 4.0\n'
            )
        found = [
            ask("oracle"),
            ask("oracle", "--runs", "2"),
            ask("oracle", "--cycles", "2"),
            ask("oracle", "--lanes", "2"),
            ask("oracle", name="other"),
            ask("oracle", storage="/other"),
            ask("schedules"),
            ask("tune"),
            ask("compare", "digits", "--train", storage=oracles),
            ask("compare", "digits", "--confirm", "2", storage=oracles),
            ask("compare", "digits", "--confirm", "3", storage=oracles),
            ask("compare", "digits", "--train", "--confirm", "3", storage=oracles),
            ask("compare", "digits", "--train", "--scyc", "a.toml", storage=oracles),
            ask("compare", "digits", "--train", "--scyc", "b.toml", storage=oracles),
            ask("control", "digits", storage=oracles),
            ask("control", "plain", storage=oracles),
            ask("control", "digits", "--pruning", "random", storage=oracles),
        ]
        assert len({asked.request.digest for asked in found}) == len(found)

    def test_and_so_does_the_code_of_an_own_network(
        self, ask: Ask, somewhere: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        found = set()
        for code in ("def small(shape, classes): ...", "def small(shape, classes): return None"):
            (somewhere / "digestnets.py").write_text(code)
            found.add(ask("oracle", "--preset", "digits", "--model", "digestnets:small").request.digest)
        assert len(found) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["oracle", "--out", "o"], "submit takes no --out after --: --storage and --name say where results go"),
            (["oracle", "--out=o"], "submit takes no --out"),
            (["tune", "--address", "head:6379"], "submit takes no --address after --: --address stands before --"),
            (["compare", "digits", "--address=head:6379"], "submit takes no --address"),
            (["oracle", "--config", "c.toml"], "submit takes no address in --config"),
            (["oracle", "--plan"], "--plan trains nothing: run it here"),
            (["oracle", "--plan=true"], "--plan trains nothing"),
            (["schedules", "--plan"], "--plan trains nothing"),
            (["oracle", "--pilot", "5"], "--pilot trains nothing"),
            (["oracle", "--spread", "o"], "--spread trains nothing"),
            (["tune", "--by", "fit", "--oracle", "digits"], "--by fit trains nothing: run it here"),
            (["oracle", "--help"], "--help and --version train nothing"),
            (["oracle", "-h"], "--help and --version train nothing"),
            (["control", "--version"], "--help and --version train nothing"),
            (["oracle", "--json"], "submit takes no --json after --"),
            (["compare", "digits", "--train", "--paper"], "submit takes no --paper after --"),
            (["show", "digits"], "submit takes oracle, tune, schedules, compare, control after --, but got show"),
            ([], "after --, but got nothing"),
        ],
    )
    def test_what_means_nothing_in_a_job(self, ask: Ask, somewhere: Path, words: list[str], said: str) -> None:
        (somewhere / "c.toml").write_text('address = "head:6379"')
        with pytest.raises(SweepError) as raised:
            ask(*words)
        assert str(raised.value).startswith(said) or str(raised.value).endswith(said)
        assert "\n" not in str(raised.value)

    def test_a_value_that_reads_like_a_flag_is_a_value(self, ask: Ask, somewhere: Path) -> None:
        assert settings_of(ask("oracle", "--data-dir=--plan")).data_dir == somewhere / "--plan"

    @pytest.mark.parametrize("name", ["../x", "a/b", "", "submissions"])
    def test_names_that_lead_elsewhere(self, ask: Ask, name: str) -> None:
        with pytest.raises(SettingsError, match="--name takes letters"):
            ask("oracle", name=name)
        with pytest.raises(SweepError):
            ask("control", name)

    def test_a_folder_of_the_records_is_no_oracle(self, ask: Ask) -> None:
        with pytest.raises(SettingsError, match="not submissions"):
            ask("compare", "submissions", "--train")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--", "nonsense"], "submit takes oracle, tune, schedules, compare, control after --, but got nonsense"),
            (["--", "show", "digits"], "submit takes oracle, tune, schedules, compare, control after --, but got show"),
            ([], "submit takes oracle, tune, schedules, compare, control after --, but got nothing"),
            (["--", "oracle", "--runs", "0"], "--runs must be at least 1, but got 0"),
            (["--", "oracle", "--max-lr", "1:0.1:x3"], "--max-lr: "),
            (["--", "oracle", "--model", "nonesuch:gone", "--preset", "digits"], "--model nonesuch:gone"),
            (["--", "oracle", "--rnus", "2"], "oracle has no flag --rnus; did you mean --runs?"),
            (["--", "oracle", "extra"], "oracle has no use for 'extra'"),
            (["--", "oracle", "--config", "gone.toml"], "gone.toml cannot be read"),
            (["--", "oracle", "--help"], "--help and --version train nothing"),
            (["--", "compare"], "compare needs FOLDER"),
            (["--storage", "s3://key:secret@b/x", "--", "oracle"], "--storage: s3:// without credentials"),
            (["--storage", "ftp://b/x", "--", "oracle"], "--storage: ftp:// is not known"),
            (["--name", "../x", "--", "oracle"], "--name takes letters"),
        ],
    )
    def test_in_one_line_with_exit_2_before_any_address_is_asked(
        self, here: Run, somewhere: Path, words: list[str], said: str
    ) -> None:
        ran = here("submit", *NOWHERE, *words)
        assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1
        assert ran.stderr.startswith(f"scyc-sweep: {said}") and "secret" not in ran.stderr
        assert list(somewhere.iterdir()) == []

    @pytest.mark.parametrize("flag", ["--name=x", "--wait", "--storage", "--dry-run"])
    @pytest.mark.parametrize("command", ["oracle", "compare digits", "control digits"])
    def test_flags_of_submit_after_the_dashes_say_where_they_stand(self, here: Run, command: str, flag: str) -> None:
        ran = here("submit", *NOWHERE, "--", *command.split(), flag)
        assert ran.returncode == 2 and f"{flag.partition('=')[0]} stands before --" in ran.stderr


class TestWhatTheStorageTellsBeforehand:
    @pytest.fixture
    def begun(self, here: Run, somewhere: Path) -> Path:
        """A storage with a small oracle in it."""
        words = ["--max-lr", "0.05,0.1", "--runs", "1", "--cycles", "0", "--steps", "17", "--engine", "inline"]
        assert here("oracle", *words, "--out", somewhere / "s" / "digits").returncode == 0
        return somewhere / "s"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ["oracle", "--seed", "3"],
                "--seed was 0, now 3; --steps was 17, now 510; --warmup-steps was 3, now 82); give --name",
            ),
            (["tune"], None),
            (["compare", "nothing", "--train"], "nothing holds no sweep: there is no manifest.json"),
            (["control", "results/digits"], "lies elsewhere than --storage"),
            (["control", "digits"], None),
            (["schedules", "--preset", "digits"], None),
        ],
    )
    def test_what_the_job_would_refuse_is_refused_at_once(
        self, here: Run, begun: Path, words: list[str], said: str | None
    ) -> None:
        ran = here("submit", "--storage", begun, *NOWHERE, "--", *words)
        assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1
        assert (said or "no Ray reachable at 127.0.0.1:9") in ran.stderr

    def test_another_kind_of_sweep_under_the_name_is_refused_too(self, here: Run, begun: Path) -> None:
        ran = here("submit", "--storage", begun, "--name", "digits", *NOWHERE, "--", "schedules")
        assert ran.returncode == 2 and "holds the results of `oracle`, not of `schedules`" in ran.stderr

    def test_nothing_is_left_to_train_when_all_folders_are_finished(
        self, ask: Ask, oracles: Path, somewhere: Path
    ) -> None:
        assert ask("oracle", storage=oracles, name="digits").finished
        assert not ask("oracle", storage=oracles, name="new").finished
        assert not ask("control", "digits", storage=oracles).finished
        assert read_manifest(oracles / "digits" / "manifest.json") is not None

    def test_a_storage_that_is_no_location_is_refused(self) -> None:
        with pytest.raises(FolderError):
            storage_of("ftp://b")
