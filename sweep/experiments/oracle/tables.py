"""The tables of an oracle: their columns. In: rows of `sweep.statistics`. Out: DataFrames and Parquet files."""

import pyarrow as pa

from sweep.store.tables import Table

_CYCLE = ("cycle", pa.int32(), "", "number of prunings before this training")
_RUN = ("run", pa.int32(), "", "the run, if each run decides for itself; null if all runs decide together")
_REMAINING = ("percent_remaining", pa.float64(), "percent", "remaining prunable weights, mean over runs")
_TEST_MEAN = ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; nothing is chosen by it")
_STD = "its standard deviation over runs (n-1); null for one run"

ORACLE = Table(
    "oracle",
    (
        _CYCLE,
        _RUN,
        _REMAINING,
        (
            "best_max_lr",
            pa.float64(),
            "1",
            "max_lr with the highest mean validation accuracy; if several are equal, the middle one",
        ),
        ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy at best_max_lr, mean over runs"),
        ("val_accuracy_std", pa.float64(), "percent", _STD),
        ("test_accuracy_mean", pa.float64(), "percent", "test accuracy at best_max_lr, mean over runs"),
        ("test_accuracy_std", pa.float64(), "percent", _STD),
        (
            "feasible_low",
            pa.float64(),
            "1",
            "lower bound of the feasible region: the unbroken range of grid points within the tolerance of the best",
        ),
        ("feasible_high", pa.float64(), "1", "upper bound of the feasible region"),
        ("hull_low", pa.float64(), "1", "lowest max_lr within the tolerance, gaps allowed"),
        ("hull_high", pa.float64(), "1", "highest max_lr within the tolerance, gaps allowed"),
        ("contiguous", pa.bool_(), "", "whether region and hull are the same"),
        ("points", pa.int32(), "", "max_lr values trained"),
        (
            "n_not_worse",
            pa.int32(),
            "",
            "of these, max_lr values that are not significantly worse than the best, which is counted; null for one "
            "run",
        ),
        (
            "possible_low",
            pa.float64(),
            "1",
            "lowest max_lr that is not significantly outside the region; null for one run",
        ),
        ("possible_high", pa.float64(), "1", "highest max_lr that is not significantly outside the region"),
        ("low_bound", pa.string(), "", "verdict on feasible_low: inside or undecided; null for one run"),
        (
            "below_low",
            pa.string(),
            "",
            "verdict on the next lower grid point: inside, outside or undecided; null at the edge of the grid",
        ),
        ("high_bound", pa.string(), "", "verdict on feasible_high"),
        ("above_high", pa.string(), "", "verdict on the next higher grid point"),
        ("grid_low", pa.float64(), "1", "lowest max_lr trained"),
        ("grid_high", pa.float64(), "1", "highest max_lr trained"),
        ("extended", pa.bool_(), "", "whether the grid was extended in this cycle"),
        ("low_at_edge", pa.bool_(), "", "whether the best or feasible_low is still the lowest max_lr trained"),
        ("high_at_edge", pa.bool_(), "", "whether the best or feasible_high is still the highest max_lr trained"),
        ("runs", pa.int32(), "", "number of runs"),
        ("lanes", pa.int32(), "", "lanes trained in this cycle"),
        ("diverged", pa.int32(), "", "of these, lanes that diverged"),
        ("trained_steps", pa.int64(), "steps", "optimizer steps of all lanes of this cycle"),
        ("wall_seconds", pa.float64(), "seconds", "device time of all lanes of this cycle"),
    ),
)

CURVES = Table(
    "curves",
    (
        _CYCLE,
        _RUN,
        _REMAINING,
        ("max_lr", pa.float64(), "1", "peak learning rate of the cycle"),
        (
            "val_accuracy_mean",
            pa.float64(),
            "percent",
            "validation accuracy, mean over runs; null if a run diverged",
        ),
        ("val_accuracy_std", pa.float64(), "percent", _STD),
        _TEST_MEAN,
        ("test_accuracy_std", pa.float64(), "percent", _STD),
        (
            "shortfall",
            pa.float64(),
            "percent points",
            "mean validation accuracy of the best max_lr minus that of this max_lr",
        ),
        (
            "shortfall_low",
            pa.float64(),
            "percent points",
            "lower end of its interval, against whichever max_lr is truly best; the intervals of a cycle hold "
            "simultaneously; null for one run",
        ),
        ("shortfall_high", pa.float64(), "percent points", "upper end of that interval"),
        (
            "worse_than_best",
            pa.bool_(),
            "",
            "whether this max_lr is significantly worse than the best; null for one run",
        ),
        (
            "verdict",
            pa.string(),
            "",
            "whether it lies in the feasible region: inside, outside or undecided; null for one run",
        ),
        ("runs", pa.int32(), "", "number of runs"),
        ("diverged", pa.int32(), "", "of these, runs that diverged"),
    ),
)

