"""A sweep as a job: the words that are typed there, what travels with them, and what is refused before anything is."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep.cli.cluster import KINDS
from sweep.cli.main import app
from sweep.cluster import submission
from sweep.cluster.submission import Asked, Submission, folder_of, parcel, records, storage_of, write_record
from sweep.config.resolve import resolve
from sweep.errors import FolderError, SettingsError, SweepError
from sweep.store import lock
from sweep.store.folder import Folder
from sweep.store.provenance import new_manifest
from trainables.storage import Remote, locate

Run = Callable[..., subprocess.CompletedProcess[str]]
NOWHERE = ["--address", "http://127.0.0.1:9"]
"""Where nothing listens: whatever asks there fails."""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands are typed in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SCYC_SWEEP_STORAGE", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ask(*words: str, storage: str = "/nfs/sweeps", name: str | None = None) -> Asked:
    """What `submit -- words` makes of them; parsed as it does."""
    command = words[0]
    _, bound, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
    kind, settings = KINDS[command], None
    if kind is not None:
        given = bound.arguments.get("given")
        given = {} if given is None else {each: getattr(given, each) for each in given.model_fields_set}
        settings = resolve(given, bound.arguments.get("config"), kind=kind)
    return submission.ask(words, command, bound.arguments, settings, storage_of(storage), name)


class TestWords:
    def test_a_sweep_goes_to_its_name_in_the_storage(self) -> None:
        asked = ask("oracle", "--model", "vgg19", "--runs", "2", "--data-dir", "/data")
        assert (asked.name, str(asked.folder)) == ("vgg19", "/nfs/sweeps/vgg19")
        assert asked.entrypoint == (
            "python -m sweep oracle --model vgg19 --runs 2 --data-dir /data --out /nfs/sweeps/vgg19"
        )
        asked = ask("oracle", name="night-1")
        assert (asked.name, asked.words[-2:]) == ("night-1", ["--out", "/nfs/sweeps/night-1"])

    def test_a_relative_storage_is_that_of_the_submitter(self, somewhere: Path) -> None:
        assert str(ask("oracle", storage="results").folder) == str(somewhere / "results" / "digits")
        assert ask("oracle", storage="s3://b/sweeps").folder == Remote("s3://b/sweeps/digits")

    def test_words_with_spaces_and_quotes_arrive_as_they_were_typed(self) -> None:
        asked = ask("oracle", "--max-lr", "0.1, 0.2", storage="s3://b/it's here")
        assert shlex.split(asked.entrypoint) == ["python", "-m", "sweep", *asked.words]
        assert "0.1, 0.2" in asked.words and "s3://b/it's here/digits" in asked.words

    @pytest.mark.parametrize("command", ["oracle", "schedules", "tune", "compare digits", "control digits"])
    @pytest.mark.parametrize("typed", [["--data-dir", "d"], ["--data-dir=d"], ["--data_dir", "d"], ["--data_dir=d"]])
    def test_a_relative_data_folder_is_that_of_the_submitter(
        self, somewhere: Path, command: str, typed: list[str]
    ) -> None:
        words = " ".join(ask(*command.split(), *typed).words).replace("=", " ")
        assert f"--data-dir {somewhere / 'd'}" in words and words.count("--data") == 1

    def test_so_is_that_of_a_config_file(self, somewhere: Path) -> None:
        (somewhere / "c.toml").write_text('data_dir = "d"\n')
        words = ask("oracle", "--config", "c.toml").words
        assert words[-2:] == ["--data-dir", str(somewhere / "d")]
        words = ask("oracle", "--config", "c.toml", "--data-dir", "e").words
        assert str(somewhere / "e") in words and str(somewhere / "d") not in words

    @pytest.mark.parametrize(
        ("storage", "flags", "wanted"),
        [
            ("/nfs/sweeps", ["--dataset", "fashion_mnist"], ["--data-dir", "/nfs/sweeps/data"]),
            ("s3://b/sweeps", ["--dataset", "fashion_mnist"], ["--data-dir", "~/scyc-sweep-data"]),
            ("/nfs/sweeps", [], []),  # digits come with scikit-learn
        ],
    )
    def test_by_default_data_outlive_the_job(self, storage: str, flags: list[str], wanted: list[str]) -> None:
        words = list(ask("oracle", *flags, storage=storage).words)
        assert words[words.index("--out") + 2 :] == wanted

    @pytest.mark.parametrize("typed", [["--oracle", "digits"], ["--oracle=digits"], ["--config", "c.toml"]])
    def test_the_oracle_of_a_tuning_may_be_a_name_of_the_storage(self, somewhere: Path, typed: list[str]) -> None:
        (somewhere / "c.toml").write_text('oracle = "digits"\n')
        words = " ".join(ask("tune", *typed, name="tuned").words).replace("=", " ")
        assert "--oracle /nfs/sweeps/digits" in words and words.count("--oracle") == 1

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            ("digits", "/nfs/sweeps/digits"),
            ("s3://other/digits", "s3://other/digits"),
            ("/elsewhere/digits", "/elsewhere/digits"),
        ],
    )
    def test_a_folder_may_be_a_name_of_the_storage_or_lie_elsewhere(self, typed: str, found: str) -> None:
        asked = ask("compare", typed, "--confirm", "2")
        assert list(asked.words) == ["compare", found, "--confirm", "2"]
        assert (asked.name, str(asked.folder)) == ("digits", found)
        assert list(ask("tune", "--oracle", typed).words)[:3] == ["tune", "--oracle", found]

    def test_a_relative_path_that_is_no_name_is_that_of_the_submitter(self, somewhere: Path) -> None:
        assert str(ask("compare", "results/digits").folder) == str(somewhere / "results" / "digits")

    @pytest.mark.parametrize(
        ("words", "position"),
        [
            (["compare", "compare", "--train"], 1),
            (["control", "control"], 1),
            (["compare", "--scyc", "paper", "paper"], 3),
            (["compare", "paper", "--scyc", "paper"], 1),
            (["compare", "--train", "digits"], 2),
            (["control", "random", "--pruning", "random"], 1),
        ],
    )
    def test_a_folder_may_be_called_as_anything_else_is(self, words: list[str], position: int) -> None:
        name = words[position]
        wanted = [*words[:position], f"/nfs/sweeps/{name}", *words[position + 1 :]]
        assert list(ask(*words).words) == wanted

    @pytest.mark.parametrize("spelling", ["{flag} {file}", "{flag}={file}"])
    def test_files_that_are_named_travel_along_under_a_name_of_their_own(self, somewhere: Path, spelling: str) -> None:
        for folder, content in (("a", "runs = 1"), ("b", "runs = 2")):
            (somewhere / folder).mkdir()
            (somewhere / folder / "c.toml").write_text(content)
        names = []
        for folder in "ab":
            asked = ask("oracle", *spelling.format(flag="--config", file=f"{folder}/c.toml").split())
            ((there, file),) = asked.files.items()
            assert file.read_text() == (somewhere / folder / "c.toml").read_text()
            assert there.endswith("-c.toml") and "/" not in there
            assert spelling.format(flag="--config", file=there) in asked.entrypoint
            names.append(there)
        assert names[0] != names[1]
        scyc = [*spelling.format(flag="--scyc", file="a/c.toml").split(), "--scyc", "0.1,0.2,1,4"]
        asked = ask("compare", "digits", *scyc)
        assert list(asked.files) == [names[0]]
        assert asked.entrypoint.endswith(f"{spelling.format(flag='--scyc', file=names[0])} --scyc 0.1,0.2,1,4")


class TestDigest:
    """The id follows from what was asked for: the same words mean the same job."""

    def test_how_it_is_carried_out_makes_no_other_job(self) -> None:
        flags = ["--workers", "max", "--cpus-per-worker", "2", "--gpus-per-worker", "0.5", "--device", "cuda"]
        flags += ["--wait-for-resources", "--data-dir", "d", "--download", "--engine", "inline"]
        assert ask("oracle", *flags).digest == ask("oracle").digest
        assert ask("compare", "digits", "--train", *flags).digest == ask("compare", "digits", "--train").digest

    def test_nor_do_order_spelling_and_what_is_the_default_anyway(self, somewhere: Path) -> None:
        (somewhere / "c.toml").write_text("runs = 2\n")
        wanted = ask("oracle", "--runs", "2", "--cycles", "3").digest
        for words in (
            ["--cycles", "3", "--runs", "2"],
            ["--cycles=3", "--runs=2"],
            ["--cycles", "3", "--config", "c.toml"],
            ["--runs", "2", "--cycles", "3", "--preset", "digits", "--json"],
        ):
            assert ask("oracle", *words).digest == wanted
        compare = ask("compare", "digits", "--confirm", "2", "--scyc", "paper").digest
        assert ask("compare", "--scyc=paper", "digits", "--confirm=2", "--json").digest == compare

    def test_settings_folder_and_command_do(self, somewhere: Path) -> None:
        for name in "ab":
            (somewhere / f"{name}.toml").write_text(f'schedule = "{name}"')
        found = [
            ask("oracle"),
            ask("oracle", "--runs", "2"),
            ask("oracle", "--cycles", "2"),
            ask("oracle", "--lanes", "2"),
            ask("oracle", name="other"),
            ask("oracle", storage="/other"),
            ask("schedules"),
            ask("tune"),
            ask("compare", "digits"),
            ask("compare", "digits", "--train"),
            ask("compare", "digits", "--confirm", "2"),
            ask("compare", "digits", "--confirm", "3"),
            ask("compare", "digits", "--scyc", "paper"),
            ask("compare", "digits", "--scyc", "a.toml"),
            ask("compare", "digits", "--scyc", "b.toml"),
            ask("compare", "other"),
            ask("control", "digits"),
            ask("control", "digits", "--pruning", "random"),
        ]
        assert len({asked.digest for asked in found}) == len(found)
        (somewhere / "a.toml").write_text("other content")
        assert ask("compare", "digits", "--scyc", "a.toml").digest not in {asked.digest for asked in found}

    def test_and_so_does_the_code_of_an_own_network(self, somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        found = set()
        for code in ("def small(shape, classes): ...", "def small(shape, classes): return None"):
            (somewhere / "digestnets.py").write_text(code)
            found.add(ask("oracle", "--preset", "digits", "--model", "digestnets:small").digest)
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
        ],
    )
    def test_flags_that_mean_nothing_there(self, somewhere: Path, words: list[str], said: str) -> None:
        (somewhere / "c.toml").write_text('address = "head:6379"')
        with pytest.raises(SweepError) as raised:
            ask(*words)
        assert str(raised.value).startswith(said) and "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        "name",
        [
            "../x",
            "a/b",
            ".",
            "..",
            "",
            "submissions",
            ".hidden",
            "-x",
            "a b",
            "x" * 81,
            "a\nb",
            "s3://b",
            "~",
            "\u00e4",
        ],
    )
    def test_names_that_lead_elsewhere(self, name: str) -> None:
        with pytest.raises(SettingsError, match="--name takes letters") as raised:
            folder_of(Path("/nfs"), name)
        assert "\n" not in str(raised.value)
        for words in (["oracle"], ["compare", "digits"]):
            with pytest.raises(SettingsError, match="--name takes letters"):
                ask(*words, name=name)

    @pytest.mark.parametrize("name", ["a", "night-1", "a..b", "A_1.x", "x" * 80, "9"])
    def test_and_names_that_do_not(self, name: str) -> None:
        assert folder_of(Path("/nfs"), name) == Path("/nfs") / name

    def test_a_folder_of_the_records(self) -> None:
        with pytest.raises(SettingsError, match="not submissions"):
            ask("compare", "submissions")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--", "nonsense"], "submit takes oracle, schedules, tune, compare, control after --, but got nonsense"),
            (["--", "show", "digits"], "submit takes oracle, schedules, tune, compare, control after --, but got show"),
            ([], "submit takes oracle, schedules, tune, compare, control after --, but got nothing"),
            (["--", "oracle", "--runs", "0"], "--runs must be at least 1, but got 0"),
            (["--", "oracle", "--max-lr", "1:0.1:x3"], "--max-lr: "),
            (["--", "oracle", "--model", "nonesuch:gone", "--preset", "digits"], "--model nonesuch:gone"),
            (["--", "oracle", "--rnus", "2"], "oracle has no flag --rnus; did you mean --runs?"),
            (["--", "oracle", "extra"], "oracle has no use for 'extra'"),
            (["--", "oracle", "--config", "gone.toml"], "gone.toml cannot be read"),
            (["--", "oracle", "--help"], "--help trains nothing"),
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


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


OWN = Path(str(sweep.__file__)).parents[1]
PACKAGES = ("search_spaces", "sweep", "trainables")


class TestParcel:
    @pytest.fixture
    def mine(self, somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A working folder with a module, a package, and much that is no code."""
        monkeypatch.setattr(sys, "path", list(sys.path))
        code = "def small(shape, classes): ...\n"
        for path, content in {
            "parcelnets.py": code,
            "parcelpkg/__init__.py": code,
            "parcelpkg/deep/__init__.py": code,
            "parcelpkg/deep/nets.py": code,
            "parcelpkg/table.csv": "1",
            "parcelpkg/data/images.npy": "much",
            "parcelpkg/results/x/manifest.json": "{}",
            "parcelpkg/.git/config": "",
            "parcelpkg/__pycache__/deep.pyc": "",
            "parcelpkg/rows.parquet": "",
            "parcelpkg/net.safetensors": "",
            "notes.txt": "mine",
        }.items():
            file = somewhere / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return somewhere

    def test_it_holds_this_project_and_nothing_else(self, mine: Path) -> None:
        own = {f"{package}/{path.name}" for package in PACKAGES for path in (OWN / package).glob("*.py")}
        with parcel(ask("oracle")) as folder:
            assert files_of(folder) == own | {"sweep/report.html"}
            for name in own:
                assert (folder / name).read_bytes() == (OWN / name).read_bytes()
        assert not folder.exists()

    @pytest.mark.parametrize(
        ("function", "brought"),
        [
            ("parcelnets:small", {"parcelnets.py"}),
            ("parcelpkg:small", {"parcelpkg/**"}),
            ("parcelpkg.deep:small", {"parcelpkg/**"}),
            ("parcelpkg.deep.nets:small", {"parcelpkg/**"}),
        ],
    )
    def test_an_own_network_brings_its_module_or_package_without_data_and_results(
        self, mine: Path, function: str, brought: set[str]
    ) -> None:
        if brought == {"parcelpkg/**"}:
            brought = {f"parcelpkg/{name}" for name in ("__init__.py", "deep/__init__.py", "deep/nets.py", "table.csv")}
        (mine / "c.toml").write_text("runs = 1")
        asked = ask("oracle", "--preset", "digits", "--model", function, "--config", "c.toml")
        with parcel(asked) as folder:
            rest = {name for name in files_of(folder) if name.partition("/")[0] not in PACKAGES}
            assert rest == brought | set(asked.files)
            assert (folder / next(iter(asked.files))).read_text() == "runs = 1"

    def test_an_own_data_set_does_likewise(self, mine: Path) -> None:
        with parcel(ask("oracle", "--dataset", "parcelnets:small")) as folder:
            assert (folder / "parcelnets.py").exists()

    def test_too_much_is_refused_naming_whose_it_is(self, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submission, "PARCEL_BYTES", 3_000_000)
        with parcel(ask("oracle")):
            pass
        with (mine / "parcelpkg" / "large.bin").open("wb") as file:
            file.truncate(3_000_000)
        asked = ask("oracle", "--preset", "digits", "--model", "parcelpkg:small")
        with (
            pytest.raises(SweepError, match="parcelpkg:small: the package holds 4 MB, at most 3 are sent"),
            parcel(asked),
        ):
            raise AssertionError

    def test_unpacked_alone_it_runs(self, mine: Path) -> None:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        code = (
            "import runpy, sys, sweep, trainables, search_spaces\n"
            "sys.argv = 'sweep trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4 --cycles 13 --json'.split()\n"
            "try: runpy.run_module('sweep', run_name='__main__', alter_sys=True)\n"
            "except SystemExit as ended: assert not ended.code\n"
            "print([each.__file__ for each in (sweep, trainables, search_spaces)])"
        )
        with parcel(ask("oracle")) as folder:
            done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert '"percent_remaining": [' in done.stdout and done.stdout.count(f"{folder}/") == 3


