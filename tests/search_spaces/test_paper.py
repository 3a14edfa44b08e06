"""The paper's data: each table is whole, and what its notes say about it is so."""

import pytest

from search_spaces.paper import LABELS, ORACLE_TABLES, SETUPS, OracleTable
from search_spaces.scyc import percent_remaining

TABLES = pytest.mark.parametrize("table", ORACLE_TABLES.values(), ids=lambda table: f"table {table.table}")


def test_the_tables_are_3_7_and_8_under_their_numbers() -> None:
    assert {key: table.table for key, table in ORACLE_TABLES.items()} == {3: 3, 7: 7, 8: 8}


@TABLES
def test_each_column_of_a_table_is_whole_and_its_best_lies_in_its_region(table: OracleTable) -> None:
    columns = zip(table.cycle, table.feasible_low, table.well_tuned_max_lr, table.feasible_high, strict=True)
    for cycle, low, best, high in columns:
        assert cycle in LABELS
        assert low <= best <= high


@TABLES
def test_every_printed_max_lr_is_a_multiple_of_2e_3(table: OracleTable) -> None:
    for value in (*table.feasible_low, *table.well_tuned_max_lr, *table.feasible_high):
        assert value == round(round(value / 0.002) * 0.002, 3)


def test_the_s_cyc_values_outside_their_region_are_the_three_of_the_notes() -> None:
    outside = {
        (table.table, cycle)
        for table in ORACLE_TABLES.values()
        for cycle, low, high in zip(table.cycle, table.feasible_low, table.feasible_high, strict=True)
        if not low <= table.scyc.max_lr(cycle, 0.2) <= high
    }
    assert outside == {(7, 3), (7, 7), (8, 5)}
    assert ORACLE_TABLES[8].scyc.max_lr(5, 0.2) == pytest.approx(0.072014, abs=5e-7)


def test_the_tables_beyond_the_stated_grid_are_those_whose_notes_say_so() -> None:
    beyond = {table.table for table in ORACLE_TABLES.values() if max(table.feasible_high) > 0.1}
    noted = {table.table for table in ORACLE_TABLES.values() if any("ends at 0.1" in note for note in table.notes)}
    assert beyond == noted == {3, 8}


def test_the_labels_are_the_truncated_density_of_a_network_with_an_unpruned_output_layer() -> None:
    for cycle, label in LABELS.items():
        density = percent_remaining(cycle, 0.2) * (1 - 0.0024) + 0.24
        digits = 2 if label < 10 else 1
        assert int(density * 10**digits + 1e-9) / 10**digits == label


def test_each_set_up_stands_under_its_model() -> None:
    assert list(SETUPS) == ["resnet20", "vgg19", "resnet50", "alexnet", "vgg16", "mlp"]
    assert all(model == setup.model for model, setup in SETUPS.items())


@TABLES
def test_a_table_and_its_models_set_up_agree_on_data_and_pruning(table: OracleTable) -> None:
    setup = SETUPS[table.model]
    assert (setup.dataset, setup.pruning) == (table.dataset, table.pruning)


@pytest.mark.parametrize("model", ["resnet20", "vgg19", "resnet50"])
def test_the_set_ups_of_table_2_share_optimizer_batch_and_counts(model: str) -> None:
    setup = SETUPS[model]
    assert (setup.momentum, setup.weight_decay, setup.batch_size) == (0.9, 1e-4, 128)
    assert (setup.prune_rate, setup.cycles, setup.runs) == (0.2, 25, 5)


@pytest.mark.parametrize(
    ("model", "iterations", "warmup_steps", "milestones", "batch_size", "max_lr"),
    [
        ("resnet20", 63_000, 20_000, (20_000, 25_000), 128, None),
        ("vgg19", 63_000, 10_000, (32_000, 48_000), 128, None),
        ("resnet50", 70_000, 4_000, (23_000, 46_000, 62_000), 128, None),
        ("alexnet", 781_000, 150_000, (300_000, 400_000), 64, 0.01),
        ("vgg16", 63_000, 10_000, (32_000, 48_000), None, 0.1),
        ("mlp", None, 0, (), 64, 0.001),
    ],
)
def test_the_warmup_schedules_are_as_printed(
    model: str,
    iterations: int | None,
    warmup_steps: int | None,
    milestones: tuple[int, ...],
    batch_size: int | None,
    max_lr: float | None,
) -> None:
    setup = SETUPS[model]
    assert (setup.iterations, setup.warmup_steps, setup.milestones) == (iterations, warmup_steps, milestones)
    assert (setup.batch_size, setup.max_lr) == (batch_size, max_lr)


def test_the_mlp_has_epochs_and_its_own_momentum_and_number_of_prunings() -> None:
    mlp = SETUPS["mlp"]
    assert (mlp.epochs, mlp.momentum, mlp.cycles) == (500, 0.9, 10)


@pytest.mark.parametrize("model", ["alexnet", "vgg16", "mlp"])
def test_what_the_paper_does_not_state_is_absent(model: str) -> None:
    setup = SETUPS[model]
    assert (setup.weight_decay, setup.runs, setup.prune_rate) == (None, None, None)