COMPARISON = Table(
    "comparison",
    (
        ("trajectory", pa.string(), "", "name of the predicted trajectory"),
        _CYCLE,
        _RUN,
        ("percent_remaining", pa.float64(), "percent", "remaining prunable weights"),
        ("best_max_lr", pa.float64(), "1", "the oracle's choice"),
        ("feasible_low", pa.float64(), "1", "lower bound of the feasible region"),
        ("feasible_high", pa.float64(), "1", "upper bound of the feasible region"),
        ("scyc_max_lr", pa.float64(), "1", "the prediction"),
        ("inside", pa.bool_(), "", "whether the prediction lies in the feasible region"),
        ("distance", pa.float64(), "1", "distance in max_lr to the nearer bound; 0 inside"),
        (
            "val_accuracy_at_scyc",
            pa.float64(),
            "percent",
            "validation accuracy of the measured curve, interpolated in log max_lr; null beyond the curve",
        ),
        ("test_accuracy_at_scyc", pa.float64(), "percent", "likewise for test accuracy"),
        (
            "accuracy_gap",
            pa.float64(),
            "percent points",
            "validation accuracy of the oracle's choice minus that of the prediction",
        ),
        ("test_accuracy_gap", pa.float64(), "percent points", "likewise for test accuracy"),
    ),
)

TREND = Table(
    "trend",
    (
        ("chain", pa.string(), "", "pruning method; the first is the oracle's, the others are its controls'"),
        (
            "quantity",
            pa.string(),
            "",
            "best max_lr, low or high bound of the feasible region, or the geometric middle between the bounds",
        ),
        ("runs", pa.int32(), "", "runs, each judged by its own curve"),
        ("cycles", pa.int32(), "", "number of cycles"),
        (
            "factor",
            pa.float64(),
            "1",
            "growth per cycle: least squares on the logarithm, geometric mean over runs",
        ),
        ("factor_low", pa.float64(), "1", "lower end of its t interval over runs; null for one run"),
        ("factor_high", pa.float64(), "1", "upper end"),
        ("page_l", pa.float64(), "", "L of Page's trend test, runs by cycles"),
        ("page_p", pa.float64(), "", "its p-value, one-sided"),
        (
            "rise_p",
            pa.float64(),
            "",
            "the larger of page_p and the p-value of a two-sided t-test of the runs' slopes; 1 if the slopes fall",
        ),
        ("holm_p", pa.float64(), "", "rise_p with Holm's correction over the quantities"),
        ("rises", pa.bool_(), "", "whether the rise is significant; null for one run"),
        (
            "excess",
            pa.float64(),
            "1",
            "of a control: the oracle's growth per cycle divided by the control's, paired by run",
        ),
        ("excess_low", pa.float64(), "1", "lower end of its t interval over runs"),
        ("excess_high", pa.float64(), "1", "upper end"),
        (
            "excess_p",
            pa.float64(),
            "",
            "p-value of a two-sided t-test that the oracle grows faster; 1 if it does not",
        ),
        ("excess_holm_p", pa.float64(), "", "excess_p with Holm's correction over the quantities"),
        (
            "exceeds_control",
            pa.bool_(),
            "",
            "whether the oracle rises significantly, and significantly faster than this control",
        ),
    ),
)

RESCORED = Table(
    "rescored",
    (
        ("rule", pa.string(), "", "the rule by which lanes are judged: the oracle's own, or with one change"),
        _CYCLE,
        _RUN,
        ("best_max_lr", pa.float64(), "1", "max_lr with the highest mean validation accuracy under this rule"),
        ("feasible_low", pa.float64(), "1", "lower bound of the feasible region under this rule"),
        ("feasible_high", pa.float64(), "1", "upper bound"),
        ("same_best", pa.bool_(), "", "whether the best is the oracle's own choice"),
        ("same_region", pa.bool_(), "", "whether both bounds are those of the oracle"),
        ("scyc_inside", pa.bool_(), "", "whether S-Cyc's prediction lies in the region; null without parameters"),
    ),
)