class TestRecords:
    def made(self, asked: Asked, attempt: int = 1, at: str = "2026-01-01T00:00:00+00:00") -> Submission:
        new = submission.new(asked, attempt, "http://head:8265")
        return Submission(**{**vars(new), "submitted_at": at})

    def test_the_id_names_what_was_asked_for_and_the_attempt(self) -> None:
        asked = ask("oracle", name="night")
        made = self.made(asked, 3)
        assert made.id == f"night-oracle-{asked.digest}-3" and made.stem == f"night-oracle-{asked.digest}"
        assert (made.folder, made.entrypoint) == ("/nfs/sweeps/night", asked.entrypoint)

    @pytest.mark.parametrize("kind", ["folder", "bucket"])
    def test_what_is_written_is_read_oldest_first_and_what_is_no_record_is_passed_over(
        self, request: pytest.FixtureRequest, tmp_path: Path, kind: str
    ) -> None:
        storage = tmp_path / "new" / "s" if kind == "folder" else locate(f"{request.getfixturevalue('bucket')}/s")
        assert records(storage) == []
        asked = ask("oracle")
        wanted = [
            self.made(asked, 2, "2026-01-01T00:00:00+00:00"),
            self.made(asked, 10, "2026-01-01T00:00:00+00:00"),
            self.made(asked, 1, "2026-01-02T00:00:00+00:00"),
        ]
        for each in reversed(wanted):
            write_record(storage, each)
        for name, content in {
            "half.json": '{"name": "di',
            "list.json": "[1, 2]",
            "null.json": "null",
            "other.json": '{"name": "digits"}',
            "more.json": json.dumps({**vars(wanted[0]), "colour": "red"}),
            "notes.txt": "mine",
        }.items():
            (storage / "submissions" / name).write_text(content)
        assert records(storage) == wanted

    def test_a_storage_that_cannot_be_written_is_one_clear_line(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("a file")
        with pytest.raises(FolderError, match="cannot be written"):
            write_record(tmp_path / "s", self.made(ask("oracle")))


def test_the_environment_of_a_job_names_its_record_and_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "a-secret")
    storage = storage_of("s3://b/sweeps")
    made = submission.new(ask("oracle", storage="s3://b/sweeps"), 1, "http://head:8265")
    found = submission.environment(made, storage)
    assert found[lock.SUBMISSION] == f"s3://b/sweeps/submissions/{made.id}.json"
    assert set(found) <= {lock.SUBMISSION, submission.COMMIT} and "a-secret" not in json.dumps(vars(made) | found)


