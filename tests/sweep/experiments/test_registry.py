"""The registry: what it says of each experiment is so, and a manifest's settings are checked before they are used."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sweep.experiments
from sweep.config.settings import EXECUTION, Settings
from sweep.errors import FolderError
from sweep.experiments import registry
from sweep.experiments.base import Experiment
from sweep.experiments.registry import EXPERIMENTS, manifest_of
from sweep.experiments.results import Results
from sweep.store.folder import Folder
from sweep.store.manifest import digest_of
from sweep.store.provenance import new_manifest

NAMES = pytest.mark.parametrize("name", EXPERIMENTS)
HERE = Path(sweep.experiments.__file__).parent
FILES = {"__init__", "settings", "strategy", "results", "tables", "views", "figures", "experiment"}
"""What each experiment's folder has; it may have more."""


class TestEntries:
    @NAMES
    def test_names_and_settings_are_those_of_the_experiment(self, name: str) -> None:
        found = registry.experiment(name)
        assert isinstance(found, Experiment) and issubclass(found.results, Results)
        assert found.name == found.results.kind == name
        assert registry.settings_class(name) is found.settings and issubclass(found.settings, Settings)
        assert found.results.strategy is found.strategy

    @NAMES
    def test_tables_and_figures_have_names_of_their_own(self, name: str) -> None:
        found = registry.experiment(name)
        names = [table.name for table in found.tables]
        assert len(set(names)) == len(names) and found.views
        assert all("/" not in figure for figure in found.figures)

    def test_every_experiment_is_a_folder_with_the_same_file_names(self) -> None:
        folders = {path.parent for path in HERE.glob("*/experiment.py")}
        modules = {HERE / entry.experiment.split(".")[2] for entry in EXPERIMENTS.values()}
        assert folders == modules and len(modules) == len(EXPERIMENTS)
        for folder in folders:
            assert {path.stem for path in folder.glob("*.py")} >= FILES, folder

    def test_naming_experiments_and_their_settings_imports_nothing_that_takes_long(self) -> None:
        slow = "{'torch', 'ray', 'pandas', 'optuna', 'matplotlib', 'scipy', 'pyarrow'}"
        code = (
            "import sys; from sweep.experiments import registry\n"
            "assert sorted(registry.EXPERIMENTS)\n"
            "early = [name for name in sys.modules if name.startswith('sweep.experiments.')]\n"
            f"print(sorted({slow} & sys.modules.keys()), early)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert ran.stdout == "[] ['sweep.experiments.registry']\n", ran

    @NAMES
    def test_an_experiment_whose_module_cannot_be_imported_hides_no_other(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = registry.Entry("nowhere:Settings", "nowhere:EXPERIMENT")
        monkeypatch.setitem(EXPERIMENTS, "broken", broken)
        assert registry.experiment(name).name == name
        with pytest.raises(ModuleNotFoundError):
            registry.experiment("broken")


def put(folder: Path, content: dict[str, Any]) -> None:
    """Write a manifest by hand: whatever it says, its digest is right."""
    (folder / "manifest.json").write_text(json.dumps(content | {"digest": digest_of(content)}))


def refused(folder: Path) -> str:
    with pytest.raises(FolderError) as raised:
        manifest_of(Folder(folder))
    said = str(raised.value)
    assert "\n" not in said and "pydantic" not in said and "http" not in said and len(said) < 600
    return said.removeprefix(f"{folder / 'manifest.json'} ")


STRANGE: list[Any] = [None, True, -1, 10**12, 0.5, "text", [], [1], {}, {"a": 1}]


class TestSettingsOfAManifest:
    @pytest.fixture
    def manifest(self, make_spec: Callable[..., Settings]) -> dict[str, Any]:
        return json.loads(json.dumps(new_manifest("oracle", make_spec(runs=21), "fingerprint", [], None)))

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("more", 1, "is damaged (unknown key more)"),
            ("runs", 10**12, "is damaged (runs: input should be less than or equal to 10000, but got 1000000000000)"),
            ("cycles", 10**9, "is damaged (cycles: input should be less than or equal to 1000"),
            ("max_lr", "0.001:1:x9999", "is damaged (a cycle may have at most 200,000 lanes"),
            ("runs", "5", "is damaged (settings are not as they were written)"),
            ("runs", True, "is damaged (settings are not as they were written)"),
            ("prune_rate", 2, "is damaged (prune_rate: input should be less than 1, but got 2)"),
            ("tolerance", None, "is damaged (tolerance: input should be a valid number, but got None)"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, tmp_path: Path, manifest: dict[str, Any], name: str, value: Any, said: str
    ) -> None:
        manifest["settings"][name] = value
        put(tmp_path, manifest)
        assert refused(tmp_path).startswith(said)

    def test_one_that_is_left_out_is_damage_even_if_it_has_a_default(
        self, tmp_path: Path, manifest: dict[str, Any]
    ) -> None:
        assert "tolerance" not in EXECUTION
        del manifest["settings"]["tolerance"]
        put(tmp_path, manifest)
        assert refused(tmp_path).startswith("is damaged (settings are not as they were written)")

    def test_a_value_of_another_type_is_one_line_wherever_it_stands(
        self, tmp_path: Path, manifest: dict[str, Any]
    ) -> None:
        """A key removed, or each strange value in its place: refused, or the settings are as they were written."""
        given = manifest["settings"]
        refusals = 0
        for name in list(given):
            whole = given.pop(name)
            for value in [..., *STRANGE]:
                if value is not ...:
                    given[name] = value
                put(tmp_path, manifest)
                try:
                    found = manifest_of(Folder(tmp_path))
                    assert found is not None and found["settings"] == given
                except FolderError as error:
                    assert "\n" not in str(error) and "pydantic" not in str(error)
                    refusals += 1
            given[name] = whole
        assert refusals > 6 * len(given)

    def test_results_of_an_unknown_experiment_are_named_beside_those_that_are_known(
        self, tmp_path: Path, manifest: dict[str, Any]
    ) -> None:
        put(tmp_path, manifest | {"kind": "toy"})
        said = refused(tmp_path)
        assert "holds the results of 'toy'" in said and "oracle, tune, schedules, compare" in said

    def test_the_settings_of_another_experiment_are_damage(self, tmp_path: Path, manifest: dict[str, Any]) -> None:
        put(tmp_path, manifest | {"kind": "tune"})
        assert refused(tmp_path).startswith("is damaged (settings are not as they were written)")

    def test_a_folder_without_a_manifest_has_none(self, tmp_path: Path) -> None:
        assert manifest_of(Folder(tmp_path)) is None
