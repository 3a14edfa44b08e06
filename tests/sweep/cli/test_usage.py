"""What is said of wrong words, word for word: one line that says what takes what, what it got, and the way out."""

from pathlib import Path

import pytest
from cyclopts import CycloptsError

from sweep.cli import usage
from sweep.cli.main import app
from sweep.errors import SweepError


def said(words: list[str]) -> str:
    """Return the line that the command line says of some words."""
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return usage.said(error)
    except SweepError as error:
        return str(error)
    raise AssertionError(f"{words} was taken")


WORDS = {
    "oracle --model resnet21": "unknown network 'resnet21'; did you mean resnet20? Or give package.module:function",
    "oracle --model nets": "unknown network 'nets'; known are mlp, resnet20, vgg16, vgg19, alexnet, resnet50; or give "
    "package.module:function",
    "oracle --dataset cifar": "unknown data set 'cifar'; did you mean cifar10? Or give package.module:function",
    "oracle --preset digit": "unknown preset 'digit'; did you mean digits? Known are digits, mlp, resnet20, vgg19, "
    "resnet50, alexnet, vgg16, resnet20-adam and resnet20-rmsprop",
    "oracle --pruning randm": "unknown pruning 'randm'; did you mean random? Known are global_magnitude, "
    "layer_magnitude, global_gradient, layer_gradient, l1_filter, taylor_bn, random, random_filter, none and imp",
    "oracle --schedule warm": "unknown schedule 'warm'; did you mean warmup? Known are warmup, constant, decay, "
    "cyclical, ft, lrw, slr and clr",
    "oracle --optimizer sdg": "unknown optimizer 'sdg'; did you mean sgd? Known are sgd, adam and rmsprop",
    "oracle --split pool": "unknown split 'pool'; did you mean pooled? Known are pooled and fixed_test",
    "oracle --engine dask": "unknown engine 'dask'; known are ray and inline",
    "tune --by stage": "unknown way to tune 'stage'; did you mean stages? Known are stages, joint and fit",
    "tune --sampler gpp": "unknown sampler 'gpp'; did you mean gp? Known are tpe, gp and random",
    "schedules --schedules decoy": "unknown schedule 'decoy'; did you mean decay? Known are constant, decay, cyclical, "
    "warmup-1, warmup-2, scyc, silo, ft, lrw, slr and clr",
    "show --format tex x": "unknown format 'tex'; did you mean text? Known are text, markdown, latex, csv and json",
    "oracel": "unknown command 'oracel'; did you mean oracle? Known are oracle, tune, schedules, compare, control, "
    "show, report, gradients, trajectory, presets, config, submit, status, logs, stop and collect",
    "oracle --runs 0x10": "--runs takes a whole number, but got '0x10'",
    "oracle --plan --pilot 5.4": "--pilot takes a whole number, but got '5.4'",
    "compare o --confirm 2.5": "--confirm takes a whole number, but got '2.5'",
    "gradients o --images 2.5": "--images takes a whole number, but got '2.5'",
    "trajectory --epsilon 1 --delta 1 --q 1.5 --beta 4": "--q takes a whole number, but got '1.5'",
    "config digit": "unknown preset 'digit'; did you mean digits? Known are digits, mlp, resnet20, vgg19, resnet50, "
    "alexnet, vgg16, resnet20-adam and resnet20-rmsprop",
    "config --command orcale": "unknown command 'orcale'; did you mean oracle? Known are oracle, tune and schedules",
    "oracle --runs two": "--runs takes a whole number, but got 'two'",
    "oracle --runs 1.5": "--runs takes a whole number, but got '1.5'",
    "oracle --prune-rate half": "--prune-rate takes a number, but got 'half'",
    "oracle --lanes many": "--lanes takes auto or a whole number, but got 'many'",
    "oracle --rewind early": "--rewind takes none, init or a whole number, but got 'early'",
    "oracle --keep-output=maybe": "--keep-output takes yes or no, but got 'maybe'",
    "oracle --keep-output maybe": "--keep-output takes no value, but got 'maybe'",
    "oracle --hidden 64 wide": "--hidden takes whole numbers, but got 'wide'",
    "oracle --hidden": "--hidden takes a value, but got none",
    "oracle --milestones 300 200": "milestones must increase, but got [300, 200]",
    "oracle --plan --pilot two": "--pilot takes a whole number, but got 'two'",
    "oracle --plan --pilot 2": "--pilot must be at least 5, but got 2: fewer runs tell too little of the spread",
    "oracle --plan --pilot 0": "--pilot must be at least 5, but got 0: fewer runs tell too little of the spread",
    "oracle --tolerance 200": "--tolerance must be below 100, but got 200",
    "oracle --prune-rate 1": "--prune-rate must be below 1, but got 1",
    "oracle --engine inline --address auto": "--address is for --engine ray: --engine inline trains in this process; "
    "give one of them",
    "trajectory --epsilon big --delta 0 --q 1 --beta 4": "--epsilon takes a number, but got 'big'",
    "trajectory --epsilon 1": "trajectory needs --delta",
    "trajectory --epsilom 1": "trajectory has no flag --epsilom; did you mean --epsilon?",
    "compare": "compare needs FOLDER",
    "oracle --cycels 3": "oracle has no flag --cycels; did you mean --cycles?",
    "oracle --runs": "--runs takes a value, but got none",
    "oracle --hidden --plan": "--hidden takes a value, but got none",
    "oracle --runs 1 --runs 2": "--runs is given more than once",
    "oracle --max-lr 0.1 0.2": "--max-lr takes one value, but got '0.1' and '0.2'",
    "show a b": "show has no use for 'b': see scyc-sweep show --help",
    "show ~no-user": "FOLDER: there is no user ~no-user: write ./~no-user for a path that begins with ~",
    "oracle --out ~no-user/x": "--out: there is no user ~no-user: write ./~no-user/x for a path that begins with ~",
    "oracle --data-dir ~no-user": "--data-dir: there is no user ~no-user: write ./~no-user for a path that begins "
    "with ~",
    "collect a --to ~no-user": "--to: there is no user ~no-user: write ./~no-user for a path that begins with ~",
    "status --storage s3:/x": "--storage: s3:/x is not a path: s3://x has two slashes",
}


@pytest.mark.parametrize("words", WORDS)
def test_wrong_words_are_one_line(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(words.split()) == WORDS[words]
    assert list(tmp_path.iterdir()) == []


def test_lists_are_taken_as_they_are_typed() -> None:
    _, bound, _ = app.parse_args(
        ["oracle", "--hidden", "64", "32", "--milestones", "255", "382", "--runs", "2"], exit_on_error=False
    )
    assert bound.arguments["flags"] == {"hidden": (64, 32), "milestones": (255, 382), "runs": 2}
