"""A pack trains like its networks alone, is scored as the design says, and depends on its seeds and on nothing else."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import gradients, users_own
from trainables import pack as pack_module
from trainables.data import datasets
from trainables.data.datasets import Dataset
from trainables.networks import models
from trainables.pack import _starts, train_pack
from trainables.pruning import CRITERIA, EmptyLayerError, coupled_masks, prunable
from trainables.spec import Lane, LaneResult, Pack, Schedule, TrainSpec, derive_seed
from trainables.states import State, StateError, load_state, path_of, save_state

CPU = torch.device("cpu")
CLOSE = {"rel": 0.0, "abs": 1e-9}
Maker = Callable[..., object]
MODELS = pytest.mark.parametrize("model", ["mlp", "resnet20"])


def pack_of(
    max_lrs: list[float],
    parents: list[str | None] | None = None,
    cycle: int = 0,
    seed: int = 3,
    run: int = 0,
    rewind_to: str | None = None,
) -> Pack:
    parents = parents or [None] * len(max_lrs)
    lanes = tuple(Lane(max_lr, parent, rewind_to) for max_lr, parent in zip(max_lrs, parents, strict=True))
    return Pack(cycle, run, seed, lanes)


def split_of(spec: TrainSpec, dataset: Dataset, seed: int = 3) -> datasets.Split:
    return datasets.split(dataset, spec.split, derive_seed(seed, "split"))


def outcome(result: LaneResult, *without: str) -> dict[str, object]:
    """A result as a dictionary, without its wall time and some other fields."""
    return {name: value for name, value in vars(result).items() if name not in {"wall_seconds", *without}}


def assert_close_results(actual: LaneResult, expected: LaneResult) -> None:
    for name, value in outcome(expected, "state").items():
        other = getattr(actual, name)
        if isinstance(value, float) or (isinstance(value, list) and value):
            assert other == pytest.approx(value, **CLOSE), name
        else:
            assert other == value, name


def assert_close_states(folder: Path, actual: str, other_folder: Path, expected: str) -> None:
    left, right = load_state(folder, actual), load_state(other_folder, expected)
    assert set(left.tensors) == set(right.tensors)
    for name, tensor in right.tensors.items():
        torch.testing.assert_close(left.tensors[name], tensor, rtol=0.0, atol=1e-9)
    assert all(torch.equal(left.masks[name], mask) for name, mask in right.masks.items())


def assert_state_equals(state: State, tensors: dict[str, Tensor]) -> None:
    assert set(state.tensors) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(state.tensors[name], tensor, rtol=0.0, atol=1e-9)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], bool]]:
    """Every batch of images asked for: its indices, and whether it may be augmented."""
    batches: list[tuple[list[int], bool]] = []
    original = Dataset.batch

    def batch(self: Dataset, indices: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None) -> Tensor:
        batches.append((indices.tolist(), generator is not None))
        return original(self, indices, dtype, generator)

    monkeypatch.setattr(Dataset, "batch", batch)
    return batches


def training_batches(drawn: list[tuple[list[int], bool]]) -> list[list[int]]:
    batches = [indices for indices, augmented in drawn if augmented]
    drawn.clear()
    return batches


# Stacked equals serial.


def removed_lowest(criterion_tensors: dict[str, Tensor], masks: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Global magnitude pruning by one sorted list."""
    alive = sorted(
        (abs(float(criterion_tensors[name].flatten()[i])), order, i, name)
        for order, (name, mask) in enumerate(masks.items())
        for i in mask.flatten().nonzero().flatten().tolist()
    )
    pruned = {name: mask.clone() for name, mask in masks.items()}
    for _, _, i, name in alive[: math.floor(rate * len(alive))]:
        pruned[name].view(-1)[i] = False
    return pruned


