"""The greedy oracle on simulated curves whose peaks are known: what it asks for, decides, keeps and survives."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.max_lr import MaxLrGrid
from sweep.errors import TrainingError
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.statistics.selection import ClosedCycle
from trainables.spec import Pack

MakeSweep = Callable[..., Any]

GRID = (0.01, 0.0316228, 0.1, 0.316228, 1.0)
"""What 0.01:1:x5, the grid of `make_sweep`, stands for."""
PEAKS = (0.0316228, 0.1, 0.316228)


def hill(max_lr: float, peak: float) -> float:
    """5 points lower half a decade off the peak: with the usual tolerance nothing but the peak is feasible."""
    return max(1.0, 90.0 - 20 * math.log10(max_lr / peak) ** 2)


def moving(cycle: int, run: int, max_lr: float) -> float:
    """The peak moves up the grid from cycle to cycle and is the same for all runs."""
    return hill(max_lr, PEAKS[cycle]) + 0.25 * run


def parting(cycle: int, run: int, max_lr: float) -> float:
    """Each run has its own peak in every cycle, and no two mean scores are the same."""
    return hill(max_lr, GRID[1 + (run + cycle) % 3]) + 0.3 * run


def rounds_of(sweep: Any, oracle: GreedyOracle | None = None) -> list[list[Pack]]:
    """Ask for all that can be asked for at once, train it, and so on; the packs of each round."""
    oracle = oracle or sweep.oracle()
    rounds = []
    while packs := list(iter(oracle.ask, None)):
        for pack in packs:
            sweep.train(oracle, pack)
        rounds.append(packs)
    assert oracle.finished
    return rounds


def points_of(packs: Iterable[Pack], run: int = 0) -> list[float]:
    return [lane.max_lr for pack in packs if pack.run == run for lane in pack.lanes]


def timeless(closed: list[ClosedCycle]) -> list[Any]:
    def lanes(cycle: ClosedCycle) -> list[dict[str, Any]]:
        rows = [{name: value for name, value in row.items() if name != "finished_at"} for row in cycle.rows]
        return sorted(rows, key=lambda row: (row["run"], row["max_lr"]))

    return [(c.cycle, c.run, c.base_points, c.choice, lanes(c)) for c in closed]


class TestCycles:
    def test_every_cycle_trains_the_whole_grid_once_in_every_run(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving)
        sweep.run()
        expected = [(cycle, run, max_lr) for cycle in range(3) for run in range(2) for max_lr in GRID]
        assert sorted(sweep.simulation.lanes()) == expected

    def test_the_trajectory_is_that_of_the_true_peaks(self, make_sweep: MakeSweep) -> None:
        closed = make_sweep(moving).run().closed
        assert [(c.cycle, c.run, c.choice.best_max_lr) for c in closed] == [
            (0, None, PEAKS[0]),
            (1, None, PEAKS[1]),
            (2, None, PEAKS[2]),
        ]

    @pytest.mark.parametrize("decide", ["shared", "per_run"])
    def test_all_lanes_of_a_run_and_cycle_start_from_the_state_that_won_the_cycle_before(
        self, make_sweep: MakeSweep, run_seed: Callable[[int], int], decide: str
    ) -> None:
        truth = moving if decide == "shared" else parting
        sweep = make_sweep(truth, decide=decide)
        sweep.run()
        rows = sweep.rows().values()
        initial = {row["run"]: row["parent_state"] for row in rows if row["cycle"] == 0}
        for pack in sweep.simulation.trained:
            assert pack.seed == run_seed(pack.run)
            if pack.cycle == 0:
                assert {(lane.parent, lane.rewind_to) for lane in pack.lanes} == {(None, None)}
                continue
            before = [row for row in rows if (row["cycle"], row["run"]) == (pack.cycle - 1, pack.run)]
            winner = max(before, key=lambda row: truth(row["cycle"], row["run"], row["max_lr"]))
            assert {lane.parent for lane in pack.lanes} == {winner["state"]}
            assert {lane.rewind_to for lane in pack.lanes} == {initial[pack.run]}
        assert initial[0] != initial[1]

    def test_a_shared_decision_follows_the_mean_and_carries_every_run_s_own_network(
        self, make_sweep: MakeSweep
    ) -> None:
        scores = {0.1: (90.0, 60.0), 0.2: (80.0, 80.0), 0.4: (60.0, 85.0)}  # means: 75, 80, 72.5
        sweep = make_sweep(lambda cycle, run, max_lr: scores[max_lr][run], max_lr="0.1,0.2,0.4", cycles=1)
        oracle = sweep.run()
        assert [c.choice.best_max_lr for c in oracle.closed] == [0.2, 0.2]
        parents = {(pack.run, lane.parent) for pack in sweep.simulation.trained if pack.cycle for lane in pack.lanes}
        assert parents == {(row["run"], row["state"]) for row in oracle.closed[0].best_rows}
        assert len(parents) == 2

    def test_a_run_s_max_lr_is_never_left_over_from_another_run(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(parting, decide="per_run", runs=3, lanes_per_pack=3)
        sweep.run()
        for run in range(3):
            for cycle in range(3):
                asked = [pack for pack in sweep.simulation.trained if (pack.run, pack.cycle) == (run, cycle)]
                assert points_of(asked, run) == list(GRID)
        for row in sweep.rows().values():
            assert row["val_accuracy"] == parting(row["cycle"], row["run"], row["max_lr"])

    def test_the_choice_uses_validation_alone(self, make_sweep: MakeSweep) -> None:
        def worst_where_best(cycle: int, run: int, max_lr: float) -> float:
            return 100.0 - moving(cycle, run, max_lr)

        ours = make_sweep(moving, test_accuracy=moving)
        theirs = make_sweep(moving, test_accuracy=worst_where_best)
        choices = [[c.choice for c in sweep.run().closed] for sweep in (ours, theirs)]
        assert ours.simulation.trained == theirs.simulation.trained
        assert choices[0] == choices[1]
        reported = [row["test_accuracy"] for row in theirs.rows().values()]
        assert max(reported) > 50 and len(set(reported)) > 5


class TestPacks:
    def test_a_cycle_comes_in_nearly_equal_parts_and_each_part_in_all_runs_before_the_next(
        self, make_sweep: MakeSweep
    ) -> None:
        first, *_ = rounds_of(make_sweep(moving, lanes_per_pack=3))
        assert [(pack.run, tuple(lane.max_lr for lane in pack.lanes)) for pack in first] == [
            (0, GRID[:3]),
            (1, GRID[:3]),
            (0, GRID[3:]),
            (1, GRID[3:]),
        ]

    @given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 3))
    @settings(max_examples=40, deadline=None)
    def test_packs_never_exceed_their_size_and_differ_by_one_lane_at_most(
        self, make_sweep: MakeSweep, points: int, size: int, runs: int
    ) -> None:
        grid = ",".join(str(round(0.01 * (i + 1), 2)) for i in range(points))
        oracle = make_sweep(moving, max_lr=grid, lanes_per_pack=size, runs=runs).oracle()
        packs = list(iter(oracle.ask, None))
        sizes = {len(pack.lanes) for pack in packs}
        assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
        assert len(packs) == runs * math.ceil(points / size)
        for run in range(runs):
            assert points_of(packs, run) == list(MaxLrGrid.parse(grid).values)

    def test_nothing_of_the_next_cycle_is_asked_for_while_a_pack_is_open(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving)
        oracle = sweep.oracle()
        packs = list(iter(oracle.ask, None))
        assert len(packs) == 6 and not oracle.finished
        for pack in packs[::-1][:-1]:
            sweep.train(oracle, pack)
            assert oracle.ask() is None
        sweep.train(oracle, packs[0])
        following = oracle.ask()
        assert following is not None and following.cycle == 1

    def test_the_order_in_which_packs_come_back_changes_no_decision(self, make_sweep: MakeSweep) -> None:
        forwards, backwards = make_sweep(moving), make_sweep(moving)
        undisturbed = forwards.run()
        oracle = backwards.oracle()
        while packs := list(iter(oracle.ask, None)):
            for pack in reversed(packs):
                backwards.train(oracle, pack)
        assert timeless(oracle.closed) == timeless(undisturbed.closed)

    def test_the_packs_size_that_is_set_before_the_first_pack_holds_for_the_first_cycle(
        self, make_sweep: MakeSweep
    ) -> None:
        sweep = make_sweep(moving, lanes_per_pack=5)
        oracle = sweep.oracle()
        oracle.lanes_per_pack = 2
        sweep.run(oracle)
        small = make_sweep(moving, lanes_per_pack=2)
        small.run()
        assert sweep.simulation.trained == small.simulation.trained


class TestExtension:
    @pytest.mark.parametrize(
        ("grid", "peak", "rounds", "edges"),
        [
            pytest.param("0.01,0.1,1", 0.1, [[0.01, 0.1, 1.0]], (False, False), id="a peak inside: none"),
            pytest.param("0.01,0.1,1", 10.0, [[0.01, 0.1, 1.0], [10.0], [100.0, 1000.0]], (False, False), id="up"),
            pytest.param(
                "0.01,0.1,1",
                1e4,
                [[0.01, 0.1, 1.0], [10.0], [100.0, 1e3], [1e4, 1e5, 1e6, 1e7]],
                (False, False),
                id="up by 1, 3, 7",
            ),
            pytest.param("0.01,0.1,1", 1e-3, [[0.01, 0.1, 1.0], [1e-3], [1e-5, 1e-4]], (False, False), id="down"),
            pytest.param(
                "0.01,0.1,1",
                1e99,
                [[0.01, 0.1, 1.0], [10.0], [100.0, 1e3], [1e4, 1e5, 1e6, 1e7], [1e8, 1e9]],
                (False, True),
                id="up to four times its length",
            ),
            pytest.param(
                "0.3:0.5:0.1",
                0.01,
                [[0.3, 0.4, 0.5], [0.2], [0.1]],
                (True, False),
                id="a linear grid stops above zero",
            ),
            pytest.param("0.1:0.3:0.1", 0.01, [[0.1, 0.2, 0.3]], (True, False), id="and has nowhere to go at its step"),
            pytest.param("0.1:0.5:0.2", 0.7, [[0.1, 0.3, 0.5], [0.7], [0.9, 1.1]], (False, False), id="linear up"),
            pytest.param("0.1", 5.0, [[0.1]], (True, True), id="one point has no spacing"),
        ],
    )
    def test_a_grid_goes_on_past_its_edge_until_the_region_ends(
        self, make_sweep: MakeSweep, grid: str, peak: float, rounds: list[list[float]], edges: tuple[bool, bool]
    ) -> None:
        # Steep: only the point next to the peak is feasible, so that the edges are those of the best.
        sweep = make_sweep(
            lambda cycle, run, max_lr: 90.0 - abs(math.log10(max_lr / peak)) / 2,
            max_lr=grid,
            cycles=0,
            tolerance=0.01,
        )
        oracle = sweep.oracle()
        assert [points_of(packs) for packs in rounds_of(sweep, oracle)] == rounds
        (closed,) = oracle.closed
        tried = sorted(point for points in rounds for point in points)
        assert sorted({row["max_lr"] for row in closed.rows}) == tried
        assert closed.choice.best_max_lr == min(tried, key=lambda point: abs(math.log10(point / peak)))
        assert (closed.choice.low_at_edge, closed.choice.high_at_edge) == edges
        assert closed.base_points == len(rounds[0])

    def test_a_bound_at_the_edge_extends_the_grid_as_the_best_does(self, make_sweep: MakeSweep) -> None:
        scores = {0.1: 70.0, 0.2: 90.0, 0.3: 89.8, 0.4: 70.0}
        sweep = make_sweep(lambda cycle, run, max_lr: scores[max_lr], max_lr="0.1:0.3:0.1", cycles=0)
        assert [points_of(packs) for packs in rounds_of(sweep)] == [[0.1, 0.2, 0.3], [0.4]]

    def test_an_extension_comes_in_all_runs(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: hill(max_lr, 3.16228), max_lr="0.1,0.316228,1", cycles=0)
        extension = [pack for packs in rounds_of(sweep)[1:] for pack in packs]
        assert points_of(extension, 0) == points_of(extension, 1) == [3.16228, 10.0, 31.6228]

    def test_a_plateau_is_extended_to_both_sides_alike_up_to_the_limit(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: 90.0, max_lr="0.01,0.1,1", cycles=0)
        oracle = sweep.run()
        (closed,) = oracle.closed
        tried = sorted({row["max_lr"] for row in closed.rows})
        assert len(tried) == 12
        assert sorted((sum(p < 0.01 for p in tried), sum(p > 1 for p in tried))) == [4, 5]
        assert closed.choice.low_at_edge and closed.choice.high_at_edge

    def test_the_next_cycle_begins_with_the_grid_that_was_given(self, make_sweep: MakeSweep) -> None:
        peaks = (10.0, 0.1)
        sweep = make_sweep(lambda cycle, run, max_lr: hill(max_lr, peaks[cycle]), max_lr="0.01,0.1,1", cycles=1)
        oracle = sweep.oracle()
        rounds = [points_of(packs) for packs in rounds_of(sweep, oracle)]
        assert rounds == [[0.01, 0.1, 1.0], [10.0], [100.0, 1000.0], [0.01, 0.1, 1.0]]
        assert [len(c.rows) for c in oracle.closed] == [12, 6]
        assert [c.choice.best_max_lr for c in oracle.closed] == [10.0, 0.1]

    @given(
        st.sampled_from(["0.01,0.1,1", "0.1:0.5:0.1", "0.4:0.5:0.1", "0.001:0.1:x4", "0.1,0.3"]),
        st.sampled_from([0.0, 0.5, 1.0]),
        st.randoms(use_true_random=False),
    )
    @settings(max_examples=60, deadline=None)
    def test_on_any_curve_all_that_was_trained_counts_within_four_times_the_grid(
        self, make_sweep: MakeSweep, grid: str, tolerance: float, random: Any
    ) -> None:
        curve: dict[float, float | None] = {}

        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return curve.setdefault(max_lr, random.choice([None, 89.0, 89.4, 89.5, 89.9, 90.0, 90.0]))

        sweep = make_sweep(truth, max_lr=grid, runs=1, cycles=0, lanes_per_pack=50, tolerance=tolerance)
        base = MaxLrGrid.parse(grid)
        try:
            oracle = sweep.run()
        except TrainingError:
            assert set(curve.values()) == {None}
            return
        (closed,) = oracle.closed
        tried = sorted(row["max_lr"] for row in closed.rows)
        assert tried == sorted(curve)
        limit = 4 * len(base.values)
        below = sum(point < base.values[0] for point in tried)
        above = sum(point > base.values[-1] for point in tried)
        assert len(tried) <= limit and tuple(tried) == base.points(below, above) and tried[0] > 0
        if len(tried) < limit:
            assert not closed.choice.high_at_edge
            assert not closed.choice.low_at_edge or len(base.points(below + 1)) == len(base.points(below))


class TestPerRun:
    def test_each_run_follows_its_own_peaks(self, make_sweep: MakeSweep) -> None:
        closed = make_sweep(parting, decide="per_run", runs=3).run().closed
        assert {(c.run, c.cycle): c.choice.best_max_lr for c in closed} == {
            (run, cycle): GRID[1 + (run + cycle) % 3] for run in range(3) for cycle in range(3)
        }
        assert all({row["run"] for row in c.rows} == {c.run} for c in closed)

    def test_no_run_waits_for_another(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(parting, decide="per_run", lanes_per_pack=5)
        oracle = sweep.oracle()
        stuck, going = oracle.ask(), oracle.ask()
        assert (stuck.run, going.run) == (0, 1)
        for cycle in range(3):
            assert (going.cycle, going.run) == (cycle, 1)
            sweep.train(oracle, going)
            going = oracle.ask()
        assert going is None and not oracle.finished
        assert [(c.run, c.cycle) for c in oracle.closed] == [(1, 0), (1, 1), (1, 2)]
        sweep.train(oracle, stuck)
        sweep.run(oracle)

    def test_no_run_gets_more_than_a_cycle_ahead_of_another_that_could_train(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(parting, decide="per_run", runs=3, lanes_per_pack=5)
        sweep.run()
        done = dict.fromkeys(range(3), 0)
        for pack in sweep.simulation.trained:
            assert pack.cycle <= min(done.values()) + 1
            done[pack.run] = pack.cycle + 1

    def test_one_run_s_extension_is_its_own(self, make_sweep: MakeSweep) -> None:
        peaks = (0.1, 10.0)
        sweep = make_sweep(
            lambda cycle, run, max_lr: hill(max_lr, peaks[run]), max_lr="0.01,0.1,1", cycles=0, decide="per_run"
        )
        sweep.run()
        assert points_of(sweep.simulation.trained, 0) == [0.01, 0.1, 1.0]
        assert points_of(sweep.simulation.trained, 1) == [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]


class TestKilled:
    @pytest.mark.parametrize("decide", ["shared", "per_run"])
    @pytest.mark.parametrize("lanes_per_pack", [1, 3])
    def test_a_sweep_killed_after_every_pack_trains_the_same_packs_and_ends_the_same(
        self, make_sweep: MakeSweep, decide: str, lanes_per_pack: int
    ) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return None if max_lr > 0.9 and cycle == 1 else hill(max_lr, (3.16228, 0.1)[cycle]) + run

        given = {"decide": decide, "lanes_per_pack": lanes_per_pack, "cycles": 1}
        whole, killed = make_sweep(truth, **given), make_sweep(truth, **given)
        undisturbed = whole.run()
        while (pack := (oracle := killed.oracle()).ask()) is not None:
            killed.train(oracle, pack)
        assert Counter(killed.simulation.trained) == Counter(whole.simulation.trained)
        assert killed.rows() == whole.rows()
        assert timeless(oracle.closed) == timeless(undisturbed.closed)

    @pytest.mark.parametrize("survivor", [0, 1, 2])
    def test_a_sweep_killed_with_three_packs_open_of_which_one_came_back_trains_no_lane_twice(
        self, make_sweep: MakeSweep, survivor: int
    ) -> None:
        whole, killed = make_sweep(moving), make_sweep(moving)
        undisturbed = whole.run()
        while True:
            oracle = killed.oracle()
            packs = [pack for _ in range(3) if (pack := oracle.ask()) is not None]
            if not packs:
                break
            killed.train(oracle, packs[min(survivor, len(packs) - 1)])
        assert max(Counter(killed.simulation.lanes()).values()) == 1
        assert killed.rows() == whole.rows()
        assert timeless(oracle.closed) == timeless(undisturbed.closed)

    def test_of_a_pack_that_is_half_written_only_the_other_half_is_asked_for(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving, lanes_per_pack=5)
        oracle = sweep.oracle()
        pack = oracle.ask()
        half = Pack(pack.cycle, pack.run, pack.seed, pack.lanes[1:3])
        oracle.ledger.append(
            half, [oracle.id_of(half, lane) for lane in half.lanes], sweep.simulation.train(half), "", ""
        )
        rest = sweep.oracle().ask()
        assert rest == Pack(pack.cycle, pack.run, pack.seed, (pack.lanes[0], *pack.lanes[3:]))

    def test_a_finished_sweep_asks_for_nothing(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving)
        done = sweep.run()
        again = sweep.oracle()
        assert again.ask() is None and again.finished
        assert timeless(again.closed) == timeless(done.closed)

    def test_a_winner_whose_state_is_lost_is_trained_again_and_nothing_else(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving, cycles=1)
        whole = sweep.run()
        before, count = sweep.rows(), len(sweep.simulation.trained)
        lost = whole.closed[0].best_rows[1]
        sweep.simulation.lose(lost["state"])
        again = sweep.run()
        extra = sweep.simulation.trained[count:]
        assert [(p.cycle, p.run, len(p.lanes)) for p in extra] == [(0, 1, lost["lanes_in_pack"])]  # its pack, whole
        assert PEAKS[0] in [lane.max_lr for lane in extra[0].lanes]
        assert sweep.simulation.has(lost["state"])
        lanes_in_pack = {key: row.pop("lanes_in_pack") for key, row in sweep.rows().items()}
        assert set(lanes_in_pack) == set(before)
        assert [c.choice for c in again.closed] == [c.choice for c in whole.closed]

    def test_initial_weights_that_are_lost_come_again_where_nothing_is_set_back_to_them(
        self, make_sweep: MakeSweep
    ) -> None:
        sweep = make_sweep(moving, cycles=1, pruning="global_magnitude")
        winner = sweep.run().closed[0].best_rows[1]
        assert winner["rewind_state"] is None
        count = len(sweep.simulation.trained)
        sweep.simulation.lose(winner["parent_state"])
        sweep.run()
        assert [(pack.cycle, pack.run) for pack in sweep.simulation.trained[count:]] == [(0, 1)]
        assert sweep.simulation.has(winner["parent_state"])

    def test_a_loser_whose_state_is_gone_is_not_missed(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving, cycles=1)
        whole = sweep.run()
        winners = {row["state"] for closed in whole.closed for row in closed.best_rows}
        for row in sweep.rows().values():
            if row["state"] not in winners:
                sweep.simulation.lose(row["state"])
        assert sweep.oracle().ask() is None

    def test_a_run_may_not_be_mixed_from_two_kinds_of_initial_weights(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving)
        oracle = sweep.oracle()
        sweep.train(oracle, oracle.ask())
        sweep.simulation.weights = "another torch"
        oracle = sweep.oracle()
        sweep.train(oracle, oracle.ask())  # run 1 has no finished lanes yet
        with pytest.raises(TrainingError, match="run 0 started from other initial weights"):
            sweep.train(oracle, oracle.ask())


class TestExtended:
    def test_more_cycles_train_only_the_new_cycles(self, make_sweep: MakeSweep, make_spec: Callable[..., Any]) -> None:
        sweep = make_sweep(moving, cycles=1)
        sweep.run()
        count = len(sweep.simulation.trained)
        sweep.settings = make_spec(cycles=2)
        sweep.run()
        assert {pack.cycle for pack in sweep.simulation.trained[count:]} == {2}
        whole = make_sweep(moving, cycles=2)
        whole.run()
        assert sweep.rows() == whole.rows()

    @pytest.mark.parametrize("decide", ["shared", "per_run"])
    def test_more_runs_train_only_the_new_runs_where_the_choice_stays(
        self, make_sweep: MakeSweep, make_spec: Callable[..., Any], decide: str
    ) -> None:
        sweep = make_sweep(moving, runs=2, decide=decide)
        sweep.run()
        count = len(sweep.simulation.trained)
        sweep.settings = make_spec(runs=3, decide=decide)
        sweep.run()
        assert {pack.run for pack in sweep.simulation.trained[count:]} == {2}
        assert max(Counter(sweep.simulation.lanes()).values()) == 1
        whole = make_sweep(moving, runs=3, decide=decide)
        whole.run()
        assert sweep.rows() == whole.rows()

    def test_more_runs_train_later_cycles_anew_where_they_change_the_choice(
        self, make_sweep: MakeSweep, make_spec: Callable[..., Any]
    ) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float:
            if (cycle, run) == (0, 2):
                return {GRID[1]: 60.0, GRID[3]: 95.0}.get(max_lr, 50.0)
            return 90.0 if max_lr == GRID[1] else 80.0

        sweep = make_sweep(truth, runs=2, cycles=1)
        assert sweep.run().closed[0].choice.best_max_lr == GRID[1]
        sweep.settings = make_spec(runs=3, cycles=1)
        oracle = sweep.run()
        assert oracle.closed[0].choice.best_max_lr == GRID[3]
        lanes = Counter(sweep.simulation.lanes())
        assert {lanes[0, run, point] for run in range(3) for point in GRID} == {1}
        assert {lanes[1, run, point] for run in range(2) for point in GRID} == {2}
        starts = {row["parent_state"] for row in oracle.closed[1].rows}
        assert starts == {row["state"] for row in oracle.closed[0].best_rows}

    def test_a_finer_grid_trains_only_its_new_points_where_the_choice_stays(
        self, make_sweep: MakeSweep, make_spec: Callable[..., Any]
    ) -> None:
        sweep = make_sweep(moving, max_lr="0.01:1:x5")
        sweep.run()
        count = len(sweep.simulation.trained)
        sweep.settings = make_spec(max_lr="0.01:1:x9")
        closed = sweep.run().closed
        new = set(MaxLrGrid.parse("0.01:1:x9").values) - set(GRID)
        assert len(new) == 4
        assert Counter(points_of(sweep.simulation.trained[count:])) == Counter(dict.fromkeys(new, 3))
        assert [(len(c.rows), c.base_points) for c in closed] == [(18, 9)] * 3

    def test_another_tolerance_trains_nothing_but_the_extension_that_it_calls_for(
        self, make_sweep: MakeSweep, make_spec: Callable[..., Any]
    ) -> None:
        sweep = make_sweep(moving)
        narrow = sweep.run().closed
        count = len(sweep.simulation.trained)
        sweep.settings = make_spec(tolerance=5.5)  # half a decade: one point to each side of the peak
        wide = sweep.run().closed
        extra = [(p.cycle, p.run, tuple(points_of([p], p.run))) for p in sweep.simulation.trained[count:]]
        assert sorted(extra) == [(0, 0, (0.00316228,)), (0, 1, (0.00316228,)), (2, 0, (3.16228,)), (2, 1, (3.16228,))]
        assert [c.choice.best_max_lr for c in wide] == [c.choice.best_max_lr for c in narrow]
        assert [(c.choice.feasible_low, c.choice.feasible_high) for c in wide] == [
            (GRID[0], GRID[2]),
            (GRID[1], GRID[3]),
            (GRID[2], GRID[4]),
        ]


class TestLateRewinding:
    def test_every_cycle_goes_back_to_the_first_winner_after_so_many_steps(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving, rewind=3)
        oracle = sweep.run()
        winners = {row["run"]: row for row in oracle.closed[0].best_rows}
        assert (
            len({row["rewind_state"] for row in sweep.rows().values() if row["cycle"] == 0}) == 10
        )  # 5 max_lr, 2 runs
        for pack in sweep.simulation.trained:
            expected = winners[pack.run]["rewind_state"] if pack.cycle else None
            assert {lane.rewind_to for lane in pack.lanes} == {expected}
        assert {row["rewind_state"] for row in sweep.rows().values() if row["cycle"]} == {None}

    def test_what_it_goes_back_to_is_kept_and_made_again_where_it_is_lost(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving, rewind=3)
        oracle = sweep.oracle()
        while (pack := oracle.ask()) is not None:
            sweep.train(oracle, pack)
            for digest in sweep.simulation.kept() - oracle.needed_states():
                sweep.simulation.lose(digest)  # the simulation refuses lanes that have nothing to go back to
        early = {row["rewind_state"] for row in oracle.closed[0].best_rows}
        states = {row["state"] for closed in oracle.closed for row in closed.best_rows}
        initial = {row["parent_state"] for row in oracle.closed[0].best_rows}
        assert sweep.simulation.kept() == early | states | initial
        lost = oracle.closed[0].best_rows[1]["rewind_state"]
        sweep.simulation.lose(lost)
        before = len(sweep.simulation.trained)
        sweep.run()
        assert len(sweep.simulation.trained) == before + 1
        assert sweep.simulation.has(lost)


class TestNeededStates:
    def test_kept_are_initial_weights_past_winners_and_all_that_can_still_win(self, make_sweep: MakeSweep) -> None:
        scores = {0.1: 80.0, 0.2: 90.0, 0.3: 70.0}
        sweep = make_sweep(lambda cycle, run, max_lr: scores[max_lr], max_lr="0.1,0.2,0.3", cycles=1, lanes_per_pack=1)
        oracle = sweep.oracle()
        states: dict[tuple[int, int, float], str] = {}
        kept = []
        while (pack := oracle.ask()) is not None:
            sweep.train(oracle, pack)
            states |= {(r["cycle"], r["run"], r["max_lr"]): r["state"] for r in oracle.ledger.rows.values()}
            needed = oracle.needed_states()
            kept.append({lane for lane, state in states.items() if state in needed})
            initial = {row["parent_state"] for row in oracle.ledger.rows.values() if row["cycle"] == 0}
            assert needed == initial | {states[lane] for lane in kept[-1]}
        winners = {(0, 0, 0.2), (0, 1, 0.2)}
        assert kept == [
            {(0, 0, 0.1)},
            {(0, 0, 0.1), (0, 1, 0.1)},
            {(0, 0, 0.1), (0, 1, 0.1), (0, 0, 0.2)},  # one run of 0.2 says nothing of its mean
            winners,  # 0.1 is dominated
            winners | {(0, 0, 0.3)},
            winners,
            winners | {(1, 0, 0.1)},
            winners | {(1, 0, 0.1), (1, 1, 0.1)},
            winners | {(1, 0, 0.1), (1, 1, 0.1), (1, 0, 0.2)},
            winners | {(1, 0, 0.2), (1, 1, 0.2)},
            winners | {(1, 0, 0.2), (1, 1, 0.2), (1, 0, 0.3)},
            winners | {(1, 0, 0.2), (1, 1, 0.2)},
        ]

    def test_a_max_lr_that_diverged_in_one_run_keeps_no_state_of_the_others(self, make_sweep: MakeSweep) -> None:
        def truth(cycle: int, run: int, max_lr: float) -> float | None:
            return None if (run, max_lr) == (1, 0.2) else 90.0 + max_lr

        sweep = make_sweep(truth, max_lr="0.1,0.2", cycles=0, lanes_per_pack=2)
        oracle = sweep.oracle()
        sweep.train(oracle, oracle.ask())
        assert len(oracle.needed_states()) == 1 + 2
        sweep.train(oracle, oracle.ask())
        rows = oracle.ledger.rows.values()
        assert oracle.needed_states() == {
            *(row["parent_state"] for row in rows),
            *(row["state"] for row in rows if row["max_lr"] == 0.1),
        }

    def test_tied_lanes_are_all_kept_since_the_middle_of_them_wins(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: 90.0, max_lr="0.1,0.2,0.3", cycles=0, runs=1, lanes_per_pack=3)
        oracle = sweep.oracle()
        sweep.train(oracle, oracle.ask())
        assert {row["state"] for row in oracle.ledger.rows.values()} <= oracle.needed_states()

    def test_runs_that_decide_for_themselves_rule_out_their_own_lanes_alone(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(parting, decide="per_run", cycles=0, lanes_per_pack=5)
        oracle = sweep.oracle()
        sweep.train(oracle, oracle.ask())
        (winner,) = (row for row in oracle.ledger.rows.values() if row["max_lr"] == GRID[1])
        assert oracle.needed_states() == {winner["state"], winner["parent_state"]}

    def test_a_sweep_whose_unneeded_states_are_deleted_after_every_pack_goes_through(
        self, make_sweep: MakeSweep
    ) -> None:
        # The simulation refuses to train from a state that is not there.
        sweep = make_sweep(parting, decide="shared", runs=3, lanes_per_pack=1)
        oracle = sweep.oracle()
        while (pack := oracle.ask()) is not None:
            sweep.train(oracle, pack)
            for digest in sweep.simulation.kept() - oracle.needed_states():
                sweep.simulation.lose(digest)
        assert max(Counter(sweep.simulation.lanes()).values()) == 1
        assert sweep.simulation.kept() >= {row["state"] for c in oracle.closed for row in c.best_rows}


class TestEnds:
    def test_a_cycle_in_which_everything_diverged_stops_the_sweep_and_says_which(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: None if cycle == 1 else hill(max_lr, GRID[2]))
        with pytest.raises(TrainingError, match=r"cycle 1: every max_lr of the grid diverged; give --max-lr"):
            sweep.run()
        with pytest.raises(TrainingError, match="cycle 1"):  # the same, told from the rows
            sweep.oracle().ask()

    def test_one_diverged_run_at_every_max_lr_is_as_bad(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: None if (max_lr < 0.05) == (run == 0) else 90.0)
        with pytest.raises(TrainingError, match="cycle 0"):
            sweep.run()

    def test_a_chain_with_nothing_left_to_prune_ends_and_says_why(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(moving)
        oracle = sweep.oracle()
        while (pack := oracle.ask()).cycle < 1:
            sweep.train(oracle, pack)
        oracle.end(pack, "layer fc2 lost its last weight")
        oracle.tell(pack)
        assert oracle.ask() is None and oracle.finished
        assert oracle.ended == [f"cycle 1, run {pack.run}: nothing was left to prune"]
        assert oracle.decided[-1] == "cycle 1: nothing is left to prune: the chain ends"
        assert [c.cycle for c in oracle.closed] == [0]

    def test_the_end_of_one_chain_leaves_the_others_going(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(parting, decide="per_run", lanes_per_pack=5)
        oracle = sweep.oracle()
        while (pack := oracle.ask()) is not None:
            if (pack.cycle, pack.run) == (1, 0):
                oracle.end(pack, "nothing left")
                oracle.tell(pack)
            else:
                sweep.train(oracle, pack)
        assert oracle.finished and oracle.ended == ["cycle 1, run 0: nothing was left to prune"]
        assert sorted((c.run, c.cycle) for c in oracle.closed) == [(0, 0), (1, 0), (1, 1), (1, 2)]


class TestProgress:
    def test_progress_counts_lanes_of_closed_and_open_cycles(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: None if max_lr == 1.0 else moving(cycle, run, max_lr))
        oracle = sweep.oracle()
        start = oracle.progress()
        assert (start.cycle, start.cycles, start.lanes_done, start.lanes_planned) == (0, 2, 0, 30)
        assert (start.best_max_lr, start.val_accuracy, start.diverged) == (None, None, 0)
        for _ in range(7):
            sweep.train(oracle, oracle.ask())
        now = oracle.progress()
        assert (now.cycle, now.lanes_done, now.lanes_planned, now.diverged) == (1, 12, 30, 2)
        assert (now.best_max_lr, now.val_accuracy) == (PEAKS[0], 90.125)
        sweep.run(oracle)
        end = oracle.progress()
        assert (end.cycle, end.lanes_done, end.lanes_planned, end.diverged) == (2, 30, 30, 6)

    def test_an_extension_is_planned_once_it_is_known(self, make_sweep: MakeSweep) -> None:
        sweep = make_sweep(lambda cycle, run, max_lr: hill(max_lr, 10.0), max_lr="0.01,0.1,1", cycles=0, runs=1)
        oracle = sweep.oracle()
        planned = []
        while (pack := oracle.ask()) is not None:
            planned.append(oracle.progress().lanes_planned)
            sweep.train(oracle, pack)
        assert planned == [3, 3, 4, 6]
