"""Sweeps whose outcome is known beforehand: a simulated trainer with a true curve, and loops that drive a strategy.

The simulation replaces training only. Strategy, ledger, tables and states' files are the real ones.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.tuning.strategy import Tuning
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Context, Strategy
from trainables.spec import Lane, LaneResult, Pack, TrainSpec, derive_seed

FINGERPRINT = "fingerprint of the data"
Truth = Callable[[int, int, float], float | None]


def digest_of(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


@dataclass
class Simulation:
    """Trains packs in no time: validation accuracy is `truth(cycle, run, max_lr)`, None where a lane diverges."""

    truth: Truth
    training: TrainSpec
    states: Path
    """Scored networks, as empty files under their digests; a lane whose parent is missing cannot be trained."""
    test_accuracy: Truth = lambda cycle, run, max_lr: 50.0
    by_schedule: dict[str, Truth] = field(default_factory=dict)
    """Where a schedule has a truth of its own."""
    weights: str = "initial weights"
    """What the initial weights are drawn from, besides the run's seed."""
    nothing_left: Callable[[int, int, str], bool] = lambda cycle, run, parent: False
    """Whether nothing is left to prune of a state: of the lanes of that cycle and run that start from it."""
    trained: list[Pack] = field(default_factory=list)

    def train(self, pack: Pack) -> list[LaneResult]:
        self.trained.append(pack)
        return [self._train(pack, lane) for lane in pack.lanes]

    def _train(self, pack: Pack, lane: Lane) -> LaneResult:
        initial, rewind = digest_of(self.weights, pack.seed), self.training.rewind
        if lane.parent is None:
            assert pack.cycle == 0
            self._save(initial)
        else:
            assert self.has(lane.parent), f"cycle {pack.cycle} starts from a state that is not there"
            assert (lane.rewind_to is not None) == (rewind != "none")
            assert lane.rewind_to is None or self.has(lane.rewind_to)
        schedule = self.training.schedule_of(pack.cycle, lane.schedule)
        accuracy = self.by_schedule.get(schedule.name, self.truth)(pack.cycle, pack.run, lane.max_lr)
        ok = accuracy is not None
        test_accuracy = self.test_accuracy(pack.cycle, pack.run, lane.max_lr)
        steps = self.training.steps_of(pack.cycle)
        state = digest_of("state", pack.seed, pack.cycle, schedule, lane.max_lr, lane.parent) if ok else None
        if state:
            self._save(state)
        rewind_state = None
        if ok and pack.cycle == 0 and rewind != "none":
            rewind_state = initial if rewind == "init" else digest_of("early", rewind, pack.seed, lane.max_lr)
            self._save(rewind_state)
        return LaneResult(
            max_lr=lane.max_lr,
            parent_state=lane.parent or initial,
            state=state,
            percent_remaining=100 * 0.8**pack.cycle,
            schedule=schedule.name,
            rewind_state=rewind_state,
            status="ok" if ok else "diverged",
            steps=steps if ok else 4,
            best_step=steps if ok else None,
            val_accuracy=accuracy,
            test_accuracy=test_accuracy if ok else None,
            val_loss=0.5 if ok else None,
            train_loss=0.25 if ok else None,
            wall_seconds=0.125,
            eval_steps=[4, steps] if ok else [],
            eval_val_accuracy=[0.0, accuracy] if accuracy is not None else [],
            eval_test_accuracy=[1.0, test_accuracy] if ok else [],
            eval_val_loss=[2.0, 0.5] if ok else [],
        )

    def has(self, digest: str) -> bool:
        return self._path(digest).exists()

    def lose(self, digest: str) -> None:
        self._path(digest).unlink()

    def kept(self) -> set[str]:
        return {path.stem for path in self.states.glob("*")}

    def lanes(self) -> list[tuple[int, int, float]]:
        """Every lane trained so far, in order: cycle, run, max_lr."""
        return [(pack.cycle, pack.run, lane.max_lr) for pack in self.trained for lane in pack.lanes]

    def _path(self, digest: str) -> Path:
        return self.states / f"{digest}.safetensors"

    def _save(self, digest: str) -> None:
        self.states.mkdir(parents=True, exist_ok=True)
        self._path(digest).touch()


