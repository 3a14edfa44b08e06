"""A job's request: what is read back is what was written, and the settings of the job are those of the submitter."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.cluster.document import Document, Request
from sweep.cluster.job import read_request, sweeps_of
from sweep.config.resolve import resolve
from sweep.config.settings import EXECUTION, Settings
from sweep.errors import SettingsError
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.registry import settings_class
from sweep.experiments.validation.settings import ValidationSettings

RATES = st.floats(1e-6, 10, allow_subnormal=False)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "preset": st.sampled_from(["digits", "mlp", "vgg19", "resnet20-adam"]),
    "cycles": st.integers(3, 40),
    "runs": st.integers(1, 30),
    "seed": st.integers(0, 2**63 - 1),
    "max_lr": RATES | st.sampled_from(["0.001:1:x25", "0.1:0.5:0.1", "0.01,0.3"]),
    "steps": st.integers(100, 10**6),
    "scale": st.floats(0.5, 2),
    "tolerance": st.floats(0, 99),
    "weight_decay": st.floats(0, 1),
    "prune_rate": st.floats(0.01, 0.99),
    "pruning": st.sampled_from(["imp", "global_magnitude", "layer_gradient"]),
    "split": st.sampled_from(["pooled", "fixed_test"]),
    "lanes": st.sampled_from(["auto", 1, 7]),
    "workers": st.sampled_from(["auto", "max", 3]),
    "gpus_per_worker": st.none() | st.floats(0.1, 1),
    "data_dir": st.sampled_from(["data", "/nfs/data", "~/data", "\u00e4 b"]),
    "out": st.none() | st.sampled_from(["o", "s3://b/o", "gs://b/it's here"]),
    "keep_output": st.booleans(),
}
OWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "oracle": {"decide": st.sampled_from(["shared", "per_run"]), "histograms": st.booleans()},
    "tune": {"trials": st.integers(3, 50), "q": st.just("1:3"), "oracle": st.none() | st.just("/nfs/o")},
    "schedules": {"schedules": st.just(("constant=0.1", "scyc=0.1,0.2,1,4", "warmup-2=0.05"))},
}


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[str, Settings]:
    """An experiment with settings that a user might give."""
    experiment = draw(st.sampled_from([*OWN, "compare"]))
    typed = draw(st.fixed_dictionaries(OWN.get(experiment, {}), optional=COMMON))
    if experiment != "compare":
        return experiment, resolve(typed, kind=settings_class(experiment))
    oracle = resolve(typed, kind=OracleSettings)
    rates = st.lists(RATES, min_size=oracle.cycles + 1, max_size=oracle.cycles + 1).map(tuple)
    beside = {
        "oracle": draw(st.sampled_from(["/nfs/o", "s3://b/o"])),
        "held_out": draw(st.booleans()),
        "choices": draw(rates),
        "trajectories": draw(st.dictionaries(st.text(max_size=9), rates, max_size=2)),
    }
    return experiment, ValidationSettings.of(oracle, beside)


def written(request: Request, folder: Path) -> Path:
    path = folder / "request.json"
    path.write_text(request.model_dump_json())
    return path


@given(
    asked=st.lists(sweeps(), min_size=1, max_size=2), command=st.lists(st.text(st.characters(), max_size=9), max_size=3)
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_job_gets_the_settings_that_were_resolved_where_it_was_submitted(
    tmp_path: Path, asked: list[tuple[str, Settings]], command: list[str]
) -> None:
    request = Request.of(command, asked)
    found = read_request(written(request, tmp_path))
    assert found == request and found.digest == request.digest
    assert [(experiment.name, settings) for experiment, settings in sweeps_of(found)] == asked
    assert [type(settings) for _, settings in sweeps_of(found)] == [type(settings) for _, settings in asked]


def request_of(**typed: Any) -> Request:
    return Request.of(["scyc-sweep"], [("oracle", resolve(typed, kind=OracleSettings))])


def changed(folder: Path, change: Any) -> Path:
    content = request_of().model_dump(mode="json")
    change(content)
    path = folder / "request.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(version=2), "version"),
        (lambda r: r.update(colour="red"), "colour"),
        (lambda r: r.pop("documents"), "documents"),
        (lambda r: r.update(documents=[]), "documents"),
        (lambda r: r.update(command="scyc-sweep"), "command"),
        (lambda r: r["documents"][0].update(colour="red"), "documents.0.colour"),
        (lambda r: r["documents"][0].pop("model_files"), "documents.0.model_files"),
        (lambda r: r["documents"][0].update(reference="os.system"), "documents.0.reference"),
        (lambda r: r["documents"][0].update(settings=[1]), "documents.0.settings"),
        (lambda r: r["documents"][0].update(reference="os:system"), "os:system is not the experiment 'oracle'"),
        (lambda r: r["documents"][0].update(reference="no_module:X"), "no_module:X cannot be imported"),
        (lambda r: r["documents"][0].update(reference="sweep.experiments.tuning.experiment:EXPERIMENT"), "is not the"),
        (lambda r: r["documents"][0].update(experiment="tune"), "is not the experiment 'tune'"),
        (lambda r: r["documents"][0]["settings"].update(colour="red"), "colour"),
        (lambda r: r["documents"][0]["settings"].pop("runs"), "lacks settings: runs"),
        (lambda r: r["documents"][0]["settings"].update(runs="two"), "--runs takes a whole number, but got 'two'"),
        (lambda r: r["documents"][0]["settings"].update(runs=0), "--runs must be at least 1, but got 0"),
        (lambda r: r["documents"][0]["settings"].update(runs=2.5), "--runs takes a whole number"),
        (lambda r: r["documents"][0].update(model_files={"nets.py": "0"}), "code"),
    ],
)
def test_a_request_with_an_unknown_or_damaged_field_is_refused_in_one_line(
    tmp_path: Path, change: Any, said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        sweeps_of(read_request(changed(tmp_path, change)))
    assert said in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff", '{"version": NaN}', "[" * 100_000])
def test_so_is_a_file_that_is_no_request(tmp_path: Path, content: str) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"request\.json is no request of this version: ") as raised:
        read_request(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_request(tmp_path / "gone.json")


def test_it_cannot_be_changed() -> None:
    request = request_of()
    for part in (request, request.documents[0]):
        with pytest.raises(ValueError, match="frozen"):
            part.version = 1  # type: ignore[misc,union-attr]


def test_the_digest_is_of_what_is_asked_for_and_not_of_how_it_is_carried_out() -> None:
    wanted = request_of().digest
    assert (
        len(wanted) == 8
        and wanted == Request.of(["other", "words"], [("oracle", resolve({}, kind=OracleSettings))]).digest
    )
    how: dict[str, Any] = {
        "data_dir": "d",
        "download": True,
        "engine": "inline",
        "workers": "max",
        "cpus_per_worker": 2,
        "gpus_per_worker": 0.5,
        "wait_for_resources": True,
        "device": "cuda",
    }
    assert {*how, "address"} == {*EXECUTION}
    assert request_of(**how).digest == request_of(address="h:1").digest == wanted
    others = [request_of(**each).digest for each in ({"runs": 2}, {"lanes": 2}, {"out": "o"}, {"tolerance": 0.25})]
    twice = Request.of([], [("oracle", resolve({}, kind=OracleSettings))] * 2).digest
    assert len({wanted, twice, *others}) == 6


def test_a_document_names_the_users_own_code_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "documentnets.py").write_text("def small(shape, classes): ...")
    settings = resolve({"preset": "digits", "model": "documentnets:small", "dataset": "pics:load"}, kind=OracleSettings)
    document = Document.of("oracle", settings)
    assert document.modules == ["documentnets:small", "pics:load"] and {*document.model_files} == {"documentnets.py"}
    assert request_of().modules == []
    request = Request.of([], [("oracle", settings)] * 2)
    assert request.modules == document.modules
    assert [settings for _, settings in sweeps_of(request)] == [settings] * 2
    (tmp_path / "documentnets.py").write_text("def small(shape, classes): return None")
    with pytest.raises(SettingsError, match="--model documentnets:small: its code"):
        sweeps_of(request)
