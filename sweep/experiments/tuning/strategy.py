"""Tuning a schedule: a strategy. In: the ledger's rows. Out: packs to train, and finished trials.

A trial is one chain of cycles in each run, under a max_lr for each cycle; the trials of a batch train together
(`sweep.strategies.chains`). Next: `sweep.experiments.results` makes tables of the trials.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from search_spaces.scyc import SCyc
from sweep.errors import FolderError, TrainingError
from sweep.experiments.tuning.optuna_search import Ending, Journal, Search, Trial, open_journal
from sweep.experiments.tuning.settings import Given, TuningSettings
from sweep.store.identity import identity
from sweep.strategies.chains import Chain, ChainStrategy, Link
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Context
from trainables.spec import Pack


@dataclass(frozen=True)
class TunedTrial:
    """One trial that ended, and what it took."""

    stage: str
    number: int
    params: Mapping[str, float]
    """By name, those found in earlier stages included."""
    chain: Chain
    """As far as it was trained in all runs."""
    state: Ending
    value: float | None
    """Mean validation accuracy over runs at the chain's last cycle; None if the trial is not complete."""
    test_accuracy: float | None
    """Likewise for test accuracy; nothing depends on it."""
    trained_steps: int
    """Optimizer steps of all its lanes."""
    new_steps: int
    """Of these, steps that no earlier trial had trained."""
    seconds: float
    """Device time of the new ones."""


