"""Comparing schedules, on simulated training: which max_lr each gets, what is trained, and what a kill changes."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.scyc import SCyc
from sweep.config.resolve import resolve
from sweep.errors import SettingsError, TrainingError
from sweep.experiments.schedules.settings import TABLE_2, SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison
from trainables.spec import Schedule

MakeComparison = Callable[..., Any]

GRID = (0.01, 0.0316228, 0.1, 0.316228, 1.0)


def peak(at: float) -> Callable[[int, int, float], float]:
    """Validation accuracy is highest at one max_lr; run 1 is half a point better."""
    return lambda cycle, run, max_lr: 90.0 - 5 * abs(math.log(max_lr / at)) + 0.5 * run


def rising(cycle: int, run: int, max_lr: float) -> float:
    """The best rate is 0.0316 at first and 0.316 in cycle 2."""
    return peak(GRID[1] * 10 ** (cycle / 2))(cycle, run, max_lr)


BY_SCHEDULE = {"constant": peak(GRID[1]), "decay": peak(GRID[2]), "cyclical": peak(GRID[3])}


def run(sweep: Any, stop_after: int | None = None) -> ScheduleComparison:
    """Train until nothing is left, or a number of packs, letting go of every state as soon as it may be."""
    comparison: ScheduleComparison = sweep.comparison()
    trained = 0
    while trained != stop_after and (pack := comparison.ask()) is not None:
        sweep.train(comparison, pack)
        for digest in sweep.simulation.kept() - comparison.needed_states():
            sweep.simulation.lose(digest)  # the simulation refuses lanes whose start is gone
        trained += 1
        assert trained < 1000, "this comparison goes round in circles"
    assert comparison.finished or stop_after is not None
    if comparison.finished:
        for digest in sweep.simulation.kept() - comparison.needed_states():
            sweep.simulation.lose(digest)
    return comparison


def outcome(comparison: ScheduleComparison, *without: str) -> Any:
    """Everything that came out, the sizes of packs included unless told otherwise."""

    def lanes(rows: Any) -> Any:
        return [{name: v for name, v in row.items() if name not in ("finished_at", *without)} for row in rows]

    chains = {name: (chain, lanes(comparison.rows_of_chain(chain))) for name, chain in comparison.chains.items()}
    return chains, [(grid.schedule, grid.cycle, grid.best_max_lr, lanes(grid.rows)) for grid in comparison.grids]


class TestRates:
    def test_each_schedule_gets_the_best_of_the_grid_on_the_unpruned_network_and_warmup_2_on_the_last(
        self, make_comparison: MakeComparison
    ) -> None:
        comparison = run(make_comparison(rising, BY_SCHEDULE))
        rates = {name: [link.max_lr for link in chain] for name, chain in comparison.chains.items()}
        assert rates == {
            "constant": [GRID[1]] * 3,
            "decay": [GRID[2]] * 3,
            "cyclical": [GRID[3]] * 3,
            "warmup-1": [GRID[1]] * 3,
            "warmup-2": [GRID[3]] * 3,
            "scyc": SCyc(0.035, 0.05, 1, 4).trajectory(2, 0.2),
        }
        found = [(grid.schedule.name, grid.cycle, grid.best_max_lr) for grid in comparison.grids]
        assert found == [
            ("constant", 0, GRID[1]),
            ("decay", 0, GRID[2]),
            ("cyclical", 0, GRID[3]),
            ("warmup", 0, GRID[1]),
            ("warmup", 2, GRID[3]),
        ]

    def test_every_lane_trains_under_the_schedule_of_its_chain(self, make_comparison: MakeComparison) -> None:
        comparison = run(make_comparison(rising, BY_SCHEDULE))
        kinds = {"warmup-1": "warmup", "warmup-2": "warmup", "scyc": "warmup"}
        for name, chain in comparison.chains.items():
            rows = comparison.rows_of_chain(chain)
            assert {row["schedule"] for row in rows} == {kinds.get(name, name)}
            assert [row["max_lr"] for row in rows] == [link.max_lr for link in chain for _ in (0, 1)]

    def test_warmup_2_s_grid_starts_from_warmup_1_s_networks(self, make_comparison: MakeComparison) -> None:
        comparison = run(make_comparison(rising, BY_SCHEDULE))
        before = {row["state"] for row in comparison.rows_of_chain(comparison.chains["warmup-1"]) if row["cycle"] == 1}
        assert {row["parent_state"] for row in comparison.grids[-1].rows} == before

    def test_a_rate_that_is_given_is_taken_and_nothing_is_tuned(self, make_comparison: MakeComparison) -> None:
        comparison = run(make_comparison(rising, schedules=("constant=0.2", "warmup-2=0.3")))
        assert comparison.grids == []
        assert [[link.max_lr for link in chain] for chain in comparison.chains.values()] == [[0.2] * 3, [0.3] * 3]

    @pytest.mark.parametrize(("at", "found"), [(0.001, 0.001), (3.0, 3.16228), (None, None)])
    def test_the_grid_goes_on_where_the_best_lies_on_its_edge(
        self, make_comparison: MakeComparison, at: float | None, found: float | None
    ) -> None:
        truth = peak(at) if at else lambda cycle, run, max_lr: 50.0 + math.log10(max_lr)
        comparison = run(make_comparison(truth, schedules=("constant",)))
        [grid] = comparison.grids
        if found is None:  # at most four times its points
            assert len({row["max_lr"] for row in grid.rows}) == 20
            assert grid.best_max_lr == max(row["max_lr"] for row in grid.rows)
        else:
            assert grid.best_max_lr == pytest.approx(found)

    def test_of_a_plateau_the_middle_is_taken_and_the_grid_stays_as_it_is(
        self, make_comparison: MakeComparison
    ) -> None:
        [grid] = run(make_comparison(lambda *_: 90.0, schedules=("constant",))).grids
        assert grid.best_max_lr == GRID[2] and {row["max_lr"] for row in grid.rows} == set(GRID)

    def test_a_schedule_whose_every_rate_diverges_is_an_error(self, make_comparison: MakeComparison) -> None:
        with pytest.raises(TrainingError, match="decay: every max_lr of the grid diverged"):
            run(make_comparison(rising, {"decay": lambda *_: None}))

    def test_test_accuracies_change_nothing(self, make_comparison: MakeComparison) -> None:
        one, other = (make_comparison(rising, BY_SCHEDULE) for _ in range(2))
        other.simulation.test_accuracy = lambda cycle, run, max_lr: 99.0 - 50 * max_lr
        chains = [run(sweep).chains for sweep in (one, other)]
        assert chains[0] == chains[1]
        assert one.simulation.lanes() == other.simulation.lanes()


class TestChains:
    def test_schedules_train_in_the_same_packs_and_share_how_they_begin(self, make_comparison: MakeComparison) -> None:
        sweep = make_comparison(rising, schedules=("ft=0.1", "lrw=0.1", "slr=0.1", "clr=0.1"))
        comparison = run(sweep)
        assert {(pack.cycle, len(pack.lanes)) for pack in sweep.simulation.trained} == {(0, 1), (1, 4), (2, 4)}
        rows = comparison.rows_of_chain(comparison.chains["slr=0.1"])
        assert [row["schedule"] for row in rows] == ["warmup"] * 2 + ["slr"] * 4
        firsts = {tuple(row["lane_id"] for row in comparison.rows_of_chain(c[:1])) for c in comparison.chains.values()}
        assert len(firsts) == 1

    def test_no_lane_is_trained_twice_but_where_a_chain_begins_with_what_a_grid_let_go(
        self, make_comparison: MakeComparison
    ) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE)
        comparison = run(sweep)
        counts = Counter((pack.run, pack.cycle, lane) for pack in sweep.simulation.trained for lane in pack.lanes)
        again = {lane.max_lr for (_, cycle, lane), count in counts.items() if count > 1}
        assert again == {GRID[3]}  # warmup-2's first cycle, which was in warmup-1's grid
        assert max(counts.values()) == 2
        assert len(comparison.current()) == len(sweep.rows())

    @pytest.mark.parametrize("pruning", ["imp", "global_magnitude"])
    def test_of_a_grid_only_networks_that_can_win_are_kept(self, make_comparison: MakeComparison, pruning: str) -> None:
        sweep = make_comparison(peak(GRID[2]), schedules=("constant",), runs=1, pruning=pruning)
        sweep.lanes_per_pack = 5
        comparison = sweep.comparison()
        sweep.train(comparison, comparison.ask())
        best = next(row for row in sweep.rows().values() if row["max_lr"] == GRID[2])
        assert comparison.needed_states() == {best["state"], best["parent_state"]}

    def test_kept_in_the_end_are_the_last_networks_and_the_initial_weights(
        self, make_comparison: MakeComparison
    ) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE)
        comparison = run(sweep)
        rows = comparison.ledger.rows.values()
        last = {
            row["state"]
            for chain in comparison.chains.values()
            for row in comparison.rows_of_chain(chain)
            if row["cycle"] == 2
        }
        assert sweep.simulation.kept() == last | {row["parent_state"] for row in rows if row["cycle"] == 0}
        assert len(last) == 2 * 6

    @pytest.mark.parametrize("stop", [None, 3, 12, 24])
    def test_for_histograms_every_network_of_every_chain_is_kept(
        self, make_comparison: MakeComparison, stop: int | None
    ) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE, histograms=True)
        if stop is not None:
            run(sweep, stop_after=stop)
        comparison = run(sweep)
        chains = comparison.chains.values()
        networks = {row["state"] for chain in chains for row in comparison.rows_of_chain(chain)}
        initial = {row["parent_state"] for row in comparison.ledger.rows.values() if row["cycle"] == 0}
        assert len(networks) == 2 * 3 * 6
        assert sweep.simulation.kept() == networks | initial

    @pytest.mark.parametrize("rewind", ["none", "init", 3])
    def test_lanes_go_back_to_what_their_own_chain_left(self, make_comparison: MakeComparison, rewind: object) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE, pruning="global_magnitude", rewind=rewind)
        comparison = run(sweep)
        for chain in comparison.chains.values():
            for run_ in (0, 1):
                first = comparison.found[run_, chain[:1]]["rewind_state"]
                assert (first is None) == (rewind == "none")
                assert {comparison._lane(run_, chain[:n]).rewind_to for n in (2, 3)} == {first}

    def test_a_schedule_that_diverges_ends_there_and_the_others_go_on(self, make_comparison: MakeComparison) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return None if (cycle, run) == (1, 1) else 90.0

        schedules = ("constant=0.1", "decay=0.1", "cyclical=0.1")
        comparison = run(make_comparison(rising, {"decay": truth}, schedules=schedules))
        assert {name: len(chain) for name, chain in comparison.chains.items()} == {
            "constant=0.1": 3,
            "decay=0.1": 2,
            "cyclical=0.1": 3,
        }

    def test_warmup_2_cannot_be_tuned_where_warmup_1_ended_before(self, make_comparison: MakeComparison) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return None if cycle == 1 else 90.0

        sweep = make_comparison(truth, schedules=("constant=0.1", "warmup-2"))
        with pytest.raises(TrainingError, match="give --schedules warmup-2=MAX_LR"):
            run(sweep)

    @pytest.mark.parametrize("cycle", [1, 2])
    def test_nor_where_nothing_is_left_to_prune_before_or_there(
        self, make_comparison: MakeComparison, cycle: int
    ) -> None:
        sweep = make_comparison(rising, schedules=("constant=0.1", "warmup-2"))
        sweep.simulation.nothing_left = lambda at, run, parent: (at, run) == (cycle, 1)
        with pytest.raises(TrainingError, match="warmup-1's chain ended; give --schedules warmup-2=MAX_LR"):
            run(sweep)

    def test_warmup_2_is_tuned_where_warmup_1_diverges_in_the_last_cycle_alone(
        self, make_comparison: MakeComparison
    ) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return None if (cycle, run, max_lr) == (2, 1, GRID[2]) else peak(GRID[2])(cycle, run, max_lr) + max_lr

        comparison = run(make_comparison(truth, schedules=("warmup-1", "warmup-2")))
        assert [link.max_lr for link in comparison.chains["warmup-1"]] == [GRID[2]] * 3
        assert [link.max_lr for link in comparison.chains["warmup-2"]] == [GRID[3]] * 3

    def test_a_comparison_of_one_cycle_compares_the_unpruned_network(self, make_comparison: MakeComparison) -> None:
        comparison = run(make_comparison(rising, BY_SCHEDULE, cycles=0))
        assert {len(chain) for chain in comparison.chains.values()} == {1}
        assert comparison.chains["warmup-2"] == comparison.chains["warmup-1"]


class TestGoingOn:
    @pytest.mark.parametrize("stop", [1, 4, 9, 14, 19, 25])
    def test_killed_at_any_pack_it_goes_on_to_the_same(self, make_comparison: MakeComparison, stop: int) -> None:
        expected = outcome(run(make_comparison(rising, BY_SCHEDULE)))
        sweep = make_comparison(rising, BY_SCHEDULE)
        run(sweep, stop_after=stop)
        before = set(sweep.rows())
        sweep.simulation.trained.clear()
        assert outcome(run(sweep)) == expected
        assert len(before) < len(sweep.rows())

    @pytest.mark.parametrize("rewind", ["init", 3])
    def test_what_chains_rewind_to_is_made_again_where_it_alone_is_lost(
        self, make_comparison: MakeComparison, rewind: object
    ) -> None:
        settings = {"schedules": ("constant", "slr=0.1"), "rewind": rewind}
        expected = outcome(run(make_comparison(rising, BY_SCHEDULE, **settings)), "lanes_in_pack")
        sweep = make_comparison(rising, BY_SCHEDULE, **settings)
        run(sweep, stop_after=6)
        early = {row["rewind_state"] for row in sweep.rows().values()}
        for digest in early & sweep.simulation.kept():
            sweep.simulation.lose(digest)
        assert outcome(run(sweep), "lanes_in_pack") == expected

    def test_for_histograms_every_network_of_every_chain_is_there_in_the_end(
        self, make_comparison: MakeComparison
    ) -> None:
        def wanted(comparison: ScheduleComparison) -> set[str]:
            return {row["state"] for chain in comparison.chains.values() for row in comparison.rows_of_chain(chain)}

        settings = {"max_lr": "0.01:1:x5", "cycles": 2, "runs": 2, "steps": 10, "histograms": True}
        for stop in (None, 1, 9, 19, 25):
            # warmup-2's chain begins with what warmup-1's grid let go, and is begun anew for it.
            sweep = make_comparison(rising, BY_SCHEDULE, histograms=True)
            run(sweep, stop_after=stop)
            assert wanted(run(sweep)) <= sweep.simulation.kept()
        sweep = make_comparison(rising, BY_SCHEDULE, histograms=True, schedules=("constant=0.2", "warmup-2"))
        run(sweep)
        sweep.settings = resolve(
            {**settings, "schedules": ("constant=0.2", "warmup-2", "decay")}, kind=SchedulesSettings
        )
        sweep.simulation.trained.clear()
        assert wanted(run(sweep)) <= sweep.simulation.kept()
        assert {lane.schedule.name for pack in sweep.simulation.trained for lane in pack.lanes} == {"decay"}

    @pytest.mark.parametrize("stop", [4, 14, 25])
    def test_lost_states_are_made_again(self, make_comparison: MakeComparison, stop: int) -> None:
        expected = outcome(run(make_comparison(rising, BY_SCHEDULE)), "lanes_in_pack")
        sweep = make_comparison(rising, BY_SCHEDULE)
        run(sweep, stop_after=stop)
        for digest in sweep.simulation.kept():
            sweep.simulation.lose(digest)
        assert outcome(run(sweep), "lanes_in_pack") == expected

    def test_more_schedules_cycles_and_runs_train_only_what_is_new(self, make_comparison: MakeComparison) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE, schedules=("constant", "decay"))
        run(sweep)
        before = set(sweep.rows())
        sweep.simulation.trained.clear()
        settings = {"max_lr": "0.01:1:x5", "cycles": 3, "runs": 3, "steps": 10}
        sweep.settings = resolve({**settings, "schedules": ("slr=0.1", "decay", "constant")}, kind=SchedulesSettings)
        run(sweep)
        trained = sum(len(pack.lanes) for pack in sweep.simulation.trained)
        assert before < set(sweep.rows())
        # Two runs of two schedules: one new cycle. The new run: two grids, and their chains beyond cycle 0. The new
        # schedule: four cycles in three runs.
        assert trained == 2 * 2 * 1 + (10 + 2 * 3) + 4 * 3

    @pytest.mark.parametrize("rewind", ["none", "init", 3])
    def test_more_cycles_go_on_from_the_last_networks_whatever_they_rewind_to(
        self, make_comparison: MakeComparison, rewind: object
    ) -> None:
        settings = {"schedules": ("constant", "slr=0.1"), "pruning": "global_magnitude", "rewind": rewind}
        sweep = make_comparison(rising, BY_SCHEDULE, **settings)
        run(sweep)
        sweep.simulation.trained.clear()
        base = {"max_lr": "0.01:1:x5", "cycles": 4, "runs": 2, "steps": 10}
        sweep.settings = resolve(base | settings, kind=SchedulesSettings)
        run(sweep)
        assert Counter(cycle for cycle, _, _ in sweep.simulation.lanes()) == {3: 4, 4: 4}

    def test_a_finished_comparison_trains_nothing(self, make_comparison: MakeComparison) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE)
        expected = outcome(run(sweep))
        sweep.simulation.trained.clear()
        assert outcome(run(sweep)) == expected and not sweep.simulation.trained

    def test_progress_counts_what_is_planned(self, make_comparison: MakeComparison) -> None:
        sweep = make_comparison(rising, BY_SCHEDULE)
        comparison = sweep.comparison()
        # Per run: four grids of 5 and S-Cyc's first lane, five chains of 2 more, a grid of 5, a chain of 3.
        assert comparison.progress().lanes_planned == 2 * (20 + 1 + 10 + 5 + 3)
        done = 0
        while (pack := comparison.ask()) is not None:
            sweep.train(comparison, pack)
            progress = comparison.progress()
            assert progress.lanes_planned == 78
            done = max(done, progress.lanes_done)
        # warmup-2's first lane is one of warmup-1's grid, and warmup-1's last one of warmup-2's.
        assert done == len(sweep.rows()) == 78 - 4


class TestEntries:
    def of(self, *schedules: str, **settings: object) -> Any:
        given = {"schedules": schedules} if schedules else {}
        return {entry.name: entry for entry in resolve(settings | given, kind=SchedulesSettings).entries}

    def test_by_default_they_are_the_rows_of_table_2(self) -> None:
        assert tuple(self.of()) == TABLE_2 == ("constant", "decay", "cyclical", "warmup-1", "warmup-2", "scyc")
        assert {name: entry.tuned_on for name, entry in self.of().items()} == {
            "constant": "first",
            "decay": "first",
            "cyclical": "first",
            "warmup-1": "first",
            "warmup-2": "last",
            "scyc": "",
        }

    @pytest.mark.parametrize(
        ("preset", "table", "rates"),
        [
            ("resnet20", 9, [0.01, 0.03, 0.03, 0.03, 0.07]),
            ("vgg19", 10, [0.008, 0.01, 0.03, 0.1, 0.04]),
            ("resnet50", 11, [0.01, 0.03, 0.05, 0.1, 0.05]),
            ("resnet20-adam", 5, [0.0008, 0.003, 0.03, 0.003, 0.007]),
            ("resnet20-rmsprop", 6, [0.0006, 0.002, 0.003, 0.001, 0.003]),
        ],
    )
    def test_where_the_paper_prints_rates_they_are_taken(self, preset: str, table: int, rates: list[float]) -> None:
        entries = list(self.of(preset=preset).values())
        assert [entry.max_lr[0] for entry in entries[:5]] == rates
        assert all(len(set(entry.max_lr)) == 1 and len(entry.max_lr) == 26 for entry in entries[:5])
        assert {entry.source for entry in entries[:5]} == {f"the paper's Table {table}"}
        assert {entry.tuned_on for entry in entries} == {""}

    def test_the_paper_s_lengths_are_taken_too_and_shrink_with_the_steps(self) -> None:
        assert self.of(preset="resnet20")["cyclical"].schedule == Schedule("cyclical", cycle_steps=8000)
        assert self.of(preset="resnet20", scale=0.1)["cyclical"].schedule.cycle_steps == 800
        assert self.of(preset="resnet20", cycle_steps=5000)["cyclical"].schedule.cycle_steps == 5000
        assert self.of(preset="vgg19")["warmup-1"].schedule == Schedule("warmup", 10_000, (32_000, 48_000))

    def test_another_data_set_or_optimizer_is_another_experiment(self) -> None:
        assert self.of(preset="resnet20", dataset="cifar100", scyc="0.04,0.06,1,4")["constant"].tuned_on == "first"
        assert self.of(preset="vgg19", optimizer="adam")["constant"].tuned_on == "first"

    def test_retraining_starts_from_warmup_1_s_rate(self) -> None:
        entries = self.of("ft", "lrw", "slr", "clr", preset="vgg19")
        assert {entry.max_lr[0] for entry in entries.values()} == {0.1}
        assert entries["slr"].schedule == Schedule("slr", 10_000, (32_000, 48_000))
        assert {entry.tuned_on for entry in self.of("ft", "clr").values()} == {"first"}
        assert len(resolve({"schedules": ("ft", "clr", "warmup-1")}, kind=SchedulesSettings).grids) == 1

    def test_several_curves_stand_beside_each_other(self) -> None:
        entries = self.of("scyc", "scyc=0.1,0.1,1,4", "silo", preset="vgg19")
        assert list(entries) == ["scyc", "scyc=0.1,0.1,1,4", "silo"]
        assert list(self.of("scyc=0.1,0.1,1,4", "scyc", preset="vgg19")) == ["scyc=0.1,0.1,1,4", "scyc"]
        assert [entry.source for entry in entries.values()] == [
            "epsilon 0.04, delta 0.06, q 1, beta 4 (the preset's)",
            "epsilon 0.1, delta 0.1, q 1, beta 4 (given)",
            "epsilon 0.04, delta 0.06, q 1, beta 5 (SILO)",
        ]
        assert self.of("scyc", scyc="0.2,0.1,1,4")["scyc"].source == "epsilon 0.2, delta 0.1, q 1, beta 4 (given)"
        assert entries["silo"].max_lr == tuple(SCyc(0.04, 0.06, 1, 5).trajectory(25, 0.2))

    def test_the_parameters_of_a_file_are_taken_once_and_for_all(self, tmp_path: Path) -> None:
        path = tmp_path / "scyc.toml"
        path.write_text('schedule = "scyc"\nepsilon = 0.02\ndelta = 0.03\nq = 2\nbeta = 3.5\n')
        settings = resolve({"schedules": (f"scyc={path}",)}, kind=SchedulesSettings)
        path.unlink()
        assert settings.schedules == ("scyc=0.02,0.03,2,3.5",)
        assert SchedulesSettings.model_validate(settings.model_dump()).entries == settings.entries

    @pytest.mark.parametrize(
        ("given", "states"),
        [
            # A run: four grids of 5; six schedules; initial weights and one to spare.
            ({}, 20 + 6 + 2),
            ({"cycles": 9}, 20 + 6 + 2),
            # All chains with all their networks, and warmup-2's grid beside them.
            ({"cycles": 9, "histograms": True}, 6 * 10 + 5 + 6 + 2),
            # What is rewound to, of every lane of the grids.
            ({"pruning": "global_magnitude", "rewind": 3}, 20 + 20 + 6 + 2),
            ({"schedules": ("constant=0.1", "decay=0.1")}, 5 + 2 + 2),
        ],
    )
    def test_the_disk_must_hold_grids_chains_and_what_they_rewind_to(
        self, given: dict[str, object], states: int
    ) -> None:
        settings = resolve({"max_lr": "0.01:1:x5", "cycles": 2, "runs": 2, **given}, kind=SchedulesSettings)
        assert settings.peak_states == 2 * states

    @pytest.mark.parametrize(
        ("schedules", "settings", "message"),
        [
            (("warmup-1",), {"schedule": "constant", "steps": 34, "milestones": (40,)}, "milestones must lie after"),
            (("warmup-2=1",), {"schedule": "constant", "steps": 9, "warmup_steps": 10}, "warmup_steps must lie in"),
            (("cosine",), {}, "unknown schedule 'cosine'; known are constant, decay"),
            (("decoy",), {}, "unknown schedule 'decoy'; did you mean decay?"),
            (("constant=fast",), {}, "--schedules constant=fast: MAX_LR must be a number above 0, but got 'fast'"),
            (("decay=0",), {}, "MAX_LR must be a number above 0, but got '0'"),
            (("decay=inf",), {}, "MAX_LR must be a number above 0"),
            (("decay=-1",), {}, "MAX_LR must be a number above 0"),
            (("decay", "decay"), {}, "--schedules decay is given twice"),
            (("decay=",), {}, "--schedules decay=: there is nothing behind the ="),
            (("decay,constant",), {}, "separate schedules by spaces, not by commas"),
            ((), {"schedules": ()}, "--schedules names none"),
            (("silo",), {}, "SILO has parameters for resnet20 on cifar10"),
            (("scyc=1,2",), {}, "S-Cyc parameters are EPS,DELTA,Q,BETA"),
            (("scyc",), {"preset": "alexnet"}, "--schedules scyc: this preset has no S-Cyc parameters"),
            (("scyc",), {"preset": "vgg19", "dataset": "cifar100"}, "no S-Cyc parameters for this network and data"),
            (("scyc=nowhere.toml",), {}, "nowhere.toml cannot be read"),
        ],
    )
    def test_what_is_no_schedule_is_one_line(
        self, schedules: tuple[str, ...], settings: dict[str, object], message: str
    ) -> None:
        with pytest.raises(SettingsError) as error:
            self.of(*schedules, **settings)
        assert message in str(error.value) and "\n" not in str(error.value)
