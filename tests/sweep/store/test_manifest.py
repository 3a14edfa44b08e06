"""The manifest: what is damaged, made by hand or of another version is one line in words of our own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.config.named_scyc import read as read_scyc
from sweep.config.resolve import read_toml, resolve
from sweep.config.settings import Settings
from sweep.errors import FolderError, SettingsError
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings
from sweep.store.folder import Folder
from sweep.store.manifest import digest_of
from sweep.store.provenance import new_manifest

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


@pytest.mark.parametrize("kind", ["oracle", "tune", "schedules", "of somebody else"])
def test_it_reads_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    folder = Folder(tmp_path)
    assert folder.manifest() is None
    given = {"out": tmp_path / "x", "rewind": 3, "gpus_per_worker": 0.5}
    settings: Settings = resolve(
        given, kind={"tune": TuningSettings, "schedules": SchedulesSettings}.get(kind, Settings)
    )
    written = new_manifest(kind, settings, "fingerprint", ["scyc-sweep", "a\udc80b"], None)
    folder.write_manifest(written)
    found = folder.manifest()
    assert found is not None and digest_of(found) == found.pop("digest")
    assert found == json.loads(json.dumps(written))
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
        ('{"schema_version": 3, "settings"', "is damaged"),
        ("", "is damaged"),
        ("\udcff", "is damaged"),
        ("[1]", "is not a manifest of scyc-sweep"),
        ('{"name": "something else"}', "is not a manifest of scyc-sweep"),
        ('{"schema_version": 4}', "has schema version 4, this scyc-sweep reads version 3: use a newer scyc-sweep"),
        (
            '{"schema_version": 1}',
            "has schema version 1, this scyc-sweep reads version 3: use the scyc-sweep that wrote",
        ),
        ('{"schema_version": "3"}', "has schema version 3"),
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
    places += [(manifest[part], name) for part in ("identity", "hardware", "versions") for name in manifest[part]]
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
                assert found.keys() == manifest.keys() | {"digest"}
            except FolderError as error:
                assert "\n" not in str(error) and "pydantic" not in str(error)
                refusals += 1
        parent[name] = whole
    assert refusals > 5 * len(places)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("more", 1, "is damaged (unknown key more)"),
        ("settings", [], "is damaged (settings: input should be a valid dictionary, but got [])"),
        ("identity", {}, "is damaged (identity must say data and training_version)"),
        ("hardware.cores", "many", "is damaged (hardware.cores: input should be a valid integer, but got 'many')"),
        ("started_at", "yesterday", "is damaged (started_at: Invalid isoformat string: 'yesterday')"),
        ("started_at", "2026-01-01T00:00:00", "is damaged (started_at: a time must have a time zone)"),
        ("lanes", [1, -1], "is damaged (lanes.1: input should be greater than or equal to 0, but got -1)"),
        ("kind", 1, "is damaged (kind: input should be a valid string, but got 1)"),
        ("settings.model", "evil.sub:f", "is damaged (identity must say the model_files of the user's own network)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, manifest: dict[str, Any], where: str, value: Any, said: str) -> None:
    *parents, name = where.split(".")
    part = manifest
    for parent in parents:
        part = part[parent]
    part[name] = value
    put(tmp_path, manifest)
    assert refused(tmp_path).startswith(said)


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, manifest: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="runs"):
        Folder(tmp_path).write_manifest(manifest | {"runs": 1})
    assert list(tmp_path.iterdir()) == []


def test_toml_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scyc.toml").write_text("epsilon = " + "[" * DEEP)
    with pytest.raises(SettingsError, match="it is nested too deeply"):
        read_toml(tmp_path / "scyc.toml")
    with pytest.raises(SettingsError, match="cannot be read: it is nested too deeply"):
        read_scyc(tmp_path / "scyc.toml")