@pytest.mark.parametrize(("model", "steps"), [("mlp", 50), ("resnet20", 12)])
def test_a_pack_equals_its_networks_trained_one_at_a_time_by_ordinary_torch(
    model: str,
    steps: int,
    make_spec: Maker,
    make_images: Maker,
    plain_images: Maker,
    measure: Maker,
    reload: Maker,
    train_alone: Maker,
    drawn: list[tuple[list[int], bool]],
    tmp_path: Path,
) -> None:
    spec = make_spec(model=model, steps=steps, warmup_steps=5, milestones=(steps - 3,), eval_every=4)
    dataset = make_images()
    first = train_pack(spec, pack_of([0.01, 0.1, 0.03]), dataset, tmp_path, CPU)
    parents = [result.state for result in first]
    assert len(set(parents)) == 3
    drawn.clear()
    max_lrs = [0.05, 0.02, 0.2]
    own = [None, Schedule("cyclical", cycle_steps=3), Schedule("slr", 5, (steps - 3,))]
    lanes = zip(max_lrs, parents, own, strict=True)
    pack = Pack(1, 0, 3, tuple(Lane(max_lr, parent, None, schedule) for max_lr, parent, schedule in lanes))
    results = train_pack(spec, pack, dataset, tmp_path, CPU)
    assert [result.schedule for result in results] == ["warmup", "cyclical", "slr"]
    batches = [(plain_images(dataset, torch.tensor(batch)), dataset.labels[batch]) for batch in training_batches(drawn)]
    assert len(batches) == steps
    split = split_of(spec, dataset)

    for parent, max_lr, schedule, result in zip(parents, max_lrs, own, results, strict=True):
        network = reload(spec, dataset, tmp_path, parent)
        before = load_state(tmp_path, parent)
        # The order of a file's names is its own; the network's order decides ties.
        masks = {name: before.masks[name] for name in prunable(network, spec.keep_output)}
        masks = removed_lowest(before.tensors, masks, spec.prune_rate)
        with torch.no_grad():
            for name, mask in masks.items():
                network.get_parameter(name).mul_(mask)
        evaluations: list[tuple[int, float, float, float, float]] = []
        networks: dict[int, dict[str, Tensor]] = {}
        losses: list[float] = []
        for done, loss in enumerate(train_alone(network, masks, max_lr, spec, batches, schedule), start=1):
            losses.append(loss)
            if done % 4 == 0 or done == steps:
                val_accuracy, val_loss = measure(network, dataset, split.val)
                test_accuracy, _ = measure(network, dataset, split.test)
                evaluations.append((done, val_accuracy, test_accuracy, val_loss, sum(losses) / len(losses)))
                networks[done] = copy.deepcopy(network.state_dict())
                losses.clear()
        rise = {None: 5, "cyclical": 0, "slr": steps // 10}[schedule and schedule.name]
        best = max((e for e in evaluations if e[0] >= rise), key=lambda evaluation: evaluation[1])
        assert result.status == "ok"
        assert result.steps == steps
        assert result.parent_state == parent
        assert result.eval_steps == [e[0] for e in evaluations]
        assert result.eval_val_accuracy == pytest.approx([e[1] for e in evaluations], **CLOSE)
        assert result.eval_test_accuracy == pytest.approx([e[2] for e in evaluations], **CLOSE)
        assert result.eval_val_loss == pytest.approx([e[3] for e in evaluations], **CLOSE)
        scored = (result.best_step, result.val_accuracy, result.test_accuracy, result.val_loss, result.train_loss)
        assert scored == pytest.approx(best, **CLOSE)
        state = load_state(tmp_path, result.state)
        assert_state_equals(state, networks[best[0]])
        assert all(torch.equal(state.masks[name], mask) for name, mask in masks.items())


# Independence of lanes.


@MODELS
def test_a_lanes_result_does_not_depend_on_its_place_or_its_neighbours_even_if_one_diverges(
    model: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(model=model), make_images()
    alone = {}
    for max_lr in (0.02, 0.2):
        [alone[max_lr]] = train_pack(spec, pack_of([max_lr]), dataset, tmp_path / "alone", CPU)
    for number, max_lrs in enumerate([[0.02, 0.2], [0.2, 1e200, 0.02], [math.inf, 0.02]]):
        folder = tmp_path / str(number)
        results = train_pack(spec, pack_of(max_lrs), dataset, folder, CPU)
        assert [result.max_lr for result in results] == max_lrs
        for result in results:
            if result.max_lr in alone:
                assert_close_results(result, alone[result.max_lr])
                assert_close_states(folder, result.state, tmp_path / "alone", alone[result.max_lr].state)
            else:
                assert result.status == "diverged"
                assert result.steps == 2  # the first evaluation sees it
                assert result.state is None
                assert result.val_accuracy is None
                assert result.test_accuracy is None
                assert result.best_step is None
                assert result.val_loss is None
                assert result.train_loss is None
                assert result.eval_steps == result.eval_val_accuracy == result.eval_test_accuracy == []
        kept = {path.stem for path in folder.glob("*")}
        assert kept == {results[0].parent_state} | {result.state for result in results} - {None}


def test_a_lane_that_diverges_after_good_evaluations_has_no_score_and_no_state(
    make_spec: Maker, make_images: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = pack_module._evaluate, []

    def evaluate(*arguments: object) -> object:
        evaluation = original(*arguments)
        calls.append(None)
        if len(calls) == 4:
            evaluation.val_loss[1] = math.nan
        return evaluation

    spec, dataset = make_spec(), make_images()
    expected = train_pack(spec, pack_of([0.1, 0.05]), dataset, tmp_path, CPU)
    monkeypatch.setattr(pack_module, "_evaluate", evaluate)
    kept, lost = train_pack(spec, pack_of([0.1, 0.05]), dataset, tmp_path, CPU)
    assert outcome(kept) == outcome(expected[0])
    assert (lost.status, lost.steps) == ("diverged", 8)
    assert (lost.state, lost.best_step, lost.val_accuracy, lost.test_accuracy) == (None, None, None, None)
    assert (lost.val_loss, lost.train_loss) == (None, None)
    assert lost.eval_steps == [2, 4, 6]
    assert lost.eval_val_accuracy == expected[1].eval_val_accuracy[:3]


def test_a_pack_whose_lanes_have_all_diverged_ends_there(
    make_spec: Maker, make_images: Maker, drawn: list[tuple[list[int], bool]], tmp_path: Path
) -> None:
    results = train_pack(make_spec(), pack_of([1e200, math.inf]), make_images(), tmp_path, CPU)
    assert [(result.status, result.steps, result.state) for result in results] == [("diverged", 2, None)] * 2
    assert len(training_batches(drawn)) == 2


# Pruning through training.


@pytest.mark.parametrize("pruning", ["global_magnitude", "layer_magnitude"])
@pytest.mark.parametrize("rewind", ["none", "init", 2])
@MODELS
def test_pruned_weights_are_exactly_zero_in_every_saved_state_of_a_chain(
    model: str, rewind: str, pruning: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec = make_spec(
        model=model, rewind=rewind, pruning=pruning, steps=3, warmup_steps=1, milestones=(), weight_decay=0.1
    )
    dataset = make_images(shape=(1, 4, 4))
    [first] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    assert first.percent_remaining == 100.0
    state, digest = load_state(tmp_path, first.state), first.state
    assert all(mask.all() for mask in state.masks.values())
    left = {name: mask.numel() for name, mask in state.masks.items()}
    total = everything = sum(left.values())
    for cycle in (1, 2, 3):
        before = state
        [result] = train_pack(
            spec, pack_of([0.1], [digest], cycle=cycle, rewind_to=first.rewind_state), dataset, tmp_path, CPU
        )
        state, digest = load_state(tmp_path, result.state), result.state
        left = {name: count - count // 5 for name, count in left.items()}
        total = sum(left.values()) if pruning == "layer_magnitude" else total - total // 5
        assert sum(int(mask.sum()) for mask in state.masks.values()) == total
        assert result.percent_remaining == pytest.approx(100 * total / everything, **CLOSE)
        for name, mask in state.masks.items():
            assert not (mask & ~before.masks[name]).any()
            assert (state.tensors[name][~mask] == 0).all()
            assert (state.tensors[name][mask] != 0).all()
        if pruning == "layer_magnitude":
            assert {name: int(mask.sum()) for name, mask in state.masks.items()} == left


@pytest.fixture
def first_cycle(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> Iterator[tuple[Dataset, LaneResult, State, State]]:
    """A ResNet-20 after its first cycle: data, result, initial and final state, which differ in every tensor."""
    dataset = make_images()
    [result] = train_pack(make_spec(model="resnet20"), pack_of([0.1]), dataset, tmp_path, CPU)
    initial, trained = load_state(tmp_path, result.parent_state), load_state(tmp_path, result.state)
    assert any(name.endswith("running_var") for name in trained.tensors)
    for name, tensor in trained.tensors.items():
        assert not torch.equal(tensor, initial.tensors[name]), name
    yield dataset, result, initial, trained


def start_of(spec: TrainSpec, dataset: Dataset, folder: Path, result: LaneResult, seed: int = 3) -> State:
    """The state from which cycle 1 starts, after pruning and rewinding."""
    template = models.build(spec, dataset.shape, dataset.classes, derive_seed(seed, "weights"))
    rewind_to = result.parent_state if spec.rewind == "init" else result.rewind_state
    pack = pack_of([0.1], [result.state], cycle=1, seed=seed, rewind_to=rewind_to)
    train = datasets.split(dataset, spec.split, derive_seed(seed, "split")).train
    _, [start] = _starts(spec, pack, template, folder, dataset, train)
    return start


def test_rewinding_restores_every_surviving_parameter_and_every_buffer_bit_for_bit(
    first_cycle: tuple[Dataset, LaneResult, State, State], make_spec: Maker, tmp_path: Path
) -> None:
    dataset, result, initial, trained = first_cycle
    start = start_of(make_spec(model="resnet20", rewind="init"), dataset, tmp_path, result)
    warm = start_of(make_spec(model="resnet20", rewind="none"), dataset, tmp_path, result)
    assert set(start.tensors) == set(initial.tensors)
    pruned = 0
    for name, tensor in start.tensors.items():
        mask = start.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[mask], initial.tensors[name][mask]), name
        assert (tensor[~mask] == 0).all()
        pruned += int((~mask).sum())
        if name in start.masks:
            assert torch.equal(mask, warm.masks[name])  # chosen by the trained weights, not by the initial ones
    assert pruned == sum(mask.numel() for mask in trained.masks.values()) // 5


def test_without_rewinding_the_parents_weights_and_buffers_go_on(
    first_cycle: tuple[Dataset, LaneResult, State, State], make_spec: Maker, tmp_path: Path
) -> None:
    dataset, result, _, trained = first_cycle
    start = start_of(make_spec(model="resnet20"), dataset, tmp_path, result)
    for name, tensor in start.tensors.items():
        mask = start.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[mask], trained.tensors[name][mask]), name
        assert (tensor[~mask] == 0).all()


def test_the_unpruned_control_goes_on_from_exactly_its_parent(
    first_cycle: tuple[Dataset, LaneResult, State, State], make_spec: Maker, tmp_path: Path
) -> None:
    dataset, result, _, trained = first_cycle
    start = start_of(make_spec(model="resnet20", pruning="none"), dataset, tmp_path, result)
    assert all(torch.equal(tensor, trained.tensors[name]) for name, tensor in start.tensors.items())
    assert all(mask.all() for mask in start.masks.values())


@pytest.mark.parametrize("rewind", ["none", "init", 2])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_prunes_a_chain_whose_removed_weights_stay_exactly_zero(
    criterion: str, rewind: object, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec = make_spec(model="resnet20", pruning=criterion, rewind=rewind, steps=3, warmup_steps=1, milestones=())
    dataset, seed = make_images(), 3
    [result] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    initial, left = result.rewind_state, 100.0
    for cycle in (1, 2):
        pack = pack_of([0.1], [result.state], cycle=cycle, seed=seed, rewind_to=initial)
        [result] = train_pack(spec, pack, dataset, tmp_path, CPU)
        assert 0.6 * left < result.percent_remaining < 0.9 * left  # a fifth, less what rounding keeps of few filters
        left = result.percent_remaining
        state = load_state(tmp_path, result.state)
        template = models.build(spec, dataset.shape, dataset.classes, 0)
        beside = coupled_masks(criterion, template, state.masks)
        assert bool(beside) == CRITERIA[criterion].filters
        for name, mask in (state.masks | beside).items():
            assert (state.tensors[name][~mask] == 0).all(), name
            assert (state.tensors[name][mask] != 0).all() or name.endswith("bias"), name


@pytest.mark.parametrize("rewind", ["none", "init", 2])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_what_is_not_trained_keeps_its_values_through_every_criterion(
    criterion: str,
    rewind: object,
    make_spec: Maker,
    make_images: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def network(shape: tuple[int, ...], classes: int) -> nn.Module:
        made = nn.Sequential(
            *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 10, 3), nn.BatchNorm2d(10), nn.ReLU()),
            *(
                nn.Conv2d(10, 12, 3),
                nn.BatchNorm2d(12),
                nn.Flatten(),
                nn.Linear(48, 9),
                nn.ReLU(),
                nn.Linear(9, classes),
            ),
        )
        for part in (made[0], made[1], made[3], made[8]):
            part.requires_grad_(False)
        return made

    monkeypatch.setattr(users_own, "function", lambda name, source=None: network)
    given = {"pruning": criterion, "rewind": rewind, "steps": 3, "warmup_steps": 1, "milestones": ()}
    spec = make_spec(model="nets:network", keep_output=False, **given)
    dataset = make_images()
    results = train_pack(spec, pack_of([0.1, 0.3]), dataset, tmp_path, CPU)
    initial = load_state(tmp_path, results[0].parent_state).tensors
    template = models.build(spec, dataset.shape, dataset.classes, 0)
    frozen = {name for name, parameter in template.named_parameters() if not parameter.requires_grad}
    assert len(frozen) == 8
    for cycle in (1, 2):
        parents, rewind_to = [result.state for result in results], [result.rewind_state for result in results]
        if cycle == 1:
            early = rewind_to
        lanes = tuple(Lane(0.1, parent, to) for parent, to in zip(parents, early, strict=True))
        results = train_pack(spec, Pack(cycle, 0, 3, lanes), dataset, tmp_path, CPU)
        for result in results:
            state = load_state(tmp_path, result.state)
            assert result.percent_remaining < 95 and state.masks.keys() <= {"2.weight", "5.weight", "10.weight"}
            for name, tensor in state.tensors.items():
                assert torch.equal(tensor, initial[name]) == (name in frozen), name  # buffers move in training


@pytest.mark.parametrize("score_batches", [None, 2])
def test_gradient_scores_are_those_of_the_mean_loss_over_the_training_split_in_eval_mode(
    score_batches: int | None, make_spec: Maker, make_images: Maker, plain_images: Maker, reload: Maker, tmp_path: Path
) -> None:
    spec = make_spec(model="resnet20", pruning="global_gradient", score_batches=score_batches)
    dataset = make_images(augment=True)
    [result] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    start = start_of(spec, dataset, tmp_path, result)
    train = datasets.split(dataset, spec.split, derive_seed(3, "split")).train
    images = train if score_batches is None else train[: 2 * spec.batch_size]
    network = reload(spec, dataset, tmp_path, result.state).eval()
    functional.cross_entropy(network(plain_images(dataset, images)), dataset.labels[images]).backward()
    scores = {name: (network.get_parameter(name) * network.get_parameter(name).grad).abs() for name in start.masks}
    kept = torch.cat([scores[name][mask] for name, mask in start.masks.items()])
    gone = torch.cat([scores[name][~mask] for name, mask in start.masks.items()])
    assert len(gone) == (len(gone) + len(kept)) // 5
    assert gone.max() <= kept.min() * (1 + 1e-9)


def test_mean_gradients_do_not_depend_on_how_many_images_go_at_a_time(
    make_spec: Maker, make_images: Maker, plain_images: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_images()
    network = models.build(make_spec(model="resnet20"), dataset.shape, dataset.classes, 0)
    indices = torch.arange(40, 90)
    network.eval()
    loss = functional.cross_entropy(network(plain_images(dataset, indices)), dataset.labels[indices])
    expected = dict(
        zip(dict(network.named_parameters()), torch.autograd.grad(loss, list(network.parameters())), strict=True)
    )
    for size in (256, 50, 16):
        monkeypatch.setattr(gradients, "SCORE_BATCH", size)
        found = gradients.mean_gradients(network, dataset, indices, torch.float64)
        assert list(found) == list(expected)
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=0.0, atol=1e-9)


def test_random_pruning_follows_run_and_cycle_and_not_the_lane(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(pruning="random"), make_images()
    results = train_pack(spec, pack_of([0.1, 0.01]), dataset, tmp_path, CPU)
    masks = [start_of(spec, dataset, tmp_path, result).masks["1.weight"] for result in results]
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], start_of(spec, dataset, tmp_path, results[0], seed=4).masks["1.weight"])


def test_rewinding_goes_back_to_the_runs_file_and_not_to_a_new_draw(
    first_cycle: tuple[Dataset, LaneResult, State, State], make_spec: Maker, tmp_path: Path
) -> None:
    dataset, result, initial, _ = first_cycle
    start = start_of(make_spec(model="resnet20", rewind="init"), dataset, tmp_path, result, seed=99)
    for name, mask in start.masks.items():
        assert torch.equal(start.tensors[name][mask], initial.tensors[name][mask])


@MODELS
def test_late_rewinding_goes_back_to_where_each_lane_was_after_so_many_steps_of_cycle_0(
    model: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    dataset, max_lrs = make_images(), [0.05, 1e30, 0.2]
    late = make_spec(model=model, rewind=4)
    results = train_pack(late, pack_of(max_lrs), dataset, tmp_path, CPU)
    assert [result.status for result in results] == ["ok", "diverged", "ok"]
    assert results[1].rewind_state is None
    lanes = [results[0], results[2]]
    assert len({result.rewind_state for result in lanes}) == 2
    # The same lanes, stopped there: their last evaluation is that of step 4.
    short = make_spec(model=model, steps=4, milestones=(), score="last")
    for result, max_lr in zip(lanes, (0.05, 0.2), strict=True):
        [stopped] = train_pack(short, pack_of([max_lr]), dataset, tmp_path, CPU)
        early, known = (load_state(tmp_path, digest) for digest in (result.rewind_state, stopped.state))
        for name, tensor in known.tensors.items():
            assert torch.allclose(early.tensors[name], tensor, rtol=1e-9, atol=1e-12), name
        start = start_of(late, dataset, tmp_path, result)
        warm = start_of(make_spec(model=model), dataset, tmp_path, dataclasses.replace(result, rewind_state=None))
        for name, tensor in start.tensors.items():
            mask = start.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(tensor, early.tensors[name] * mask), name
        assert all(torch.equal(mask, warm.masks[name]) for name, mask in start.masks.items())
    # One pack may hold lanes that are set back to different networks.
    pack = Pack(1, 0, 3, tuple(Lane(0.1, result.state, result.rewind_state) for result in lanes))
    together = train_pack(late, pack, dataset, tmp_path, CPU)
    alone = [
        train_pack(late, dataclasses.replace(pack, lanes=(lane,)), dataset, tmp_path, CPU)[0] for lane in pack.lanes
    ]
    assert [r.val_loss for r in together] == pytest.approx([r.val_loss for r in alone], rel=1e-9)
    assert [r.rewind_state for r in together] == [None, None]


def test_retraining_has_its_own_number_of_steps(make_spec: Maker, make_images: Maker, tmp_path: Path) -> None:
    spec, dataset = make_spec(retrain_steps=5), make_images()
    [first] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    [second] = train_pack(spec, pack_of([0.1], [first.state], cycle=1), dataset, tmp_path, CPU)
    assert (first.steps, first.eval_steps[-1], second.steps, second.eval_steps) == (10, 10, 5, [2, 4, 5])


def test_retraining_schedules_know_how_long_the_first_training_was(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    """The last 5 steps of 10 with a drop at 6 are 5 steps with a drop at 1, which a warmup has that shrinks from 2."""
    spec, dataset = make_spec(retrain_steps=5, score="last"), make_images()
    parent = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)[0].state
    own = [Schedule("lrw", 0, (6,)), Schedule("warmup", 0, (2,)), Schedule("constant")]
    pack = Pack(1, 0, 3, tuple(Lane(0.1, parent, None, schedule) for schedule in own))
    rewound, dropped, held = train_pack(spec, pack, dataset, tmp_path, CPU)
    assert rewound.state == dropped.state != held.state


def test_ties_between_layers_are_settled_in_the_networks_order_and_not_in_the_files(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(hidden=(2, 2, 2, 2, 2, 2), prune_rate=0.007), make_images()
    [result] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    state = load_state(tmp_path, result.state)
    for name in state.masks:
        state.tensors[name].fill_(0.5 if name in {"3.weight", "11.weight"} else 2.0)  # "11" comes first in the file
    result.state = save_state(tmp_path, state)
    start = start_of(spec, dataset, tmp_path, result)
    assert {name: int((~mask).sum()) for name, mask in start.masks.items() if not mask.all()} == {"3.weight": 1}
    assert list(start.masks) == ["1.weight", "3.weight", "5.weight", "7.weight", "9.weight", "11.weight"]


@MODELS
def test_a_rewound_cycle_without_pruning_and_at_rate_zero_ends_where_the_run_began(
    model: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(model=model, pruning="none", rewind="init"), make_images()
    [first] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    pack = pack_of([0.0], [first.state], cycle=1, rewind_to=first.rewind_state)
    [second] = train_pack(spec, pack, dataset, tmp_path, CPU)
    initial = load_state(tmp_path, first.parent_state)
    ended = load_state(tmp_path, second.state)
    for name in models.build(spec, dataset.shape, dataset.classes, seed=0).state_dict():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(ended.tensors[name], initial.tensors[name])


def test_the_first_cycle_starts_from_the_weights_of_the_runs_seed(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(), make_images()
    results = train_pack(spec, pack_of([0.1, 0.2], seed=8), dataset, tmp_path, CPU)
    assert results[0].parent_state == results[1].parent_state
    initial = load_state(tmp_path, results[0].parent_state)
    network = models.build(spec, dataset.shape, dataset.classes, derive_seed(8, "weights"))
    assert all(torch.equal(initial.tensors[name], tensor) for name, tensor in network.state_dict().items())
    assert all(mask.all() for mask in initial.masks.values())


def test_a_missing_or_damaged_parent_is_a_state_error(make_spec: Maker, make_images: Maker, tmp_path: Path) -> None:
    spec, dataset = make_spec(), make_images()
    with pytest.raises(StateError, match="cannot be read"):
        train_pack(spec, pack_of([0.1], ["0" * 64], cycle=1), dataset, tmp_path, CPU)
    [result] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    path = path_of(tmp_path, result.state)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StateError, match="damaged"):
        train_pack(spec, pack_of([0.1], [result.state], cycle=1), dataset, tmp_path, CPU)


def test_a_layer_emptied_by_pruning_ends_the_chain_with_its_name(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(hidden=(3, 1), keep_output=True, prune_rate=0.5), make_images()
    [result] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    state = load_state(tmp_path, result.state)
    state.tensors["3.weight"].fill_(1e-9)
    digest = save_state(tmp_path, state)
    with pytest.raises(EmptyLayerError, match="layer 3 has lost all its weights"):
        train_pack(spec, pack_of([0.1], [digest], cycle=1), dataset, tmp_path, CPU)


# Score.


def scripted(monkeypatch: pytest.MonkeyPatch, val: list[list[float]], seen: list[dict[str, Tensor]]) -> None:
    """Evaluations as written: `val` has a row per evaluation. What was evaluated goes to `seen`."""

    def evaluate(stacked: nn.Module, *_: object) -> object:
        row = torch.tensor(val[len(seen)], dtype=torch.float64)
        seen.append({name: tensor.clone() for name, tensor in stacked.state_dict().items()})
        # Test accuracies run against the validation accuracies, so that choosing by them would show.
        return pack_module._Evaluation(row, 100 - row + len(seen) / 10, row / 100 + len(seen))

    monkeypatch.setattr(pack_module, "_evaluate", evaluate)


VAL = [
    # in the warmup, a tie, the end of the warmup, falling, rising, flat
    [99.0, 50.0, 60.0, 70.0, 10.0, 40.0],  # step 2: in the warmup
    [50.0, 60.0, 80.0, 60.0, 20.0, 40.0],  # step 4: the warmup has just ended
    [70.0, 75.0, 70.0, 50.0, 30.0, 40.0],  # step 6
    [70.0, 75.0, 79.0, 40.0, 40.0, 40.0],  # step 8
    [60.0, 74.0, 80.0, 30.0, 50.0, 40.0],  # step 9: the last
]
BEST = [6, 6, 4, 4, 9, 4]


@pytest.mark.parametrize(("score", "steps"), [("best", BEST), ("last", [9] * 6)])
def test_the_score_and_the_state_are_those_of_the_best_evaluation_after_the_warmup_or_of_the_last(
    score: str,
    steps: list[int],
    make_spec: Maker,
    make_images: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec(score=score, steps=9, warmup_steps=4, eval_every=2)
    seen: list[dict[str, Tensor]] = []
    scripted(monkeypatch, VAL, seen)
    results = train_pack(spec, pack_of([0.01 * (i + 1) for i in range(6)]), make_images(), tmp_path, CPU)
    for lane, (result, step) in enumerate(zip(results, steps, strict=True)):
        evaluation = [2, 4, 6, 8, 9].index(step)
        assert result.eval_steps == [2, 4, 6, 8, 9]
        assert result.eval_val_accuracy == [row[lane] for row in VAL]
        assert result.best_step == step
        assert result.val_accuracy == VAL[evaluation][lane]
        assert result.test_accuracy == result.eval_test_accuracy[evaluation]
        assert result.val_loss == result.eval_val_loss[evaluation]
        tensors = load_state(tmp_path, result.state).tensors
        assert all(torch.equal(tensor[lane], tensors[name]) for name, tensor in seen[evaluation].items())
    assert len({result.state for result in results}) == 6


@pytest.mark.parametrize(("eval_every", "steps"), [(3, [3, 6, 9, 10]), (5, [5, 10]), (20, [10]), (None, [4, 8, 10])])
def test_evaluations_come_every_so_many_steps_or_once_an_epoch_and_always_at_the_end(
    eval_every: int | None, steps: list[int], make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    dataset = make_images(97)  # 58 training images: three batches of 16 and one of 10
    [result] = train_pack(make_spec(eval_every=eval_every), pack_of([0.1]), dataset, tmp_path, CPU)
    assert result.eval_steps == steps


@pytest.mark.parametrize("score", ["best", "last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@MODELS
def test_the_saved_state_measures_what_its_row_says(
    model: str,
    dtype: str,
    score: str,
    make_spec: Maker,
    make_images: Maker,
    reload: Maker,
    measure: Maker,
    tmp_path: Path,
) -> None:
    spec, dataset = make_spec(model=model, dtype=dtype, score=score), make_images()
    split = split_of(spec, dataset)
    for result in train_pack(spec, pack_of([0.02, 0.3]), dataset, tmp_path, CPU):
        network = reload(spec, dataset, tmp_path, result.state)
        val_accuracy, val_loss = measure(network, dataset, split.val)
        test_accuracy, _ = measure(network, dataset, split.test)
        assert result.val_accuracy == pytest.approx(val_accuracy, **CLOSE)
        assert result.test_accuracy == pytest.approx(test_accuracy, **CLOSE)
        assert result.val_loss == pytest.approx(val_loss, rel=1e-9 if dtype == "float64" else 1e-5)
        at = result.eval_steps.index(result.best_step)
        assert result.val_accuracy == result.eval_val_accuracy[at]
        assert result.test_accuracy == result.eval_test_accuracy[at]
        after_warmup = [
            a
            for step, a in zip(result.eval_steps, result.eval_val_accuracy, strict=True)
            if step >= spec.schedule.warmup_steps
        ]
        assert result.val_accuracy == (max(after_warmup) if score == "best" else after_warmup[-1])


@pytest.mark.parametrize("eval_batch", [1, 7, 19, 256])
def test_accuracy_counts_every_image_once_whatever_the_batch(
    eval_batch: int,
    make_spec: Maker,
    make_images: Maker,
    reload: Maker,
    measure: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, dataset = make_spec(model="resnet20", score="last"), make_images(97)  # 19 validation and 20 test images
    split = split_of(spec, dataset)
    monkeypatch.setattr(pack_module, "EVAL_BATCH", eval_batch)
    [result] = train_pack(spec, pack_of([0.05]), dataset, tmp_path, CPU)
    network = reload(spec, dataset, tmp_path, result.state)
    assert (result.val_accuracy, result.val_loss) == pytest.approx(measure(network, dataset, split.val), **CLOSE)
    assert result.test_accuracy == pytest.approx(measure(network, dataset, split.test)[0], **CLOSE)
    for accuracies, count in ((result.eval_val_accuracy, 19), (result.eval_test_accuracy, 20)):
        assert all(a * count / 100 == pytest.approx(round(a * count / 100), **CLOSE) for a in accuracies)


def test_digits_are_measured_over_all_359_validation_and_360_test_images(
    make_spec: Maker, reload: Maker, measure: Maker, drawn: list[tuple[list[int], bool]], tmp_path: Path
) -> None:
    spec, dataset = make_spec(hidden=(16,)), datasets.load("digits", tmp_path)
    split = split_of(spec, dataset)
    assert (len(split.val), len(split.test)) == (359, 360)  # neither a multiple of 256
    results = train_pack(spec, pack_of([0.05, 0.2]), dataset, tmp_path, CPU)
    evaluated = [index for indices, augmented in drawn for index in indices if not augmented]
    assert sorted(evaluated) == sorted((split.val.tolist() + split.test.tolist()) * 5)
    for result in results:
        network = reload(spec, dataset, tmp_path, result.state)
        assert result.val_accuracy == pytest.approx(measure(network, dataset, split.val)[0], **CLOSE)
        assert result.test_accuracy == pytest.approx(measure(network, dataset, split.test)[0], **CLOSE)


@pytest.mark.parametrize("score", ["best", "last"])
@pytest.mark.parametrize("split", ["pooled", "fixed_test"])
def test_test_labels_influence_nothing_but_test_accuracies(
    split: str, score: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(split=split, score=score, steps=20), make_images()
    labels = dataset.labels.clone()
    test = split_of(spec, dataset).test
    labels[test] = (labels[test] + 1) % dataset.classes
    relabelled = dataclasses.replace(dataset, labels=labels)
    parents: list[str | None] = [None, None]
    initial = None
    for cycle in (0, 1):
        pack = pack_of([0.02, 0.3], parents, cycle, rewind_to=initial)
        plain = train_pack(spec, pack, dataset, tmp_path, CPU)
        other = train_pack(spec, pack, relabelled, tmp_path, CPU)
        for left, right in zip(plain, other, strict=True):
            without = ("test_accuracy", "eval_test_accuracy")
            assert outcome(left, *without) == outcome(right, *without)
            assert left.eval_test_accuracy != right.eval_test_accuracy
        parents, initial = [result.state for result in plain], plain[0].rewind_state


# Augmentation.


@MODELS
def test_evaluation_images_are_never_augmented(
    model: str,
    make_spec: Maker,
    make_images: Maker,
    reload: Maker,
    measure: Maker,
    drawn: list[tuple[list[int], bool]],
    tmp_path: Path,
) -> None:
    spec, dataset = make_spec(model=model, score="last"), make_images(augment=True)
    split = split_of(spec, dataset)
    for result in train_pack(spec, pack_of([0.02, 0.1]), dataset, tmp_path, CPU):
        network = reload(spec, dataset, tmp_path, result.state)
        assert (result.val_accuracy, result.val_loss) == pytest.approx(measure(network, dataset, split.val), **CLOSE)
        assert result.test_accuracy == pytest.approx(measure(network, dataset, split.test)[0], **CLOSE)
    held_out = set(split.val.tolist()) | set(split.test.tolist())
    assert {augmented for _, augmented in drawn} == {True, False}
    for indices, augmented in drawn:
        assert set(indices) <= (set(split.train.tolist()) if augmented else held_out)


def test_only_an_augmented_data_set_trains_on_augmented_images(
    make_spec: Maker, make_images: Maker, plain_images: Maker, tmp_path: Path
) -> None:
    spec, train = make_spec(), torch.arange(58)
    for augment in (False, True):
        dataset = make_images(augment=augment)
        [(images, labels)] = list(
            pack_module._batches(make_spec(steps=1, warmup_steps=0, milestones=()), pack_of([0.1]), dataset, train)
        )
        order = torch.randperm(58, generator=torch.Generator().manual_seed(derive_seed(3, 0, "order", 0)))[:16]
        assert torch.equal(labels, dataset.labels[order])
        assert torch.allclose(images, plain_images(dataset, order)) is not augment
    digests = [
        train_pack(spec, pack_of([0.1]), make_images(augment=augment), tmp_path, CPU)[0].state
        for augment in (False, True)
    ]
    assert digests[0] != digests[1]


# Seeds and order.


@pytest.mark.parametrize("eval_every", [3, None])
def test_every_epoch_goes_through_all_training_images_once_in_a_new_order(
    eval_every: int | None, make_spec: Maker, make_images: Maker, drawn: list[tuple[list[int], bool]], tmp_path: Path
) -> None:
    spec, dataset = make_spec(steps=10, eval_every=eval_every), make_images(97)
    train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    batches = training_batches(drawn)
    assert [len(batch) for batch in batches] == [16, 16, 16, 10, 16, 16, 16, 10, 16, 16]
    first, second = list(chain(*batches[:4])), list(chain(*batches[4:8]))
    assert sorted(first) == sorted(second) == sorted(split_of(spec, dataset).train.tolist())
    assert first != second


def test_the_order_of_batches_depends_on_the_seed_and_the_cycle_and_on_nothing_else(
    make_spec: Maker, make_images: Maker, drawn: list[tuple[list[int], bool]], tmp_path: Path
) -> None:
    dataset = make_images(augment=True)

    def order(pack: Pack, **changes: object) -> list[list[int]]:
        train_pack(make_spec(**changes), pack, dataset, tmp_path, CPU)
        return training_batches(drawn)

    reference = order(pack_of([0.1]))
    assert order(pack_of([0.3])) == reference
    assert order(pack_of([0.1, 0.2, 1e200])) == reference
    assert order(pack_of([0.1]), hidden=(5,), weight_decay=0.0, pruning="none", eval_every=3) == reference
    assert order(pack_of([0.1], cycle=1)) != reference
    assert order(pack_of([0.1], seed=4)) != reference


def test_augmentation_depends_on_the_seed_and_the_cycle_and_not_on_the_lanes(
    make_spec: Maker, make_images: Maker
) -> None:
    spec, dataset, train = make_spec(), make_images(augment=True), torch.arange(58)

    def images(pack: Pack) -> Tensor:
        return torch.cat([images for images, _ in pack_module._batches(spec, pack, dataset, train)])

    # One picture many times over: what differs between batches is the augmentation, not the order.
    dataset = dataclasses.replace(dataset, images=dataset.images[:1].repeat(58, 1, 1, 1), labels=dataset.labels[:58])
    reference = images(pack_of([0.1]))
    assert torch.equal(images(pack_of([0.3, 0.2])), reference)
    assert not torch.equal(images(pack_of([0.1], cycle=1)), reference)
    assert not torch.equal(images(pack_of([0.1], seed=4)), reference)


def test_dropout_in_a_pack_does_not_depend_on_the_number_of_lanes_but_on_the_cycle(
    make_spec: Maker, make_images: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_dropout(spec: TrainSpec, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, classes))

    monkeypatch.setitem(models.MODELS, "mlp", with_dropout)
    spec, dataset = make_spec(), make_images()
    [alone] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
    together = train_pack(spec, pack_of([0.3, 0.1, 0.2]), dataset, tmp_path, CPU)
    assert_close_results(together[1], alone)
    assert_close_states(tmp_path, together[1].state, tmp_path, alone.state)
    masks = []
    for cycle in (0, 1):
        original = pack_module._batches
        monkeypatch.setattr(  # the same batches in both cycles: what differs is the dropout
            pack_module,
            "_batches",
            lambda spec, pack, *rest, o=original: o(spec, dataclasses.replace(pack, cycle=0), *rest),
        )
        masks.append(train_pack(spec, pack_of([0.1], cycle=cycle), dataset, tmp_path, CPU)[0].state)
    assert masks[0] == alone.state
    assert masks[0] != masks[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@MODELS
def test_the_same_pack_twice_gives_bit_identical_results(
    model: str, dtype: str, make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(model=model, dtype=dtype), make_images(augment=True)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_pack(spec, pack_of([0.02, 0.2]), dataset, tmp_path / "a", CPU)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers are left alone
    torch.manual_seed(2)
    second = train_pack(spec, pack_of([0.02, 0.2]), dataset, tmp_path / "b", CPU)
    assert [outcome(result) for result in first] == [outcome(result) for result in second]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in (tmp_path / "b").iterdir()}


def test_another_seed_gives_another_split_other_weights_and_other_results(
    make_spec: Maker, make_images: Maker, tmp_path: Path
) -> None:
    spec, dataset = make_spec(), make_images()
    [left] = train_pack(spec, pack_of([0.1], seed=3), dataset, tmp_path, CPU)
    [right] = train_pack(spec, pack_of([0.1], seed=4), dataset, tmp_path, CPU)
    assert left.parent_state != right.parent_state
    assert left.state != right.state
    assert left.eval_val_loss != right.eval_val_loss
    assert set(split_of(spec, dataset, 3).test.tolist()) != set(split_of(spec, dataset, 4).test.tolist())


def test_wall_seconds_of_a_packs_lanes_are_equal_shares(make_spec: Maker, make_images: Maker, tmp_path: Path) -> None:
    results = train_pack(make_spec(), pack_of([0.1, 0.2, 1e200]), make_images(), tmp_path, CPU)
    assert len({result.wall_seconds for result in results}) == 1
    assert results[0].wall_seconds > 0


def test_a_pack_learns(make_spec: Maker, make_images: Maker, tmp_path: Path) -> None:
    spec = make_spec(steps=60, milestones=(50,), hidden=(32,))
    [result] = train_pack(spec, pack_of([0.05]), make_images(200), tmp_path, CPU)
    assert result.val_accuracy > 60  # four classes: chance is 25
    assert result.test_accuracy > 60
    assert result.train_loss < result.eval_val_loss[0]


@pytest.mark.parametrize("criterion", ["global_magnitude", "global_gradient", "random", "random_filter"])
def test_results_do_not_depend_on_what_a_users_code_sets_in_torch(
    criterion: str, make_spec: Maker, make_images: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untidy(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            if untidy:
                torch.set_grad_enabled(False)
                torch.set_default_dtype(torch.float64)
            return logits

    def network(shape: tuple[int, ...], classes: int) -> nn.Module:
        return Untidy(nn.Conv2d(1, 5, 3), nn.Dropout(0.2), nn.Flatten(), nn.Linear(180, classes))

    monkeypatch.setattr(users_own, "function", lambda name, source=None: network)
    spec = make_spec(model="nets:network", hidden=(), pruning=criterion, dtype="float32")
    dataset = make_images(augment=True)
    found = []
    for untidy in (False, True):
        try:
            if untidy:
                torch.set_grad_enabled(False)
                torch.set_default_dtype(torch.float64)
            [first] = train_pack(spec, pack_of([0.1]), dataset, tmp_path, CPU)
            [second] = train_pack(spec, pack_of([0.1], [first.state], cycle=1), dataset, tmp_path, CPU)
            found.append((outcome(first), outcome(second)))
        finally:
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)
    assert found[0] == found[1]
