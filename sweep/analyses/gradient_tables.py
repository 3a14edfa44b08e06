"""The tables of gradients and activations: their columns."""

import pyarrow as pa

from sweep.store.tables import Table

_NETWORK = (
    ("schedule", pa.string(), "", "oracle, or the schedule of the chain"),
    ("kind", pa.string(), "", "gradient: of remaining prunable weights; activation: outputs of every ReLU"),
    ("cycle", pa.int32(), "", "number of prunings before this network was trained"),
    ("run", pa.int32(), "", "repetition, from 0"),
    ("percent_remaining", pa.float64(), "percent", "remaining prunable weights"),
    ("max_lr", pa.float64(), "1", "peak learning rate of its cycle"),
)

HISTOGRAMS = Table(
    "histograms",
    (
        *_NETWORK,
        ("low", pa.float64(), "1", "lower edge of the bin"),
        ("high", pa.float64(), "1", "upper edge; the last bin contains its own"),
        ("count", pa.int64(), "", "values in the bin"),
    ),
)

TAILS = Table(
    "tails",
    (
        *_NETWORK,
        ("images", pa.int64(), "", "training images that gradients and activations were computed on"),
        ("count", pa.int64(), "", "number of values"),
        ("minimum", pa.float64(), "1", "smallest value"),
        ("maximum", pa.float64(), "1", "largest value"),
        ("mean", pa.float64(), "1", "mean of the values"),
        ("std", pa.float64(), "1", "standard deviation of the values"),
        ("zeros", pa.float64(), "percent", "share of exact zeros"),
        ("low", pa.float64(), "1", "of gradients: the given lower bound"),
        ("high", pa.float64(), "1", "of gradients: the given upper bound"),
        ("beyond", pa.float64(), "percent", "of gradients: share beyond these bounds"),
        ("low_2std", pa.float64(), "1", "two standard deviations below the mean of the run's unpruned network"),
        ("high_2std", pa.float64(), "1", "two standard deviations above it"),
        ("beyond_2std", pa.float64(), "percent", "share of values beyond these two"),
    ),
)
