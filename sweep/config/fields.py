"""Every setting of a sweep, defined once: its type, range, default, description, and its group in the help.

In: nothing. Out: `Fields`, from which the command line's flags, their help and the keys of a TOML file come. Imports no
torch and no Ray. Next: `sweep.config.settings` adds the rules between settings, and what follows from them.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from sweep.config.groups import LocalFolder, LocationText, PruningName, UsersOwn, setting
from trainables.spec import (
    DatasetName,
    DtypeName,
    ModelName,
    OptimizerName,
    RewindName,
    ScheduleName,
    ScoreName,
    SplitName,
)


class Fields(BaseModel):
    """The settings that all experiments have, in the order of the help."""

    preset: str = setting(
        group="Most used",
        description="Settings to start from. scyc-sweep presets lists them.",
        when_unset="the preset of --model, else digits",
    )
    model: ModelName | UsersOwn = setting(
        group="Most used",
        description="Network. Without --preset, the preset of the same name is used. For a network of your own give "
        "package.module:function. The function is called with (shape, classes), where shape is (channels, height, "
        "width).",
    )
    dataset: DatasetName | UsersOwn = setting(
        group="Most used",
        description="Data set. For data of your own give package.module:function. The function is called with the "
        "data folder. It returns (images, labels): bytes of shape (images, channels, height, width), and integers. It "
        "may return the number of test images as a third value; these images are the last ones.",
    )
    pruning: PruningName = setting(
        group="Most used",
        description="Pruning criterion. Weights with the lowest score are removed, over the whole network (global) or "
        "in each layer (layer). magnitude: |weight|. gradient: |weight x gradient|. l1_filter: whole filters, by L1 "
        "norm. taylor_bn: whole filters, by Taylor importance at batch-norm gates. random, random_filter: at random. "
        "imp: global_magnitude, and every surviving weight is reset to its initial value. none: nothing is removed (a "
        "control).",
    )
    cycles: int = setting(
        group="Most used",
        ge=0,
        le=1_000,
        description="Number of prunings, N. Cycles 0 to N are trained; cycle 0 trains the unpruned network.",
    )
    runs: int = setting(
        5,
        group="Most used",
        ge=1,
        le=10_000,
        description="Number of repetitions. Each run has its own data split, initial weights and batch order.",
    )
    max_lr: str = setting(
        group="Most used",
        description="Grid of peak learning rates: LO:HI:STEP (linear), LO:HI:xN (N points, geometric) or a list with "
        "commas.",
    )
    steps: int = setting(
        group="Most used",
        ge=1,
        description="Optimizer steps in each cycle. If warmup_steps or milestones are not given, the preset's are "
        "rescaled.",
    )
    out: LocationText | None = setting(
        None,
        group="Most used",
        description="Results folder: a path, s3://BUCKET/PATH or gs://BUCKET/PATH. The same command continues a sweep "
        "that lies there.",
        when_unset="a folder in results that is named after the preset",
    )

    hidden: tuple[int, ...] = setting(group="What is trained", description="Widths of the hidden layers of mlp.")
    batch_norm: bool = setting(
        False, group="What is trained", description="Use batch norm in the hidden layers of mlp (paper, Figure 3)."
    )
    batch_size: int = setting(group="What is trained", ge=1, description="Images in each step.")
    optimizer: OptimizerName = setting("sgd", group="What is trained", description="Optimizer of torch.optim.")
    momentum: float = setting(
        0.9, group="What is trained", ge=0, lt=1, description="Momentum of sgd and rmsprop; first beta of adam."
    )
    weight_decay: float = setting(
        1e-4, group="What is trained", ge=0, description="Weight decay (L2) on all parameters."
    )
    dtype: DtypeName = setting("float32", group="What is trained", description="Type of weights and of arithmetic.")
    seed: int = setting(
        0,
        group="What is trained",
        ge=0,
        lt=2**63,
        description="Seed of the whole sweep. The seed of each run is derived from it.",
    )

    images: int | None = setting(
        None,
        group="Data",
        ge=1,
        description="Use only this many images: a fixed part of the data set, with the same shares of classes and of "
        "test images. With it a large network can be tried without a GPU.",
        when_unset="all",
    )
    data_dir: LocalFolder = setting(
        Path("data"), group="Data", description="Folder of the data sets, in the layout of torchvision."
    )
    download: bool = setting(False, group="Data", description="Download the data set to --data-dir if it is not there.")
    split: SplitName = setting(
        "pooled",
        group="Data",
        description="pooled: all images are split at random into 60 % training, 20 % validation and 20 % test images, "
        "by the seed of the run. fixed_test: all runs have the same test images.",
    )

    prune_rate: float = setting(
        0.2,
        group="Pruning",
        gt=0,
        lt=1,
        description="Fraction of the surviving prunable weights that each pruning removes.",
    )
    keep_output: bool = setting(False, group="Pruning", description="Do not prune the output layer.")
    score_batches: int | None = setting(
        None,
        group="Pruning",
        ge=1,
        description="Number of training batches from which gradient scores are computed.",
        when_unset="the whole training split",
    )
    rewind: RewindName | int | None = setting(
        None,
        group="Pruning",
        description="What surviving weights are reset to after each pruning. none: they keep their values. init: "
        "their initial values. A number N: their values after N steps of cycle 0 (late rewinding).",
        when_unset="init for --pruning imp, else none",
    )

    schedule: ScheduleName = setting(
        group="Learning rate",
        description="Learning-rate schedule in each cycle. warmup, constant, decay, cyclical: Table 1 of the S-Cyc "
        "paper. The others are for retraining, after a cycle 0 with warmup. ft: the lowest rate. lrw: the last rates. "
        "slr: all rates, compressed, after a short warmup. clr: one cosine cycle (Le and Hua).",
    )
    retrain_steps: int | None = setting(
        None,
        group="Learning rate",
        ge=1,
        description="Optimizer steps in each cycle after cycle 0.",
        when_unset="--steps",
    )
    warmup_steps: int = setting(
        group="Learning rate", ge=0, description="Steps in which the learning rate rises from 0 to max_lr."
    )
    milestones: tuple[int, ...] = setting(
        group="Learning rate", description="Steps at which the learning rate is divided by ten."
    )
    cycle_steps: int | None = setting(
        None,
        group="Learning rate",
        ge=1,
        description="Steps in which the rate of schedule cyclical rises from 0 to max_lr.",
        when_unset="an eighth of --steps, as in Table 9",
    )
    scale: float = setting(
        1.0,
        group="Learning rate",
        gt=0,
        description="Factor that multiplies steps, retrain_steps, warmup_steps, milestones and cycle_steps.",
    )

    score: ScoreName = setting(
        "best",
        group="Search and decision",
        description="Which evaluation counts. best: the highest validation accuracy after the warmup (early stopping). "
        "last: the one at the last step.",
    )
    eval_every: int | None = setting(
        None,
        group="Search and decision",
        ge=1,
        description="Number of steps between two evaluations.",
        when_unset="once an epoch",
    )
    decide: Literal["shared", "per_run"] = setting(
        "shared",
        group="Search and decision",
        description="shared: in each cycle one max_lr for all runs, by their mean. per_run: each run has its own.",
    )
    tolerance: float = setting(
        0.5,
        group="Search and decision",
        ge=0,
        lt=100,
        description="A max_lr is feasible if its accuracy is at most this much below the best accuracy.",
    )
    tolerance_kind: Literal["absolute", "relative"] = setting(
        "absolute",
        group="Search and decision",
        description="Unit of --tolerance. absolute: percentage points. relative: percent of the best accuracy.",
    )
    confidence: float = setting(
        0.95,
        group="Search and decision",
        gt=0.5,
        lt=1,
        description="Confidence level of the statements about a cycle, for all of them together (simultaneous).",
    )
    scyc: str | None = setting(
        None,
        group="Search and decision",
        description="S-Cyc parameters EPS,DELTA,Q,BETA that the oracle is compared with, or none. Those of a preset "
        "hold for its own network and its whole data set only.",
        when_unset="no comparison",
    )

    engine: Literal["ray", "inline"] = setting(
        "ray",
        group="Where it runs",
        description="ray: packs are trials of one Ray Tune experiment. inline: this process trains one pack after "
        "another.",
    )
    lanes: Literal["auto"] | int = setting(
        "auto",
        group="Where it runs",
        description="Number of networks that train together in one pack. auto: measured on this machine.",
    )
    workers: Literal["auto", "max"] | int = setting(
        "auto",
        group="Where it runs",
        description="Number of packs that train at the same time with --engine ray. auto: one for each GPU; without "
        "GPUs, one for each CPU core. max: as many as an autoscaling cluster can have.",
    )
    cpus_per_worker: int = setting(
        1,
        group="Where it runs",
        ge=1,
        description="CPU cores and threads of each worker. More than 1 is of use for large networks, if the cores are "
        "free. The last bits of the results depend on it.",
    )
    gpus_per_worker: float | None = setting(
        None,
        group="Where it runs",
        gt=0,
        description="GPUs of each worker. With 0.5, two workers share one GPU.",
        when_unset="1, or the number of GPUs divided by --workers",
    )
    wait_for_resources: bool = setting(
        False,
        group="Where it runs",
        description="If the cluster is smaller than asked for, wait until it is large enough. Without this flag the "
        "command ends and says what there is.",
    )
    address: str | None = setting(
        None,
        group="Where it runs",
        description="Address of the Ray cluster: HOST:PORT or auto.",
        when_unset="RAY_ADDRESS, else a new local Ray",
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", group="Where it runs", description="Device for training. auto: cuda if there is one, else cpu."
    )

    histograms: bool = setting(
        False,
        group="Results",
        description="When the sweep has ended, measure the distributions of gradients and activations, as `scyc-sweep "
        "gradients` does.",
    )