class TestDryRun:
    def test_it_says_the_same_each_time_and_leaves_nothing_behind(self, here: Run, somewhere: Path) -> None:
        words = ["submit", "--dry-run", "--storage", "s3://b/sweeps", "--", "oracle", "--runs", "2"]
        one, two = (here(*words) for _ in range(2))
        assert one.returncode == two.returncode == 0 and one.stdout == two.stdout and one.stderr == ""
        assert list(somewhere.iterdir()) == []
        entrypoint, _, content = one.stdout.partition("\n")
        assert entrypoint == "python -m sweep oracle --runs 2 --out s3://b/sweeps/digits"
        found = json.loads(content)
        assert found["folder"] == "s3://b/sweeps/digits"
        assert (
            found["submission_id"] == f"digits-oracle-{ask('oracle', '--runs', '2', storage='s3://b/sweeps').digest}-1"
        )
        brought = found["runtime_env"]["working_dir"]
        assert brought == sorted(brought) and "sweep/__main__.py" in brought and "sweep/report.html" in brought

    def test_it_asks_no_head_and_loads_neither_ray_nor_torch(self, somewhere: Path) -> None:
        code = (
            "import sys; sys.argv = ['scyc-sweep', 'submit', '--dry-run', '--address', 'http://127.0.0.1:9',"
            " '--', 'oracle']\n"
            "from sweep.cli.main import main\n"
            "try: main()\n"
            "except SystemExit as ended: assert not ended.code\n"
            "print(sorted({'ray', 'torch', 'optuna'} & set(sys.modules)), file=sys.stderr)"
        )
        env = {**os.environ, "PYTHONPATH": str(OWN)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 0 and done.stderr.strip() == "[]", done.stderr

    def test_the_storage_may_come_from_the_environment(self, here: Run) -> None:
        ran = here("submit", "--dry-run", "--", "oracle", env={"SCYC_SWEEP_STORAGE": "s3://b/mine"})
        assert "--out s3://b/mine/digits" in ran.stdout


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
        assert ran.returncode == 2 and "holds an earlier oracle, not what `schedules` leaves" in ran.stderr

    def test_what_goes_to_a_given_folder_takes_no_name(self, here: Run, begun: Path) -> None:
        ran = here("submit", "--storage", begun, "--name", "mine", *NOWHERE, "--", "compare", "digits", "--train")
        assert ran.returncode == 2 and "--name: what compare finds goes to the folder" in ran.stderr

    @pytest.mark.parametrize("flag", ["--name=x", "--wait", "--storage", "--dry-run"])
    def test_flags_of_submit_after_the_dashes_say_where_they_stand(self, here: Run, flag: str) -> None:
        ran = here("submit", *NOWHERE, "--", "oracle", flag)
        assert ran.returncode == 2 and f"{flag.partition('=')[0]} stands before --" in ran.stderr


def test_what_an_own_module_imports_from_beside_it_travels_along(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(somewhere))
    (somewhere / "beside").mkdir()
    (somewhere / "beside" / "__init__.py").write_text("import deeper_helper")
    (somewhere / "deeper_helper.py").write_text("import torch")
    (somewhere / "not_needed.py").write_text("")
    (somewhere / "helpednets.py").write_text("import beside\n\n\ndef small(shape, classes): ...")
    with parcel(ask("oracle", "--preset", "digits", "--model", "helpednets:small")) as folder:
        own = {path.name for path in folder.iterdir()} - {"sweep", "trainables", "search_spaces"}
    assert own == {"helpednets.py", "beside", "deeper_helper.py"}


def test_code_travels_along_from_folders_that_are_left_out_elsewhere_too(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("torch.py", "mypkg/__init__.py", "mypkg/data/__init__.py", "mypkg/data/sets.py", "mypkg/data/x.npy"):
        (somewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (somewhere / name).write_text("")
    (somewhere / "mypkg" / "nets.py").write_text("import torch\nfrom .data import sets\ndef small(shape, classes): ...")
    with parcel(ask("oracle", "--preset", "digits", "--model", "mypkg.nets:small")) as folder:
        own = {name for name in files_of(folder) if name.partition("/")[0] not in PACKAGES}
    assert own == {f"mypkg/{name}" for name in ("__init__.py", "nets.py", "data/__init__.py", "data/sets.py")}


@pytest.mark.parametrize(
    ("words", "brought"),
    [
        (["compare", "digits"], set()),
        (["compare", "digits", "--train"], {"nets.py", "helper.py", "pics.py"}),
        (["compare", "digits", "--confirm", "2"], {"nets.py", "helper.py", "pics.py"}),
        (["control", "digits"], {"nets.py", "helper.py", "pics.py"}),
    ],
)
def test_what_trains_beside_a_folder_brings_along_what_that_was_trained_with(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], brought: set[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, text in {"nets.py": "import helper", "helper.py": "", "pics.py": "", "other.py": ""}.items():
        (somewhere / name).write_text(text)
    settings = resolve({"preset": "digits", "model": "nets:small", "dataset": "pics:load", "out": "s/digits"})
    (somewhere / "s" / "digits").mkdir(parents=True)
    manifest = new_manifest("oracle", settings, "fingerprint", [], None)
    Folder(somewhere / "s" / "digits").write_manifest(manifest)
    with parcel(ask(*words, storage=str(somewhere / "s"))) as folder:
        assert {name for name in files_of(folder) if name.partition("/")[0] not in PACKAGES} == brought


def test_the_address_that_is_given_counts_and_not_what_ray_reads_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sweep.cluster import jobs_api as cluster

    seen: list[tuple[str, set[str]]] = []
    names = {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"}
    monkeypatch.setattr(cluster, "check_reachable", lambda *address: None)
    monkeypatch.setattr(cluster, "JobSubmissionClient", lambda address: seen.append((address, names & {*os.environ})))
    for name in names:
        monkeypatch.setenv(name, "http://elsewhere:8265")
    cluster.Cluster("head:8265")
    assert seen == [("http://head:8265", set())] and names <= {*os.environ}
    assert cluster.Cluster(None).address == "http://elsewhere:8265"


def test_jobs_are_those_of_a_folder_and_not_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from sweep.cluster import jobs_api as cluster

    def job(number: int, folder: str) -> SimpleNamespace:
        metadata = {cluster.NAME: "digits", cluster.FOLDER: folder}
        return SimpleNamespace(submission_id=str(number), metadata=metadata, start_time=number)

    foreign = SimpleNamespace(submission_id="x", metadata={}, start_time=0)
    jobs = [job(2, "s3://a/digits"), job(1, "s3://b/digits"), job(0, "s3://a/digits"), foreign]
    monkeypatch.setattr(cluster, "check_reachable", lambda *address: None)
    monkeypatch.setattr(cluster, "JobSubmissionClient", lambda address: SimpleNamespace(list_jobs=lambda: jobs))
    there = cluster.Cluster("http://head:8265")
    assert [each.submission_id for each in there.jobs("s3://a/digits")] == ["0", "2"]
    assert [each.submission_id for each in there.jobs()] == ["0", "1", "2"]
