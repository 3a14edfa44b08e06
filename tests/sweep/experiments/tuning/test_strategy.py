"""Tuning on simulated training whose best rates are known: what it asks for, shares, chooses, keeps and survives."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from search_spaces.scyc import SCyc
from sweep.config.resolve import resolve
from sweep.errors import FolderError, SettingsError, TrainingError
from sweep.execution.jobs import Jobs
from sweep.execution.outcomes import ChainEnded, Trained
from sweep.experiments.tuning.settings import Given, TuningSettings
from sweep.experiments.tuning.strategy import Tuning
from sweep.strategies.chains import Chain, Link
from trainables.spec import Pack, Schedule

MakeTuning = Callable[..., Any]
STEPS = 10
"""That a simulated lane takes; a diverged one takes 4."""


def rising(cycle: int, run: int, max_lr: float) -> float:
    """The best rate rises from 0.05 to 0.2 over the cycles, and nothing else counts."""
    return 90.0 - 20 * math.log10(max_lr / (0.05 * 4 ** (cycle / 4))) ** 2 + 0.5 * run


def hot(cycle: int, run: int, max_lr: float) -> float | None:
    """As `rising`, but rates above 0.3 diverge, in run 1."""
    return None if run == 1 and max_lr > 0.3 else rising(cycle, run, max_lr)


def run(sweep: Any, stop_after: int | None = None) -> Tuning:
    """Tune to the end, or until so many packs are trained."""
    tuning: Tuning = sweep.tuning()
    trained = 0
    while trained != stop_after and (pack := tuning.ask()) is not None:
        sweep.train(tuning, pack)
        trained += 1
        assert trained < 1000, "this tuning goes round in circles"
    assert tuning.finished or stop_after is not None
    return tuning


def rates(chain: Chain) -> list[float]:
    return [link.max_lr for link in chain]


def timeless(tuning: Tuning) -> list[Any]:
    return [
        (t.stage, t.number, dict(t.params), t.chain, t.state, t.value, t.trained_steps, t.new_steps)
        for t in tuning.trials
    ]


class TestStages:
    def test_epsilon_comes_from_the_unpruned_network_delta_from_the_target_and_the_shape_from_whole_chains(
        self, make_tuning: MakeTuning
    ) -> None:
        tuning = run(make_tuning(rising))
        stages = {stage: [t for t in tuning.trials if t.stage == stage] for stage in ("epsilon", "delta", "shape")}
        assert [len(trials) for trials in stages.values()] == [4, 3, 3]
        epsilon, delta = (max(stages[s], key=lambda t: t.value).params[s] for s in ("epsilon", "delta"))
        for trial in stages["epsilon"]:
            assert rates(trial.chain) == [trial.params["epsilon"]]
            assert trial.value == pytest.approx(rising(0, 0, trial.chain[0].max_lr) + 0.25)
        for trial in stages["delta"]:
            assert rates(trial.chain) == [*[epsilon] * 4, epsilon + trial.params["delta"]]
            assert trial.value == pytest.approx(rising(4, 0, trial.chain[-1].max_lr) + 0.25)
        for trial in stages["shape"]:
            assert (trial.params["epsilon"], trial.params["delta"]) == (epsilon, delta)
            scyc = SCyc(epsilon, delta, int(trial.params["q"]), trial.params["beta"])
            assert rates(trial.chain) == scyc.trajectory(4, 0.2)
            assert trial.value == pytest.approx(rising(4, 0, trial.chain[-1].max_lr) + 0.25)
        assert tuning.winner == max(stages["shape"], key=lambda t: t.value)

    def test_with_many_trials_it_comes_near_the_true_rates(self, make_tuning: MakeTuning) -> None:
        winner = run(make_tuning(rising, trials=60)).winner
        assert winner is not None
        assert winner.params["epsilon"] == pytest.approx(0.05, rel=0.2)
        assert winner.params["epsilon"] + winner.params["delta"] == pytest.approx(0.2, rel=0.25)

    @pytest.mark.parametrize("by", ["stages", "joint"])
    def test_test_accuracies_change_nothing(self, make_tuning: MakeTuning, by: str) -> None:
        one = run(make_tuning(rising, by=by))
        other = run(make_tuning(rising, by=by, test_accuracy=lambda cycle, run, max_lr: 99.0 / (1 + max_lr)))
        assert timeless(one) == timeless(other)
        assert [t.test_accuracy for t in one.trials] != [t.test_accuracy for t in other.trials]

    def test_lanes_of_a_chain_follow_each_other_and_rewind_to_their_run_s_initial_weights(
        self, make_tuning: MakeTuning
    ) -> None:
        sweep = make_tuning(rising)
        tuning = run(sweep)
        rows = {row["lane_id"]: row for row in sweep.rows().values()}
        initial = {row["run"]: row["parent_state"] for row in rows.values() if row["cycle"] == 0}
        assert initial[0] != initial[1]
        for trial in tuning.trials:
            chain = tuning.rows_of_chain(trial.chain)
            for run_ in (0, 1):
                of_run = [row for row in chain if row["run"] == run_]
                assert [row["cycle"] for row in of_run] == list(range(len(trial.chain)))
                assert all(before["state"] == after["parent_state"] for before, after in pairwise(of_run))
        for pack in sweep.simulation.trained:
            assert {lane.rewind_to for lane in pack.lanes} == {initial[pack.run] if pack.cycle else None}

    def test_late_rewinding_goes_back_to_each_chain_s_own_first_cycle(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising, rewind=3)
        tuning = run(sweep)
        for trial in tuning.trials:
            for run_ in (0, 1):
                first = tuning.found[run_, trial.chain[:1]]["rewind_state"]
                for cycle in range(1, len(trial.chain)):
                    assert tuning._lane(run_, trial.chain[: cycle + 1]).rewind_to == first
        early = {row["rewind_state"] for row in sweep.rows().values() if row["cycle"] == 0}
        assert len(early) == len([row for row in sweep.rows().values() if row["cycle"] == 0])


class TestSharing:
    @pytest.mark.parametrize("settings", [{}, {"by": "joint"}, {"schedule": "warmup"}, {"q": "3:3"}, {"trials": 25}])
    def test_no_lane_is_trained_twice_and_every_step_is_counted_once(
        self, make_tuning: MakeTuning, settings: dict[str, object]
    ) -> None:
        sweep = make_tuning(rising, **settings)
        tuning = run(sweep)
        lanes = [(pack.run, pack.cycle, lane) for pack in sweep.simulation.trained for lane in pack.lanes]
        assert len(lanes) == len(set(lanes)) == len(sweep.rows())
        assert sum(trial.new_steps for trial in tuning.trials) == STEPS * len(lanes)
        assert [trial.trained_steps for trial in tuning.trials] == [2 * STEPS * len(t.chain) for t in tuning.trials]

    def test_trials_that_agree_in_their_first_cycles_train_them_once(self, make_tuning: MakeTuning) -> None:
        tuning = run(make_tuning(rising))
        for trial in tuning.trials:
            earlier = tuning.trials[: tuning.trials.index(trial)]
            known = {t.chain[:length] for t in earlier for length in range(1, len(t.chain) + 1)}
            new = [
                trial.chain[:length] for length in range(1, len(trial.chain) + 1) if trial.chain[:length] not in known
            ]
            assert trial.new_steps == 2 * STEPS * len(new)
        delta = [t.new_steps for t in tuning.trials if t.stage == "delta"]
        assert delta == [2 * STEPS * 4, 2 * STEPS, 2 * STEPS]  # cycles 1 to 4, then the target alone

    def test_trials_of_a_batch_train_as_lanes_of_the_same_packs_each_from_its_own_state(
        self, make_tuning: MakeTuning
    ) -> None:
        sweep = make_tuning(rising, by="joint", trials=6)
        run(sweep)
        assert [len(pack.lanes) for pack in sweep.simulation.trained] == [3] * (2 * 5 * 2)
        for pack in sweep.simulation.trained:
            assert len({lane.parent for lane in pack.lanes}) == (3 if pack.cycle else 1)

    @pytest.mark.parametrize(("lanes", "sizes"), [(2, [2, 2]), (3, [2, 2]), (4, [4]), (100, [4])])
    def test_packs_are_nearly_equal_and_no_larger_than_asked(
        self, make_tuning: MakeTuning, lanes: int, sizes: list[int]
    ) -> None:
        sweep = make_tuning(rising, by="joint", trials=4, at_once=4, runs=1, lanes_per_pack=lanes)
        run(sweep)
        assert [len(pack.lanes) for pack in sweep.simulation.trained if pack.cycle == 2] == sizes


class TestOracleInHand:
    POINTS = (0.01, 0.0316228, 0.1, 0.316228, 1.0)

    def begun(self, make_tuning: MakeTuning, tmp_path: Any, **settings: object) -> Any:
        """A tuning whose ledger has the cycle 0 of an oracle: the grid in both runs, and in a third, not asked for."""
        sweep = make_tuning(hot, oracle=tmp_path, trials=6, **settings)
        sweep.settings = sweep.settings.model_copy(update={"given": Given(points=self.POINTS, epsilon=0.1)})
        first = sweep.tuning()
        for run_ in (0, 1, 2):
            pack = first._pack(run_, [(Link(point),) for point in self.POINTS])
            ids = [first.id_of(pack, lane) for lane in pack.lanes]
            first.ledger.append(pack, ids, sweep.simulation.train(pack), "cpu", "here")
        sweep.simulation.trained.clear()
        return sweep

    def test_its_choice_is_epsilon_and_its_cycle_0_is_not_trained_again(
        self, make_tuning: MakeTuning, tmp_path: Any
    ) -> None:
        sweep = self.begun(make_tuning, tmp_path)
        tuning = run(sweep)
        given = [t for t in tuning.trials if t.stage == "epsilon"]
        assert [t.params["epsilon"] for t in given] == list(self.POINTS)
        assert [(t.state, t.trained_steps, t.new_steps) for t in given] == [("complete", 20, 0)] * 3 + [
            ("diverged", 14, 0)
        ] * 2
        # 0.0316 scores higher in this simulation, and the oracle is to be believed.
        assert {t.params["epsilon"] for t in tuning.trials if t.stage != "epsilon"} == {0.1}
        assert [t.stage for t in tuning.trials if t.stage != "epsilon"] == ["delta"] * 3 + ["shape"] * 3
        assert all(pack.cycle > 0 for pack in sweep.simulation.trained)

    def test_without_its_cycle_0_it_is_one_line(self, make_tuning: MakeTuning, tmp_path: Any) -> None:
        with pytest.raises(FolderError, match=f"name the oracle {tmp_path}, but not its cycle 0"):
            make_tuning(hot, oracle=tmp_path, trials=6).tuning().ask()

    def test_a_winner_whose_network_is_lost_is_trained_again_and_stays_the_winner(
        self, make_tuning: MakeTuning, tmp_path: Any
    ) -> None:
        expected = timeless(run(self.begun(make_tuning, tmp_path)))
        sweep = self.begun(make_tuning, tmp_path)
        for row in sweep.rows().values():
            if row["max_lr"] == 0.1:
                sweep.simulation.lose(row["state"])
        assert timeless(run(sweep)) == expected
        again = [(pack.run, lane.max_lr) for pack in sweep.simulation.trained for lane in pack.lanes if pack.cycle == 0]
        assert sorted(again) == [(0, 0.1), (1, 0.1)]


class TestKilled:
    @pytest.mark.parametrize(
        "settings", [{}, {"by": "joint"}, {"schedule": "decay"}, {"pruner": "median", "by": "joint"}]
    )
    def test_after_any_pack_it_goes_on_to_the_same_trials_training_nothing_twice(
        self, make_tuning: MakeTuning, settings: dict[str, object]
    ) -> None:
        whole = make_tuning(hot, **settings)
        expected = timeless(run(whole))
        packs = len(whole.simulation.trained)
        for stop in range(0, packs, 3):
            sweep = make_tuning(hot, **settings)
            run(sweep, stop_after=stop)
            assert timeless(run(sweep)) == expected
            assert sweep.simulation.trained == whole.simulation.trained
            assert sweep.rows() == whole.rows()

    def test_a_finished_tuning_asks_for_nothing(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising)
        first = timeless(run(sweep))
        sweep.simulation.trained.clear()
        assert timeless(run(sweep)) == first and not sweep.simulation.trained

    def test_only_needed_states_have_to_be_kept(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(hot, trials=20)
        tuning = sweep.tuning()
        while (pack := tuning.ask()) is not None:
            sweep.train(tuning, pack)
            for digest in sweep.simulation.kept() - tuning.needed_states():
                sweep.simulation.lose(digest)  # the simulation refuses lanes whose start is gone
        winner = tuning.winner
        assert winner is not None
        last = {tuning.found[run_, winner.chain]["state"] for run_ in (0, 1)}
        assert last <= tuning.needed_states() <= sweep.simulation.kept()
        # Two initial weights; in both runs epsilon's chain of 4 cycles (q <= 3, and the target's start) and the winner.
        assert len(tuning.needed_states()) == 2 + 2 * 4 + 2
        assert len(sweep.rows()) > 40

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"by": "joint"},
            {"by": "joint", "epsilon": "0.05:0.05", "trials": 8},  # batches share their first cycles
            {"q": "2:3", "at_once": 1},
            {"schedule": "warmup"},
            {"rewind": 3},
        ],
    )
    @pytest.mark.parametrize("stop", [3, 11, 19])
    def test_states_that_are_lost_are_made_again_once_and_the_trials_stay_the_same(
        self, make_tuning: MakeTuning, settings: dict[str, object], stop: int
    ) -> None:
        expected = timeless(run(make_tuning(rising, **settings)))
        sweep = make_tuning(rising, **settings)
        run(sweep, stop_after=stop)
        for digest in sweep.simulation.kept():
            sweep.simulation.lose(digest)
        assert timeless(self.run_keeping_only_what_is_needed(sweep)) == expected
        lanes = [(pack.run, pack.cycle, lane) for pack in sweep.simulation.trained for lane in pack.lanes]
        assert max(Counter(lanes).values()) <= 3  # before, for its own sake, and for a later lane's

    def run_keeping_only_what_is_needed(self, sweep: Any) -> Tuning:
        tuning: Tuning = sweep.tuning()
        while (pack := tuning.ask()) is not None:
            sweep.train(tuning, pack)
            for digest in sweep.simulation.kept() - tuning.needed_states():
                sweep.simulation.lose(digest)
            assert len(sweep.simulation.trained) < 400, "this tuning goes round in circles"
        assert tuning.finished
        return tuning

    @pytest.mark.parametrize("rewind", ["init", 3])
    def test_nothing_is_trained_twice_where_only_needed_states_are_kept_and_q_is_large(
        self, make_tuning: MakeTuning, rewind: object
    ) -> None:
        sweep = make_tuning(rising, q="3:3", trials=14, rewind=rewind)
        self.run_keeping_only_what_is_needed(sweep)
        lanes = [(pack.run, pack.cycle, lane) for pack in sweep.simulation.trained for lane in pack.lanes]
        assert len(lanes) == len(set(lanes))

    def test_a_finished_tuning_goes_on_to_more_cycles(self, make_tuning: MakeTuning) -> None:
        expected = timeless(run(make_tuning(rising, schedule="warmup", cycles=4)))
        sweep = make_tuning(rising, schedule="warmup", cycles=3)
        self.run_keeping_only_what_is_needed(sweep)
        sweep.settings = sweep.settings.model_copy(update={"cycles": 4})
        found = self.run_keeping_only_what_is_needed(sweep)
        assert [row[:4] for row in timeless(found)][:5] == [row[:4] for row in expected][:5]


class TestEndings:
    def test_a_trial_with_a_diverged_lane_is_a_row_without_value_and_no_winner(self, make_tuning: MakeTuning) -> None:
        tuning = run(make_tuning(hot, by="joint", trials=12))
        diverged = [t for t in tuning.trials if t.state == "diverged"]
        assert diverged and all(t.value is None and t.test_accuracy is None for t in diverged)
        for trial in diverged:
            params = trial.params
            scyc = SCyc(params["epsilon"], params["delta"], int(params["q"]), params["beta"])
            cycles = next(m for m in range(5) if scyc.max_lr(m, 0.2) > 0.3)
            assert len(trial.chain) == cycles
            assert trial.trained_steps == 2 * STEPS * cycles + STEPS + 4
        assert tuning.winner is not None and tuning.winner.state == "complete"

    def test_pruned_trials_are_rows_that_took_less(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising, by="joint", trials=16, at_once=4, pruner="median")
        tuning = run(sweep)
        pruned = [t for t in tuning.trials if t.state == "pruned"]
        assert pruned and not [t for t in tuning.trials[:4] if t.state == "pruned"]
        for trial in pruned:
            assert trial.value is None and 1 <= len(trial.chain) < 5
            assert trial.trained_steps == 2 * STEPS * len(trial.chain)
        assert len(tuning.trials) == 16

    @pytest.mark.parametrize(
        ("settings", "stage"), [({}, "epsilon"), ({"by": "joint"}, "joint"), ({"schedule": "decay"}, "max_lr")]
    )
    def test_where_everything_diverges_it_says_so(
        self, make_tuning: MakeTuning, settings: dict[str, object], stage: str
    ) -> None:
        with pytest.raises(TrainingError, match=f"no trial of {stage} reached its end: all diverged"):
            run(make_tuning(lambda cycle, run, max_lr: None, **settings))

    def test_a_chain_with_nothing_left_to_prune_ends_alone_and_is_not_tried_again(
        self, make_tuning: MakeTuning
    ) -> None:
        sweep = make_tuning(rising, by="joint", trials=6)
        tuning = sweep.tuning()
        ended = None
        while (pack := tuning.ask()) is not None:
            if pack.cycle == 2 and ended is None:
                ended = replace(pack, lanes=pack.lanes[:1])
                tuning.end(ended, "layer fc lost everything")
                sweep.train(tuning, replace(pack, lanes=pack.lanes[1:]))
            else:
                sweep.train(tuning, pack)
        [trial] = [t for t in tuning.trials if t.state == "ended"]
        assert (trial.number, len(trial.chain), trial.value) == (0, 2, None)
        assert [t.state for t in tuning.trials if t is not trial] == ["complete"] * 5
        trained = len(sweep.simulation.trained)
        assert timeless(run(sweep)) == timeless(tuning) and len(sweep.simulation.trained) == trained

    def test_of_a_pack_one_of_whose_networks_is_empty_the_others_are_trained(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising, by="joint", trials=6)
        tuning = sweep.tuning()
        jobs = Jobs(tuning, tuning.ledger, sweep.simulation.states, lambda lanes: None, lambda: None, None)
        empty = None
        while (pack := jobs.next()) is not None:
            assert isinstance(pack, Pack)
            if pack.cycle == 2 and empty is None:
                empty = pack.lanes[1].parent
            if empty is not None and empty in {lane.parent for lane in pack.lanes}:
                jobs.done(pack, ChainEnded("layer fc lost everything"))
            else:
                jobs.done(pack, Trained(sweep.simulation.train(pack), device="cpu", host="here"))
        assert jobs.error is None and jobs.finished
        assert [t.state for t in tuning.trials] == ["complete", "ended", *["complete"] * 4]
        assert tuning.trials[1].trained_steps == 2 * STEPS * 2 + STEPS  # cycle 2 of the other run was trained

    def test_of_equal_trials_the_first_wins(self, make_tuning: MakeTuning) -> None:
        winner = run(make_tuning(lambda cycle, run, max_lr: 90.0, by="joint")).winner
        assert winner is not None and winner.number == 0

    def test_a_trial_that_is_worst_at_its_last_cycle_is_complete_all_the_same(self, make_tuning: MakeTuning) -> None:
        def late(cycle: int, run: int, max_lr: float) -> float:
            return 90.0 if cycle < 4 else 50.0 - 10 * max_lr

        tuning = run(make_tuning(late, by="joint", trials=12, at_once=4, pruner="median"))
        assert {t.state for t in tuning.trials} == {"complete"}

    def test_a_pruner_compares_what_was_gained_so_far_although_accuracies_fall(self, make_tuning: MakeTuning) -> None:
        def falling(cycle: int, run: int, max_lr: float) -> float:
            return 90.0 - 10 * cycle - (5 * cycle if max_lr > 0.3 else 0)  # all alike in cycle 0

        sweep = make_tuning(falling, schedule="warmup", trials=16, at_once=8, pruner="median", sampler="random")
        tuning = run(sweep)
        late = tuning.trials[8:]
        assert {t.state for t in late if t.params["max_lr"] > 0.3} == {"pruned"}
        assert {t.state for t in late if t.params["max_lr"] <= 0.3} == {"complete"}
        assert {len(t.chain) for t in late if t.state == "pruned"} == {2}  # cycle 1 is the first that tells them apart

    def test_seconds_are_those_of_the_new_lanes(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising)
        tuning = run(sweep)
        assert sum(t.seconds for t in tuning.trials) == pytest.approx(0.125 * len(sweep.rows()))

    def test_initial_weights_of_another_torch_are_refused(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising)
        run(sweep, stop_after=1)
        sweep.simulation.weights = "other"
        with pytest.raises(TrainingError, match="other initial weights"):
            run(sweep)


class TestSchedules:
    @pytest.mark.parametrize("schedule", ["warmup", "constant", "decay", "cyclical"])
    def test_another_schedule_has_one_max_lr_and_the_same_trials_and_objective(
        self, make_tuning: MakeTuning, schedule: str
    ) -> None:
        tuning = run(make_tuning(rising, schedule=schedule))
        assert len(tuning.trials) == 10
        for trial in tuning.trials:
            assert rates(trial.chain) == [trial.params["max_lr"]] * 5
            assert trial.value == pytest.approx(rising(4, 0, trial.params["max_lr"]) + 0.25)
        assert tuning.training.schedule.name == schedule

    def test_scyc_trains_under_the_preset_s_warmup(self, make_tuning: MakeTuning) -> None:
        training = make_tuning(rising).tuning().training
        assert (training.schedule, training.steps) == (Schedule("warmup", 2, (5, 7)), 10)


class TestProgress:
    def test_it_counts_lanes_and_names_the_stage(self, make_tuning: MakeTuning) -> None:
        sweep = make_tuning(rising)
        tuning = sweep.tuning()
        labels, done = [], []
        while (pack := tuning.ask()) is not None:
            sweep.train(tuning, pack)
            progress = tuning.progress()
            labels.append(progress.label)
            done.append(progress.lanes_done)
            assert progress.lanes_done <= progress.lanes_planned
        assert list(dict.fromkeys(labels)) == [
            "epsilon: trials 1 to 2 of 4",
            "epsilon: trials 3 to 4 of 4",
            "delta: trials 1 to 2 of 3",
            "delta: trial 3 of 3",
            "shape: trials 1 to 2 of 3",
            "shape: trial 3 of 3",
        ]
        assert done == sorted(done) and done[-1] == len(sweep.rows())


class TestSpec:
    @pytest.mark.parametrize(
        ("flags", "stages"),
        [
            ({}, {"epsilon": 8, "delta": 6, "shape": 6}),
            ({"trials": 3}, {"epsilon": 1, "delta": 1, "shape": 1}),
            ({"trials": 5}, {"epsilon": 1, "delta": 2, "shape": 2}),
            ({"oracle": "there"}, {"delta": 10, "shape": 10}),
            ({"oracle": "there", "trials": 3}, {"delta": 2, "shape": 1}),
            ({"by": "joint"}, {"joint": 20}),
            ({"schedule": "warmup"}, {"max_lr": 20}),
        ],
    )
    def test_trials_are_divided_over_the_stages_and_none_is_lost(
        self, flags: dict[str, object], stages: dict[str, int]
    ) -> None:
        assert resolve(flags, kind=TuningSettings).stages == stages

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"trials": 2}, "--trials must be at least the 3 stages, but got 2"),
            ({"trials": 1, "oracle": "there"}, "--trials must be at least the 2 stages, but got 1"),
            ({"trials": 0}, "--trials must be at least 1, but got 0"),
            ({"target_cycle": 16}, r"--target-cycle must lie in 1\.\.cycles=15, but got 16"),
            ({"cycles": 0}, r"--target-cycle must lie in 1\.\.cycles=0, but got 0"),
            ({"epsilon": "0.1:0.01"}, "--epsilon: LO <= HI must hold in a range, but got 0.1:0.01"),
            ({"delta": "0:0.1"}, "--delta: a range must lie above 0, but got 0"),
            ({"q": "0:1.5"}, "--q: .*whole numbers"),
            ({"q": ""}, "--q: a range is LO:HI"),
            ({"beta": "0:3"}, "--beta: beta must be above 0"),
            ({"sampler": "cma"}, "unknown sampler 'cma'; known are tpe, gp and random"),
            ({"pruner": "asha"}, "unknown pruner 'asha'; known are none and median"),
            ({"schedule": "cosine"}, "unknown schedule 'cosine'; known are scyc, warmup"),
            ({"by": "fit"}, "--by fit needs a finished oracle: give --oracle DIR"),
            ({"by": "fit", "oracle": "there", "schedule": "decay"}, "--by fit fits S-Cyc.*no --schedule decay"),
            ({"at_once": 0}, "--at-once must be auto or at least 1, but got 0"),
        ],
    )
    def test_wrong_settings_are_refused_with_rule_and_value(self, flags: dict[str, object], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            resolve(flags, kind=TuningSettings)

    def test_a_tuning_of_more_lanes_than_memory_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"a cycle may have at most 200,000 lanes .* but got 25,000,000"):
            resolve({"trials": 10_000, "runs": 5_000, "by": "joint"}, kind=TuningSettings)

    def test_rates_are_searched_over_the_grid_unless_told_otherwise(self) -> None:
        ranges = resolve({"delta": "0.01:0.1"}, kind=TuningSettings).ranges()
        assert (ranges["epsilon"].low, ranges["epsilon"].high, ranges["epsilon"].log) == (0.001, 1.0, True)
        assert (ranges["delta"].low, ranges["delta"].high, ranges["delta"].log) == (0.01, 0.1, True)
        assert (ranges["q"].low, ranges["q"].high, ranges["beta"].low, ranges["beta"].high) == (0, 3, 3, 6)

    def test_a_tuning_lies_beside_the_oracle_of_its_preset(self) -> None:
        assert str(resolve({}, kind=TuningSettings).folder) == "results/digits-tuning"

    def test_a_batch_is_half_a_stage_or_as_many_as_told_and_no_more_than_there_are(self) -> None:
        assert [resolve({}, kind=TuningSettings).batch(stage) for stage in ("epsilon", "delta", "shape")] == [4, 3, 3]
        assert resolve({"at_once": 7}, kind=TuningSettings).batch("epsilon") == 7
        assert resolve({"at_once": 7}, kind=TuningSettings).batch("delta") == 6

    def test_target_is_the_last_cycle_unless_told_otherwise(self) -> None:
        assert resolve({}, kind=TuningSettings).target == 15
        assert resolve({"target_cycle": 13}, kind=TuningSettings).target == 13

    def test_lanes_are_those_of_the_oracle_with_the_same_settings(self) -> None:
        assert resolve({}, kind=TuningSettings).training() == resolve({}).training()
        # A warmup of no steps without drops is the constant rate that the preset's oracle has.
        assert resolve({"preset": "mlp"}, kind=TuningSettings).training() == resolve({"preset": "mlp"}).training()
