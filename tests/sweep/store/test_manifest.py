"""The manifest: what is damaged, made by hand or of another version is one line in words of our own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.config.named_scyc import read as read_scyc
from sweep.config.settings import Settings, read_toml, resolve
from sweep.errors import FolderError, SpecError
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings
from sweep.store.folder import Folder
from sweep.store.provenance import new_manifest
from sweep.store.manifest import digest_of

PLANS = {"oracle": [0.1] * 16, "trajectories": {"S-Cyc": [0.1] * 16}, "held_out": True}
DEEP = 100_000


@pytest.fixture
def manifest(make_spec: Callable[..., Settings]) -> dict[str, Any]:
    found = new_manifest("oracle", make_spec(), "fingerprint", ["first"], None)
    return json.loads(json.dumps(new_manifest("oracle", make_spec(), "fingerprint", ["second"], found)))


def put(folder: Path, content: dict[str, Any]) -> None:
    """Write a manifest by hand: whatever it says, its digest is right."""
    (folder / "manifest.json").write_text(json.dumps(content | {"digest": digest_of(content)}))


def refused(folder: Path) -> str:
    with pytest.raises(FolderError) as raised:
        Folder(folder).manifest()
    said = str(raised.value)
    assert said.startswith(str(folder / "manifest.json")) and "\n" not in said
    assert "pydantic" not in said and "http" not in said and len(said) < 600
    return said.removeprefix(f"{folder / 'manifest.json'} ")


@pytest.mark.parametrize("kind", ["oracle", "tuning", "schedules", "trained"])
def test_it_reads_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    folder = Folder(tmp_path)
    assert folder.manifest() is None
    given = {"out": tmp_path / "x", "rewind": 3, "gpus_per_worker": 0.5}
    settings: Settings = resolve(
        given, kind={"tuning": TuningSettings, "schedules": SchedulesSettings}.get(kind, Settings)
    )
    written = new_manifest(kind, settings, "fingerprint", ["scyc-sweep", "a\udc80b"], None)
    folder.write_manifest(written | ({"plans": PLANS} if kind == "trained" else {}))
    found = folder.manifest()
    assert found is not None and digest_of(found) == found.pop("digest")
    assert found == json.loads(json.dumps(written)) | {"plans": PLANS if kind == "trained" else None}
    folder.write_manifest(found)
    assert folder.manifest() == found | {"digest": digest_of(found)}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_every_changed_letter_is_noticed_or_changes_nothing(tmp_path: Path, manifest: dict[str, Any]) -> None:
    folder = Folder(tmp_path)
    folder.write_manifest(manifest)
    content, before = (tmp_path / "manifest.json").read_bytes(), folder.manifest()
    noticed = 0
    for at in range(0, len(content), 7):
        (tmp_path / "manifest.json").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            assert folder.manifest() == before
        except FolderError as error:
            assert "\n" not in str(error)
            noticed += 1
    assert noticed > 100
    put(tmp_path, manifest)
    content = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(content.replace(b"fingerprint", b"fingerprinz"))
    assert refused(tmp_path) == (
        "is damaged (its content does not fit its digest): put back a copy of it, or remove it and run the sweep's "
        "command again: its finished lanes are found by their keys"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema_version": 2, "settings"', "is damaged"),
        ("", "is damaged"),
        ("\udcff", "is damaged"),
        ("[1]", "is not a manifest of scyc-sweep"),
        ('{"name": "something else"}', "is not a manifest of scyc-sweep"),
        ('{"schema_version": 3}', "has schema version 3, this scyc-sweep reads version 2: use a newer scyc-sweep"),
        (
            '{"schema_version": 1}',
            "has schema version 1, this scyc-sweep reads version 2: use the scyc-sweep that wrote",
        ),
        ('{"schema_version": "2"}', "has schema version 2"),
        ('{"schema_version": NaN}', "is damaged (NaN is no number of a manifest)"),
        ('{"schema_version": ' + "9" * 5000 + "}", "is damaged"),
        ("[" * DEEP, "is damaged (nested too deeply)"),
        ('{"a":' * DEEP, "is damaged (nested too deeply)"),
    ],
)
def test_one_that_is_damaged_foreign_or_of_another_version_is_refused_and_named(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert refused(tmp_path).startswith(words)


STRANGE: list[Any] = [None, True, -1, 10**12, 0.5, "text", [], [1], {}, {"a": 1}]


def test_a_value_of_another_type_is_one_line_wherever_it_stands(tmp_path: Path, manifest: dict[str, Any]) -> None:
    """A key removed, or each strange value in its place: refused, or it is a manifest of the same types."""
    places = [(manifest, name) for name in manifest]
    places += [
        (manifest[part], name) for part in ("settings", "identity", "hardware", "versions") for name in manifest[part]
    ]
    places += [(manifest["earlier_sessions"][0], name) for name in manifest["earlier_sessions"][0]]
    refusals = 0
    for parent, name in places:
        whole = parent[name]
        del parent[name]
        for value in [..., *STRANGE]:
            if value is not ...:
                parent[name] = value
            put(tmp_path, manifest)
            try:
                found = Folder(tmp_path).manifest()
                assert found is not None
                assert found.keys() == manifest.keys() | {"digest", "given", "plans"}
            except FolderError as error:
                assert "\n" not in str(error) and "pydantic" not in str(error)
                refusals += 1
        parent[name] = whole
    assert refusals > 6 * len(places)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("more", 1, "is damaged (unknown key more)"),
        ("settings.more", 1, "is damaged (unknown key more)"),
        (
            "settings.runs",
            10**12,
            "is damaged (runs: input should be less than or equal to 10000, but got 1000000000000)",
        ),
        ("settings.cycles", 10**9, "is damaged (cycles: input should be less than or equal to 1000"),
        ("settings.max_lr", "0.001:1:x9999", "is damaged (a cycle may have at most 200,000 lanes"),
        ("settings.runs", "5", "is damaged (settings is not as it was written)"),
        ("settings.runs", True, "is damaged (settings is not as it was written)"),
        ("settings.prune_rate", 2, "is damaged (prune_rate: input should be less than 1, but got 2)"),
        ("settings.tolerance", None, "is damaged (tolerance: input should be a valid number, but got None)"),
        ("settings", [], "is damaged (settings: input should be a valid dictionary, but got [])"),
        ("identity", {}, "is damaged (identity must say data and training_version)"),
        ("hardware.cores", "many", "is damaged (hardware.cores: input should be a valid integer, but got 'many')"),
        ("started_at", "yesterday", "is damaged (started_at: Invalid isoformat string: 'yesterday')"),
        ("started_at", "2026-01-01T00:00:00", "is damaged (started_at: a time must have a time zone)"),
        ("lanes", [1, -1], "is damaged (lanes.1: input should be greater than or equal to 0, but got -1)"),
        ("kind", "trained", "is damaged (a trained comparison, and no other kind, has plans)"),
        ("settings.model", "evil.sub:f", "is damaged (identity must say the model_files of the user's own network)"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, manifest: dict[str, Any], make_spec: Callable[..., Settings], where: str, value: Any, said: str
) -> None:
    manifest["settings"] = make_spec(runs=21).model_dump(mode="json")
    *parents, name = where.split(".")
    part = manifest
    for parent in parents:
        part = part[parent]
    part[name] = value
    put(tmp_path, manifest)
    assert refused(tmp_path).startswith(said)


def test_a_tuning_of_more_lanes_than_memory_is_refused() -> None:
    with pytest.raises(SpecError, match=r"a cycle may have at most 200,000 lanes .* but got 25,000,000"):
        resolve({"lanes": 10_000, "runs": 5_000, "by": "joint"}, kind=TuningSettings)


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, manifest: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="runs"):
        Folder(tmp_path).write_manifest(manifest | {"runs": 1})
    assert list(tmp_path.iterdir()) == []


def test_toml_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scyc.toml").write_text("epsilon = " + "[" * DEEP)
    with pytest.raises(SpecError, match="it is nested too deeply"):
        read_toml(tmp_path / "scyc.toml")
    with pytest.raises(SpecError, match="cannot be read: it is nested too deeply"):
        read_scyc(tmp_path / "scyc.toml")
