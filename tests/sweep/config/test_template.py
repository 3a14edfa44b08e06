"""`scyc-sweep config`: a TOML file of all settings that --config takes."""

import tomllib
from pathlib import Path

import pytest

from sweep.config.groups import group_of
from sweep.config.presets import PRESETS
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.config.template import WIDTH, template
from sweep.errors import SettingsError
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings

KINDS: dict[str, type[Settings]] = {"oracle": OracleSettings, "tune": TuningSettings, "schedules": SchedulesSettings}
BOTH = pytest.mark.parametrize("preset", PRESETS)
COMMANDS = pytest.mark.parametrize("command", KINDS)


@BOTH
@COMMANDS
def test_read_back_it_gives_the_settings_of_the_preset(preset: str, command: str, tmp_path: Path) -> None:
    kind = KINDS[command]
    (tmp_path / "sweep.toml").write_text(template(preset, kind, command))
    try:
        settings = resolve({"preset": preset}, kind=kind)
    except SettingsError as error:  # schedules of a preset without S-Cyc parameters
        with pytest.raises(SettingsError) as raised:
            resolve({}, tmp_path / "sweep.toml", kind=kind)
        assert str(raised.value) == str(error)
    else:
        assert resolve({}, tmp_path / "sweep.toml", kind=kind) == settings


@COMMANDS
def test_it_has_every_setting_once_with_its_description_and_under_its_group(command: str) -> None:
    kind, text = KINDS[command], template("resnet20", KINDS[command], command)
    lines = text.splitlines()
    told = " ".join(line.removeprefix("#").strip() for line in lines)
    for name, field in kind.model_fields.items():
        found = [number for number, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{name} =")]
        if name in kind.NOT_FLAGS:
            assert not found
            continue
        assert len(found) == 1 and " ".join((field.description or "").split()) in told
        headings = [line for line in lines[: found[0]] if line.startswith("# ----")]
        assert headings[-1] == f"# ---- {group_of(field)} ----"
    assert max(map(len, (line for line in lines if line.startswith("# ")))) <= WIDTH + 60


def test_settings_without_a_value_are_commented_out_and_say_what_holds() -> None:
    text = template("digits", OracleSettings, "oracle")
    assert "# images =  # without a value: all" in text
    assert "images" not in tomllib.loads(text)


def test_choices_and_ranges_stand_in_comments() -> None:
    text = " ".join(template("digits", OracleSettings, "oracle").replace("\n# ", " ").split())
    assert "Choices: shared or per_run." in text
    assert "Choices: auto, max or a number." in text
    assert "or package.module:function." in text
    assert "removes. Range: above 0 and below 1. prune_rate = 0.2" in text
    assert "Range: at least 0 and at most 1000. cycles = 15" in text


def test_a_changed_line_is_a_changed_setting(tmp_path: Path) -> None:
    text = template("digits", OracleSettings, "oracle").replace("\nruns = 5\n", "\nruns = 7\n")
    (tmp_path / "sweep.toml").write_text(text)
    assert resolve({}, tmp_path / "sweep.toml").runs == 7
    assert resolve({"runs": 2}, tmp_path / "sweep.toml").runs == 2
