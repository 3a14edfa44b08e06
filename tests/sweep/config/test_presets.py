"""Presets say what the paper and the design say, figure by figure."""

import math
from itertools import pairwise

import pytest

from search_spaces.max_lr import MaxLrGrid
from search_spaces.paper import ORACLE_TABLES, SETUPS, Setup
from search_spaces.scyc import SCyc
from sweep.config.presets import PAPER_GRID, PRESETS
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from trainables.data.published import DATASETS
from trainables.spec import ModelName, names


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_sweep_of_nothing_but_its_own_settings(name: str) -> None:
    settings = resolve({"preset": name})
    assert settings.preset == name
    assert {key: getattr(settings, key) for key in PRESETS[name].settings} == PRESETS[name].settings
    required = {key for key, field in Settings.model_fields.items() if field.is_required()}
    assert required - {"preset"} <= set(PRESETS[name].settings)
    assert PRESETS[name].stands_for and PRESETS[name].settled


def test_every_model_has_a_preset_of_its_name() -> None:
    for name in names(ModelName):
        assert resolve({"model": name}).preset == resolve({"model": name}).model == name


def test_digits_is_the_experiment_of_the_design() -> None:
    settings = resolve({"preset": "digits"})
    assert (settings.model, settings.hidden, settings.dataset, settings.pruning) == (
        "mlp",
        (64, 64, 64),
        "digits",
        "imp",
    )
    assert (settings.batch_size, settings.momentum, settings.weight_decay) == (32, 0.9, 1e-4)
    assert (settings.cycles, settings.runs, settings.prune_rate, settings.split, settings.score) == (
        15,
        5,
        0.2,
        "pooled",
        "best",
    )
    assert (settings.tolerance, settings.tolerance_kind, settings.decide, settings.keep_output) == (
        0.5,
        "absolute",
        "shared",
        False,
    )
    grid = settings.grid.values
    assert len(grid) == 25 and (grid[0], grid[-1]) == (1e-3, 1.0)
    assert all(high / low == pytest.approx(1000 ** (1 / 24), rel=1e-5) for low, high in pairwise(grid))
    assert len(grid) * settings.runs * (settings.cycles + 1) == 2000
    assert settings.scyc is not None
    assert SCyc.parse(settings.scyc) == SCyc(epsilon=0.035, delta=0.05, q=1, beta=4)


def test_digits_trains_15_epochs_with_warmup_over_16_percent_and_drops_at_50_and_75() -> None:
    settings = resolve({"preset": "digits"})
    images = DATASETS["digits"].train_size("pooled")
    assert images in {math.floor(0.6 * 1797), round(0.6 * 1797)}
    assert settings.steps == 15 * math.ceil(images / 32) == 510
    assert settings.schedule == "warmup"
    assert settings.warmup_steps == round(0.16 * settings.steps)
    assert settings.milestones == (settings.steps // 2, settings.steps * 3 // 4)


def of_paper(settings: Settings, setup: Setup) -> None:
    """Every figure that the set-up prints is the settings'."""
    assert (settings.model, settings.dataset) == (setup.model, setup.dataset)
    for name in ("batch_size", "momentum", "weight_decay", "cycles", "runs", "prune_rate", "warmup_steps"):
        printed = getattr(setup, name)
        if printed is not None:
            assert getattr(settings, name) == printed, name
    assert settings.milestones == setup.milestones


def test_resnet20_is_table_7_as_its_caption_has_it() -> None:
    settings = resolve({"preset": "resnet20"})
    of_paper(settings, SETUPS["resnet20"])
    assert (settings.steps, settings.warmup_steps, settings.milestones) == (63_000, 20_000, (20_000, 25_000))
    assert (settings.pruning, settings.rewind, settings.schedule, settings.split) == (
        "global_magnitude",
        "none",
        "warmup",
        "pooled",
    )
    assert settings.scyc is not None and SCyc.parse(settings.scyc) == ORACLE_TABLES[7].scyc


@pytest.mark.parametrize(("name", "table"), [("resnet20", 7), ("vgg19", 3), ("resnet50", 8)])
def test_the_presets_of_the_oracle_tables_have_their_network_data_and_s_cyc(name: str, table: int) -> None:
    settings, printed = resolve({"model": name}), ORACLE_TABLES[table]
    of_paper(settings, SETUPS[name])
    assert (settings.model, settings.dataset) == (printed.model, printed.dataset)
    assert settings.scyc is not None and SCyc.parse(settings.scyc) == printed.scyc
    assert name == "resnet20" or settings.pruning == printed.pruning == SETUPS[name].pruning
    assert f"Table {table}" in PRESETS[name].stands_for


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_presets_without_an_oracle_of_the_paper_have_no_s_cyc_and_say_what_is_settled(name: str) -> None:
    settings = resolve({"model": name})
    of_paper(settings, SETUPS[name])
    assert settings.pruning == SETUPS[name].pruning and settings.steps == SETUPS[name].iterations
    assert settings.scyc is None and "no S-Cyc" in PRESETS[name].settled
    assert (settings.cycles, settings.runs, settings.prune_rate, settings.weight_decay) == (25, 5, 0.2, 1e-4)


@pytest.mark.parametrize(
    ("name", "optimizer", "scyc", "rates"),
    [  # Tables 5 and 6: S-Cyc's row, and the lowest and highest rates of the warmup schedules and S-Cyc
        ("resnet20-adam", "adam", "0.003,0.004,1,4", (0.003, 0.007)),
        ("resnet20-rmsprop", "rmsprop", "0.001,0.002,2,5", (0.001, 0.003)),
    ],
)
def test_tables_5_and_6_are_resnet20_by_global_magnitude_with_their_optimizers(
    name: str, optimizer: str, scyc: str, rates: tuple[float, float]
) -> None:
    settings, base = resolve({"preset": name}), resolve({"preset": "resnet20"})
    changed = {k for k in base.model_dump() if getattr(base, k) != getattr(settings, k)} - {"preset"}
    assert changed <= {"optimizer", "momentum", "max_lr", "scyc"}
    assert (settings.optimizer, settings.scyc) == (optimizer, scyc)
    grid = settings.grid.values
    assert set(rates) <= set(grid) and grid[0] == 1e-4


def test_resnet20_searches_every_value_that_the_paper_s_tables_print() -> None:
    grid = MaxLrGrid.parse(resolve({"preset": "resnet20"}).max_lr)
    assert grid.values[0] == 1e-4 and grid.values[-1] == 0.1 and len(grid.values) == 51
    reachable = set(grid.points(above=10))
    for table in ORACLE_TABLES.values():
        printed = {*table.well_tuned_max_lr, *table.feasible_low, *table.feasible_high}
        assert printed <= reachable, table.table
    assert MaxLrGrid.parse(PAPER_GRID) == grid


def test_mlp_is_section_3_1_on_fashion_mnist() -> None:
    settings = resolve({"preset": "mlp"})
    of_paper(settings, SETUPS["mlp"])
    assert settings.hidden == (256, 256, 256)
    assert settings.pruning == SETUPS["mlp"].pruning == "global_magnitude"
    assert (settings.schedule, settings.warmup_steps, settings.milestones) == ("constant", 0, ())
    epochs = SETUPS["mlp"].epochs
    assert epochs == 500
    assert settings.steps == epochs * math.ceil(DATASETS["fashion_mnist"].train_size("pooled") / 64)
    grid = settings.grid.values
    assert (grid[0], grid[-1]) == (1e-4, 1e-2)