class Tuning(ChainStrategy):
    """Tunes S-Cyc by stages or jointly, or one max_lr for all cycles of another schedule (S-Cyc paper, section 4.3).

    A trial is one chain in each run.
    """

    settings: TuningSettings

    def __init__(self, context: Context) -> None:
        """See `Strategy`; a tuning that trains keeps a journal of its searches for optuna-dashboard."""
        self.ranges = context.settings.ranges()
        self.journal: Journal | None = None
        if context.live and context.folder is not None:
            self.journal = open_journal(context.folder.journal, identity(context.settings, context.fingerprint))
        super().__init__(context)

    def _begin(self) -> None:
        super()._begin()
        self.trials: list[TunedTrial] = []
        """Those that ended, in order."""
        self.searches: dict[str, Search] = {}
        self.counted: set[str] = set()
        """Lanes whose steps an earlier trial took, or an oracle."""
        self.label = ""

    def progress(self) -> Progress:
        """Return how far the tuning is; planned lanes are those of chains that share nothing that is not known yet."""
        settings = self.settings
        new = {"epsilon": 1, "delta": 1, "shape": settings.target}
        planned = sum(trials * new.get(stage, settings.target + 1) for stage, trials in settings.stages.items())
        planned += settings.target - 1 if "delta" in settings.stages else 0
        rows = self.current()
        best = self.best(self.trials[-1].stage) if self.trials else None
        return Progress(
            cycle=self.round[0].cycle if self.round else 0,
            cycles=settings.target,
            lanes_done=len(rows),
            lanes_planned=max(len(rows), planned * len(self.runs)),
            diverged=sum(row["status"] == "diverged" for row in rows.values()),
            best_max_lr=best.chain[-1].max_lr if best else None,
            val_accuracy=best.value if best else None,
            label=self.label,
            decided=tuple(self.decided),
        )

    # What came out.

    def best(self, stage: str) -> TunedTrial | None:
        """Return the complete trial of a stage with the highest value, the first of equals."""
        complete = [trial for trial in self.trials if trial.stage == stage and trial.value is not None]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)

    @property
    def winner(self) -> TunedTrial | None:
        """The best trial of the last stage; None before one is complete."""
        return self.best(list(self.settings.stages)[-1])

    # What is done, in order.

    def program(self) -> Generator[list[Pack], None, None]:
        """Go stage by stage, search by search."""
        settings = self.settings
        length = settings.target + 1
        if settings.schedule != "scyc":
            yield from self._search("max_lr", ["max_lr"], {}, lambda p: (Link(p["max_lr"]),) * length)
        elif settings.by == "joint":
            yield from self._search("joint", ["epsilon", "delta", "q", "beta"], {}, self._scyc)
        else:
            if settings.takes_over:
                if settings.given is None:
                    raise FolderError(f"the settings name the oracle {settings.oracle}, but not its cycle 0 (given)")
                epsilon = yield from self._given_epsilon(settings.given)
            else:
                yield from self._search("epsilon", ["epsilon"], {}, lambda p: (Link(p["epsilon"]),))
                epsilon = self._best_of("epsilon")
            constant = (Link(epsilon),) * settings.target
            # Later chains leave the constant one where their growth begins, and for the target right before it.
            self.kept = leaving = {constant[:cycles] for cycles in range(1, int(self.ranges["q"].high) + 2)} | {
                constant
            }
            found = {"epsilon": epsilon}
            yield from self._search("delta", ["delta"], found, lambda p: (*constant, Link(epsilon + p["delta"])))
            self.kept = leaving
            found["delta"] = self._best_of("delta")
            yield from self._search("shape", ["q", "beta"], found, self._scyc)

    def _scyc(self, params: Mapping[str, float]) -> Chain:
        scyc = SCyc(params["epsilon"], params["delta"], int(params["q"]), params["beta"])
        return tuple(map(Link, scyc.trajectory(self.settings.target, self.settings.prune_rate)))

    def _best_of(self, stage: str) -> float:
        best = self.best(stage)
        assert best is not None  # a search without one is an error
        return best.params[stage]

    def _given_epsilon(self, given: Given) -> Generator[list[Pack], None, float]:
        """Take an oracle's cycle 0, which the ledger has, as trials at no cost; return the oracle's choice.

        What of it is lost is trained again.
        """
        chains = [(Link(point),) for point in given.points]
        packs = self.packs(chains)
        self.counted = {self.id_of(pack, lane) for pack in packs for lane in pack.lanes}
        if any(self.unfinished(pack) for pack in packs):
            yield packs
        self.take(chains)
        for number, chain in enumerate(chains):
            whole = all(self.found[run, chain]["status"] == "ok" for run in self.runs)
            self._note(
                "epsilon", number, {"epsilon": chain[0].max_lr}, chain, "complete" if whole else "diverged", int(whole)
            )
        self.decided.append(f"epsilon: {given.epsilon:.4g}, the oracle's best max_lr of cycle 0")
        return given.epsilon

    def _search(
        self,
        stage: str,
        names: Sequence[str],
        fixed: Mapping[str, float],
        chain_of: Callable[[Mapping[str, float]], Chain],
    ) -> Generator[list[Pack], None, None]:
        """Ask Optuna for batches of trials, train their chains, and tell it what came of them."""
        settings, kept = self.settings, self.kept
        search = self.searches[stage] = Search(
            f"{stage}-{self._settings_digest(fixed)}",
            {name: self.ranges[name] for name in names},
            settings.stages[stage],
            settings.batch(stage),
            settings.sampler,
            settings.pruner,
            settings.seed,
            self.journal,
        )
        while batch := search.ask():
            chains = {trial.number: chain_of({**fixed, **trial.params}) for trial in batch}
            early = yield from self._train(stage, batch, chains)
            for trial in batch:
                state, cycles = early.get(trial.number, ("complete", len(chains[trial.number])))
                params = {**fixed, **trial.params}
                ended = self._note(stage, trial.number, params, chains[trial.number], state, cycles)
                trial.end(ended.state, ended.value)
                accuracy = "" if ended.value is None else f", validation accuracy {ended.value:.2f} %"
                which = f"trial {trial.number + 1} of {settings.stages[stage]}"
                self.decided.append(f"{stage}: {which} ended: {ended.state}{accuracy}")
            best = self.best(stage)
            if best is not None:
                self.kept = kept | {best.chain}
        best = self.best(stage)
        if best is None:
            raise TrainingError(f"no trial of {stage} reached its end: all diverged or had nothing left to prune")
        found = ", ".join(f"{name} {best.params[name]:.4g}" for name in names)
        self.decided.append(f"{stage} is decided: {found}, validation accuracy {best.value:.2f} %")

    def _train(
        self, stage: str, batch: Sequence[Trial], chains: Mapping[int, Chain]
    ) -> Generator[list[Pack], None, dict[int, tuple[Ending, int]]]:
        """Train chains side by side, a cycle a round; return how, and after how many cycles, some ended early."""
        early: dict[int, tuple[Ending, int]] = {}
        sums = dict.fromkeys(chains, 0.0)
        for cycle in range(max(map(len, chains.values()))):
            going = [trial for trial in batch if trial.number not in early]
            first, last = batch[0].number + 1, batch[-1].number + 1
            some = f"trials {first} to {last}" if first < last else f"trial {first}"
            self.label = f"{stage}: {some} of {self.settings.stages[stage]}"
            # Chains that agree so far are one.
            parts = list(dict.fromkeys(chains[trial.number][: cycle + 1] for trial in going))
            yield from self.train(parts)
            for trial in going:
                rows = [self.found[run, chains[trial.number][: cycle + 1]] for run in self.runs]
                if any(row["status"] != "ok" for row in rows):
                    ended = any(row["status"] == "ended" for row in rows)
                    early[trial.number] = "ended" if ended else "diverged", cycle
                    continue
                # A sum, since a pruner compares best values so far, and accuracies fall as weights go.
                sums[trial.number] += fmean(row["val_accuracy"] for row in rows)
                trial.report(cycle, sums[trial.number])
            for trial in going:
                if trial.number not in early and cycle + 1 < len(chains[trial.number]) and trial.should_prune():
                    early[trial.number] = "pruned", cycle + 1
            if len(early) == len(batch):
                break
        return early

    def _note(
        self, stage: str, number: int, params: Mapping[str, float], chain: Chain, state: Ending, cycles: int
    ) -> TunedTrial:
        """Write down how a trial ended, and what it took; `cycles` are those that all runs completed."""
        trained = cycles + (state in ("diverged", "ended"))
        rows = [self.found[run, chain[: cycle + 1]] for cycle in range(trained) for run in self.runs]
        new = [row for row in rows if row["lane_id"] not in self.counted]
        self.counted |= {row["lane_id"] for row in new}
        last = [self.found[run, chain] for run in self.runs] if state == "complete" else []
        trial = TunedTrial(
            stage=stage,
            number=number,
            params=params,
            chain=chain[:cycles],
            state=state,
            value=fmean(row["val_accuracy"] for row in last) if last else None,
            test_accuracy=fmean(row["test_accuracy"] for row in last) if last else None,
            trained_steps=sum(row["steps"] for row in rows),
            new_steps=sum(row["steps"] for row in new),
            seconds=sum(row["wall_seconds"] for row in new),
        )
        self.trials.append(trial)
        return trial

    def _settings_digest(self, fixed: Mapping[str, float]) -> str:
        """Return a name for all that determines a search but how lanes train, which a folder's identity says."""
        settings = self.settings
        content = {
            "settings": [
                settings.by,
                settings.schedule,
                settings.trials,
                settings.at_once,
                settings.sampler,
                settings.pruner,
            ],
            "ranges": {name: asdict(found) for name, found in self.ranges.items()},
            "target": settings.target,
            "runs": settings.runs,
            "fixed": dict(fixed),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
