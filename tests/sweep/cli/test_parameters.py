"""Flags are the settings of an experiment: their groups in the help, their defaults, their types."""

import re
from typing import Any, get_args, get_type_hints

import pytest
from cyclopts import Parameter

from sweep.cli.parameters import default_text, flags_of
from sweep.config.groups import GROUPS, MOST_USED, group_of, when_unset
from sweep.config.settings import EXECUTION, Settings
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings

OWN = {OracleSettings: set(), TuningSettings: {"Tuning"}, SchedulesSettings: {"Schedules"}}
"""The groups that an experiment adds."""
KINDS = pytest.mark.parametrize("kind", OWN)


def parameters(flags: Any) -> dict[str, Parameter]:
    """Return what the parser is told of each flag."""
    hints = get_type_hints(flags, include_extras=True)
    return {name: next(each for each in get_args(hint) if isinstance(each, Parameter)) for name, hint in hints.items()}


@KINDS
def test_every_setting_is_a_flag_with_its_description_and_in_its_group(kind: type[Settings]) -> None:
    found = parameters(flags_of(kind))
    assert list(found) == [name for name in kind.model_fields if name not in kind.NOT_FLAGS]
    for name, flag in found.items():
        field = kind.model_fields[name]
        assert flag.help == field.description
        assert [group.name for group in flag.group] == [group_of(field)]  # type: ignore[union-attr]


@KINDS
def test_settings_that_are_no_flags_are_settings(kind: type[Settings]) -> None:
    assert set(kind.model_fields) >= kind.NOT_FLAGS


@KINDS
def test_every_group_is_one_of_the_help_or_the_experiments_own(kind: type[Settings]) -> None:
    groups = {group_of(field) for name, field in kind.model_fields.items() if name not in kind.NOT_FLAGS}
    assert groups - set(GROUPS) == OWN[kind]


def test_at_most_ten_settings_are_most_used() -> None:
    most = [name for name, field in OracleSettings.model_fields.items() if group_of(field) == MOST_USED]
    assert most == ["preset", "model", "dataset", "pruning", "cycles", "runs", "max_lr", "steps", "out"]


@KINDS
def test_every_description_is_whole_short_sentences(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        if name in kind.NOT_FLAGS:
            continue
        text = field.description or ""
        assert text.endswith("."), name
        for sentence in re.split(r"(?<=[.:;]) ", text):
            assert len(sentence.split()) <= 24, f"{name}: {sentence}"


@KINDS
def test_every_flag_says_what_holds_without_it(kind: type[Settings]) -> None:
    for name in parameters(flags_of(kind)):
        assert default_text(kind, name), name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cycles", "digits: 15"),
        ("hidden", "digits: 64 64 64"),
        ("max_lr", "digits: 0.001:1:x25"),
        ("seed", "0"),
        ("scale", "1"),
        ("download", "no"),
        ("images", "all"),
        ("retrain_steps", "--steps"),
        ("preset", "the preset of --model, else digits"),
    ],
)
def test_a_default_is_the_presets_or_the_settings_or_in_words(name: str, text: str) -> None:
    assert default_text(OracleSettings, name) == text


def test_a_default_that_an_experiment_gives_itself_is_not_the_presets() -> None:
    assert default_text(OracleSettings, "schedule") == "digits: warmup"
    assert default_text(TuningSettings, "schedule") == "scyc"


def test_flags_may_be_those_of_where_it_runs_alone_with_another_default() -> None:
    found = parameters(flags_of(Settings, EXECUTION, "as in the oracle"))
    assert set(found) == set(EXECUTION)
    assert {flag.show_default for flag in found.values()} == {"as in the oracle"}


def test_what_has_no_value_without_a_flag_is_said_in_words() -> None:
    assert when_unset(Settings.model_fields["address"]) == "RAY_ADDRESS, else a new local Ray"
