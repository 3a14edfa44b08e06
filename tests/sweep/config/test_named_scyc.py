"""Names for S-Cyc's parameters, and the file in which a tuned winner lies."""

from pathlib import Path

import pytest

from search_spaces.scyc import SCyc
from sweep.config.named_scyc import parse, read, write
from sweep.errors import SettingsError

TUNED = {"epsilon": 0.0316228, "delta": 0.05, "q": 2, "beta": 4.5}


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("paper", "resnet20", SCyc(0.03, 0.04, 1, 5)),  # Table 7
        ("paper", "vgg19", SCyc(0.04, 0.06, 1, 4)),  # Table 3
        ("silo", "resnet20", SCyc(0.03, 0.04, 1, 5)),
        ("silo", "vgg19", SCyc(0.04, 0.06, 1, 5)),
    ],
)
def test_the_sources_parameters_have_names(text: str, model: str, expected: SCyc) -> None:
    assert parse([text], model, "cifar10") == {text: expected}


def test_four_numbers_alone_are_s_cyc_and_beside_others_go_by_themselves(tmp_path: Path) -> None:
    assert parse(["0.1,0.2,1,4"], "mlp", "digits") == {"0.1,0.2,1,4": SCyc(0.1, 0.2, 1, 4)}
    assert parse(["0.10,0.2,1,4", "0.1,0.3,1,4"], "mlp", "digits", own="0.1,0.2,1,4") == {
        "S-Cyc": SCyc(0.1, 0.2, 1, 4),
        "0.1,0.3,1,4": SCyc(0.1, 0.3, 1, 4),
    }
    path = write("scyc", TUNED, "found", tmp_path)
    several = parse(["paper", "0.1,0.2,1,4", str(path)], "resnet20", "cifar10")
    assert list(several) == ["paper", "0.1,0.2,1,4", f"{tmp_path.name}/scyc.toml"]
    assert several[f"{tmp_path.name}/scyc.toml"] == SCyc(0.0316228, 0.05, 2, 4.5)


def test_two_winners_of_one_name_stay_two(tmp_path: Path) -> None:
    paths = [tmp_path / parent / "t" / "scyc.toml" for parent in ("a", "b")]
    for path, epsilon in zip(paths, (0.1, 0.2), strict=True):
        path.parent.mkdir(parents=True)
        write("scyc", TUNED | {"epsilon": epsilon}, "found", path.parent)
    found = parse([str(path) for path in paths], "mlp", "digits")
    assert [scyc.epsilon for scyc in found.values()] == [0.1, 0.2]
    assert list(found) == ["t/scyc.toml", str(paths[1])]


def test_a_winner_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = write("scyc", TUNED, "tuned by hand", tmp_path)
    assert path == tmp_path / "scyc.toml"
    assert path.read_text().startswith("# tuned by hand\n")
    assert read(path) == SCyc(**TUNED)  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["scyc.toml"]


def test_another_schedule_s_winner_has_a_file_of_its_name_and_is_no_s_cyc(tmp_path: Path) -> None:
    path = write("decay", {"max_lr": 0.1}, "found", tmp_path)
    assert path.name == "decay.toml"
    with pytest.raises(SettingsError, match=r"decay\.toml cannot be read: schedule must be \"scyc\", but got 'decay'"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paper", "--scyc paper: the paper prints S-Cyc for vgg19 on cifar10, .*not for mlp on digits"),
        ("silo", "--scyc silo: SILO has parameters for resnet20 on cifar10, .*not for mlp on digits"),
        ("0.1,0.2", r"--scyc takes paper, silo, a scyc\.toml of `tune`, or EPS,DELTA,Q,BETA: .*'0\.1,0\.2'"),
        ("papr", "--scyc takes paper, silo.*'papr'"),
        ("nowhere/scyc.toml", r"nowhere/scyc\.toml cannot be read"),
    ],
)
def test_what_is_none_of_these_is_refused_with_the_choices(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse([text], "mlp", "digits")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('schedule = "scyc"\nepsilon = 0.1\ndelta = 0.1\nq = 1\n', "has no beta"),
        ('schedule = "scyc"\nepsilon = -0.1\ndelta = 0.1\nq = 1\nbeta = 4\n', "epsilon must be finite and > 0"),
        ('schedule = "scyc"\nepsilon = "a"\ndelta = 0.1\nq = 1\nbeta = 4\n', "epsilon must be finite"),
        ("epsilon = 0.1\n", 'schedule must be "scyc", but got None'),
        ("this is no TOML", "cannot be read"),
    ],
)
def test_a_damaged_winner_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scyc.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=rf"scyc\.toml.*{message}"):
        read(path)
