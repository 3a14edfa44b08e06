"""What holds of every strategy: it decides from rows alone, whatever was killed, diverged or had nothing left to prune.

One suite for all of them, on simulated training whose outcome is drawn.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import TrainingError
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.schedules.strategy import ScheduleComparison
from sweep.experiments.tuning.strategy import Tuning
from sweep.experiments.validation.settings import ValidationSettings
from sweep.experiments.validation.strategy import Validation
from sweep.strategies.protocol import Strategy
from trainables.spec import Pack

GRID = {"max_lr": "0.02,0.1,0.5", "cycles": 3, "runs": 2}
FEW = {"max_lr": "0.02,0.1,0.5", "cycles": 2, "runs": 2, "trials": 5}


class Drawn:
    """What training comes to: drawn, and the same whenever the same lane trains again."""

    def __init__(self, seed: int, ends: int, diverges: int) -> None:
        self.seed, self.ends, self.diverges = seed, ends, diverges
        """Percent of the states that have nothing left to prune, and of the lanes that diverge."""

    def share(self, *parts: object) -> float:
        text = "/".join(map(str, (self.seed, *parts)))
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8

    def accuracy(self, cycle: int, run: int, max_lr: float) -> float | None:
        share = self.share(cycle, run, max_lr)
        return None if 100 * self.share("diverges", cycle, run, max_lr) < self.diverges else 50.0 + 40 * share

    def nothing_left(self, cycle: int, run: int, parent: str) -> bool:
        return 100 * self.share("ends", parent) < self.ends


@pytest.fixture(scope="module")
def make(make_sweep: Any, make_tuning: Any, make_comparison: Any) -> Callable[[str, Drawn], tuple[Any, Any]]:
    """A simulated sweep of a kind, and the class of its strategy."""

    def made(kind: str, drawn: Drawn) -> tuple[Any, Any]:
        name, _, how = kind.partition(" ")
        strategy: Any
        if name == "oracle":
            sweep, strategy = make_sweep(drawn.accuracy, decide=how, **GRID), GreedyOracle
        elif name == "tune":
            given = {"by": how} if how in ("stages", "joint") else {"schedule": how}
            sweep, strategy = make_tuning(drawn.accuracy, **FEW, **given), Tuning
        elif name == "schedules":
            names = ("constant", "warmup-1=0.1", "warmup-2", "scyc")
            sweep, strategy = make_comparison(drawn.accuracy, schedules=names, **GRID), ScheduleComparison
        else:
            sweep, strategy = make_sweep(drawn.accuracy, **GRID), Validation
            beside = {
                "oracle": str(sweep.folder),
                "held_out": how == "held-out",
                "choices": (0.1, 0.2, 0.3, 0.4),
                "trajectories": {"flat": (0.1,) * 4, "rising": (0.1, 0.2, 0.25, 0.35)},
            }
            sweep.settings = ValidationSettings.of(sweep.settings, beside)
        sweep.simulation.nothing_left = drawn.nothing_left
        return sweep, strategy

    return made


KINDS = [
    "oracle shared",
    "oracle per_run",
    "tune stages",
    "tune joint",
    "tune decay",
    "schedules",
    "compare",
    "compare held-out",
]


def asked(strategy: Strategy) -> tuple[list[Pack], str]:
    """All packs that can be asked for at once, and the error that stops the sweep where there is one."""
    packs = []
    try:
        while (pack := strategy.ask()) is not None:
            packs.append(pack)
    except TrainingError as error:
        return packs, str(error)
    return packs, ""


def in_order(packs: list[Pack]) -> list[Pack]:
    """Packs of runs that decide for themselves come in an order that depends on which came back first."""
    return sorted(packs, key=lambda pack: (pack.run, pack.cycle))


def by_run(lines: Any) -> dict[str, list[str]]:
    """What was decided, in order; of runs that decide for themselves, none waits for another."""
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.partition(",")[0] if line.startswith("run ") else "", []).append(line)
    return found


def check_replayed(sweep: Any, kind: Any, live: Strategy, packs: list[Pack], error: str) -> None:
    """A strategy that knows the rows alone says what the living one says, of which `packs` are asked for."""
    replayed = kind(sweep.context())
    again, stopped = asked(replayed)
    assert (in_order(again), stopped) == (in_order(packs), error)
    assert replayed.finished == live.finished
    assert by_run(replayed.decided) == by_run(live.decided)
    assert replayed.ended == live.ended
    assert replayed.current().keys() == live.current().keys()
    if not error:
        ours, theirs = (replace(strategy.progress(), decided=()) for strategy in (replayed, live))
        assert ours == theirs
    if live.finished:
        assert replayed.needed_states() == live.needed_states()


def drive(sweep: Any, kind: Any, chance: random.Random, kills: int) -> tuple[Strategy, str]:
    """Train to the end, packs coming back in any order, with kills at any time; check it all along.

    Returns the last strategy, and the error that stopped it.
    """
    strategy, out, trained, error = kind(sweep.context()), list[Pack](), 0, ""
    while True:
        if not out or chance.random() < 0.5:
            before = len(out)
            packs, error = asked(strategy)
            out += packs
            if not before:
                check_replayed(sweep, kind, strategy, packs, error)
        if not out:
            return strategy, error
        killed = kills > 0 and chance.random() < 0.2
        for _ in sweep.parts(strategy, out.pop(chance.randrange(len(out)))):
            if killed and chance.random() < 0.5:
                break  # in the midst of a pack
        trained += 1
        assert trained < 1000, "this sweep goes round in circles"
        if killed:
            kills -= 1
            strategy, out = kind(sweep.context()), []
        elif chance.random() < 0.5:
            for digest in sweep.simulation.kept() - strategy.needed_states():
                sweep.simulation.lose(digest)


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 10**6),
    ends=st.sampled_from([0, 10, 30]),
    diverges=st.sampled_from([0, 5]),
    kills=st.integers(0, 3),
)
@settings(max_examples=15, deadline=None)
def test_replayed_from_its_rows_a_strategy_says_what_it_said_when_it_trained(
    make: Any, kind: str, seed: int, ends: int, diverges: int, kills: int
) -> None:
    sweep, strategy = make(kind, Drawn(seed, ends, diverges))
    live, error = drive(sweep, strategy, random.Random(seed), kills)
    assert live.finished or error