@dataclass
class Sweep:
    """A results folder with a simulated trainer. `oracle()` is what a new process would make of it."""

    folder: Path
    simulation: Simulation
    settings: Settings
    lanes_per_pack: int = 2

    def context(self) -> Context:
        ledger = Ledger(self.folder / "lanes")
        return Context(self.settings, FINGERPRINT, ledger, self.lanes_per_pack, self.simulation.has)

    def oracle(self) -> GreedyOracle:
        return GreedyOracle(self.context())

    def comparison(self) -> ScheduleComparison:
        assert isinstance(self.settings, SchedulesSettings)
        return ScheduleComparison(self.context())

    def tuning(self) -> Tuning:
        assert isinstance(self.settings, TuningSettings)
        return Tuning(self.context())

    def train(self, strategy: Strategy, pack: Pack) -> None:
        """Train a pack, write it down and tell the strategy."""
        for _ in self.parts(strategy, pack):
            pass

    def parts(self, strategy: Strategy, pack: Pack) -> Iterator[None]:
        """Likewise, with a pause wherever rows were written and a kill would leave others unwritten."""
        nothing_left = self.simulation.nothing_left
        ended = [lane for lane in pack.lanes if lane.parent and nothing_left(pack.cycle, pack.run, lane.parent)]
        for parent in dict.fromkeys(lane.parent for lane in ended):
            strategy.end(replace(pack, lanes=tuple(lane for lane in ended if lane.parent == parent)), "all is pruned")
            yield
        trained = replace(pack, lanes=tuple(lane for lane in pack.lanes if lane not in ended))
        if trained.lanes:
            ids = [strategy.id_of(trained, lane) for lane in trained.lanes]
            strategy.ledger.append(trained, ids, self.simulation.train(trained), "cpu", "here")
            yield
        strategy.tell(pack)

    def run(self, oracle: GreedyOracle | None = None) -> GreedyOracle:
        """Go on, pack after pack, until the strategy asks for no more."""
        oracle = oracle or self.oracle()
        while (pack := oracle.ask()) is not None:
            self.train(oracle, pack)
            assert len(self.simulation.trained) < 1000, "this sweep goes round in circles"
        assert oracle.finished
        return oracle

    def rows(self) -> dict[str, dict[str, Any]]:
        """The ledger's rows as they are on disk, without the times of writing."""
        rows = Ledger(self.folder / "lanes").rows
        return {key: {n: v for n, v in row.items() if n != "finished_at"} for key, row in rows.items()}


@pytest.fixture(scope="session", autouse=True)
def no_waiting() -> Iterator[None]:
    """No test outlives the machine: what one writes in this process need not have reached a disk.

    Nor need statsmodels collect garbage in each of its corrections, which takes long with all that pytest holds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        patch.setattr("gc.collect", lambda generation=2: 0)
        yield


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., Settings]:
    """A small sweep; keyword arguments replace or add settings."""

    def make(**changes: object) -> Settings:
        settings: dict[str, object] = {"max_lr": "0.01:1:x5", "cycles": 2, "runs": 2, "steps": 10}
        return resolve(settings | changes)

    return make


@pytest.fixture(scope="session")
def make_sweep(tmp_path_factory: pytest.TempPathFactory, make_spec: Callable[..., Settings]) -> Callable[..., Sweep]:
    """A simulated sweep in a folder of its own; two of them share nothing."""

    def make(truth: Truth, *, lanes_per_pack: int = 2, test_accuracy: Truth | None = None, **given: object) -> Sweep:
        folder = tmp_path_factory.mktemp("sweep")
        settings = make_spec(**given)
        simulation = Simulation(truth, settings.training(), folder / "states")
        if test_accuracy:
            simulation.test_accuracy = test_accuracy
        return Sweep(folder, simulation, settings, lanes_per_pack)

    return make


@pytest.fixture(scope="session")
def make_tuning(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sweep]:
    """A simulated tuning of S-Cyc over 4 cycles in a folder of its own, in packs of 3 lanes."""

    def make(truth: Truth, *, test_accuracy: Truth | None = None, lanes_per_pack: int = 3, **given: object) -> Sweep:
        folder = tmp_path_factory.mktemp("tuning")
        base: dict[str, object] = {"max_lr": "0.01:1:x5", "cycles": 4, "runs": 2, "steps": 10, "trials": 10}
        settings = resolve(base | given, kind=TuningSettings)
        simulation = Simulation(truth, settings.training(), folder / "states")
        if test_accuracy:
            simulation.test_accuracy = test_accuracy
        return Sweep(folder, simulation, settings, lanes_per_pack)

    return make


@pytest.fixture(scope="session")
def make_comparison(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sweep]:
    """A simulated comparison of schedules over 3 cycles in a folder of its own, in packs of 4 lanes."""

    def make(truth: Truth, by_schedule: dict[str, Truth] | None = None, **given: object) -> Sweep:
        folder = tmp_path_factory.mktemp("schedules")
        base: dict[str, object] = {"max_lr": "0.01:1:x5", "cycles": 2, "runs": 2, "steps": 10}
        settings = resolve(base | given, kind=SchedulesSettings)
        simulation = Simulation(truth, settings.training(), folder / "states", by_schedule=by_schedule or {})
        return Sweep(folder, simulation, settings, lanes_per_pack=4)

    return make


@pytest.fixture(scope="session")
def run_seed() -> Callable[[int], int]:
    """The seed of a run in a sweep with seed 0."""
    return lambda run: derive_seed("run", 0, run)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Settings]:
    """A real oracle of two cycles of four max_lr: 8 lanes in 4 packs of a twentieth of a second."""

    def make(out: object, **changes: object) -> Settings:
        settings = {"max_lr": "0.01:1:x4", "runs": 1, "cycles": 1, "steps": 17, "lanes": 2, "engine": "inline"}
        return resolve({**settings, "scyc": "0.04,0.1,1,4", "out": str(out), **changes})

    return make


@pytest.fixture(scope="module")
def quick_pictures() -> Iterator[None]:
    """Pictures that are not drawn: that takes longer than all the rest of a tiny oracle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(b"a picture"))
        yield
