"""Train one pack: lanes of one run, stacked, for one cycle. In: `Pack`. Out: one `LaneResult` per lane, states on disk.

All random numbers follow from the run's seed and the cycle. So all lanes of a run and cycle see the same batches,
augmentation and dropout, whatever pack they are in, and no lane's result depends on its neighbours. Next: a ledger
keeps the results.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import gradients, optimizers, pruning, schedules
from trainables.data import datasets
from trainables.data.datasets import Dataset
from trainables.networks import lanes, models
from trainables.networks.models import DTYPES
from trainables.spec import GRADIENT_CRITERIA, LaneResult, Pack, TrainSpec, derive_seed
from trainables.states import State, StateError, load_state, save_state
from trainables.storage import Location

EVAL_BATCH = 256
"""Images that are evaluated at the same time: so few that activations of 25 small lanes fit into a core's cache."""


Part = Literal["start", "scoring", "steps", "evaluations"]
"""Parts of a pack's time. Its end, when states and results are written, counts as start."""
Lap = Callable[[Part], None]
"""Called when a part of a pack's time ends."""


@dataclass
class _Evaluation:
    """One evaluation of all lanes: tensors with one value per lane, on the CPU. Accuracies are in percent."""

    val_accuracy: Tensor
    test_accuracy: Tensor
    val_loss: Tensor


def train_pack(
    spec: TrainSpec,
    pack: Pack,
    dataset: Dataset,
    states: Location,
    device: torch.device,
    lap: Lap = lambda part: None,
) -> list[LaneResult]:
    """Train the lanes of a pack from their start states; return their results in the pack's order.

    `dataset` lies on `device`. `states` is the folder of states: parents are read there and scored networks written.
    `lap` is called at the end of each part of the time. Raises EmptyLayerError if pruning ends the chain, StateError if
    a parent is missing or damaged.
    """
    started = time.perf_counter()
    split = datasets.split(dataset, spec.split, derive_seed(pack.seed, "split"))
    template = models.build(spec, dataset.shape, dataset.classes, derive_seed(pack.seed, "weights"))
    initial, starts = _starts(spec, pack, template, states, dataset, split.train, lap)

    count = len(pack.lanes)
    stacked = lanes.stack(template, count).to(device)
    for index, start in enumerate(starts):
        lanes.load_lane(stacked, index, start.tensors)
    of_lanes = [start.masks | pruning.coupled_masks(spec.pruning, template, start.masks) for start in starts]
    masks = {name: torch.stack([each[name] for each in of_lanes]).to(device) for name in of_lanes[0]}
    optimizer = optimizers.optimizer(spec, stacked, masks)
    steps = spec.steps_of(pack.cycle)
    own = [spec.schedule_of(pack.cycle, lane.schedule) for lane in pack.lanes]
    rates_of = [schedules.rates(schedule, steps, spec.steps) for schedule in own]
    results = [
        LaneResult(
            max_lr=lane.max_lr,
            parent_state=lane.parent or initial,
            state=None,
            percent_remaining=pruning.percent_remaining(start.masks),
            schedule=schedule.name,
            status="ok",
            steps=steps,
            rewind_state=initial if pack.cycle == 0 and spec.rewind == "init" else None,
        )
        for lane, start, schedule in zip(pack.lanes, starts, own, strict=True)
    ]

    alive = torch.ones(count, dtype=torch.bool)
    scored = {name: tensor.clone() for name, tensor in stacked.state_dict().items()}
    late: dict[str, Tensor] = {}
    loss_since_evaluation = torch.zeros(count, dtype=torch.float64, device=device)
    steps_since_evaluation = 0
    eval_every = spec.evaluated_every(len(split.train))

    with models.seeded(derive_seed(pack.seed, pack.cycle, "dropout"), device):
        stacked.train()
        lap("start")
        for step, (images, labels) in enumerate(_batches(spec, pack, dataset, split.train)):
            losses, slopes = lane_slopes(stacked, images, labels, optimizer.parameters)
            now = [of.at(step, lane.max_lr) for of, lane in zip(rates_of, pack.lanes, strict=True)]
            rates = torch.tensor(now, dtype=losses.dtype) * alive
            optimizer.step(slopes, rates.to(device))
            loss_since_evaluation += losses
            steps_since_evaluation += 1

            done = step + 1
            if pack.cycle == 0 and done == spec.rewind:
                late = {name: tensor.clone() for name, tensor in stacked.state_dict().items()}
            if done % eval_every and done != steps:
                continue
            lap("steps")
            evaluation = _evaluate(stacked, dataset, split, DTYPES[spec.dtype])
            train_loss = (loss_since_evaluation / steps_since_evaluation).cpu()
            finite = train_loss.isfinite() & evaluation.val_loss.isfinite()
            for index in (alive & ~finite).nonzero().flatten().tolist():
                results[index].status, results[index].steps = "diverged", done
                _silence(stacked, optimizer, index)
            alive &= finite
            if not alive.any():
                break
            improved = torch.zeros_like(alive)
            for index in alive.nonzero().flatten().tolist():
                may_score = done == steps if spec.score == "last" else done >= rates_of[index].warmup_steps
                improved[index] = _record(results[index], done, may_score, index, evaluation, train_loss)
            if improved.any():
                for name, tensor in stacked.state_dict().items():
                    scored[name][improved.to(device)] = tensor[improved.to(device)]
            loss_since_evaluation.zero_()
            steps_since_evaluation = 0
            lap("evaluations")

    for index, result in enumerate(results):
        if result.status == "ok":
            network = {name: tensor[index] for name, tensor in scored.items()}
            result.state = save_state(states, State(network, starts[index].masks))
            if late:
                early = {name: tensor[index] for name, tensor in late.items()}
                result.rewind_state = save_state(states, State(early, starts[index].masks))
        else:
            result.rewind_state = None
            result.best_step = result.val_accuracy = result.test_accuracy = result.val_loss = result.train_loss = None
    lap("start")
    seconds = (time.perf_counter() - started) / count
    for result in results:
        result.wall_seconds = seconds
    return results


def lane_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's mean cross-entropy; logits are (lanes, batch, classes), labels (batch,)."""
    count = len(logits)
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(count), reduction="none")
    return losses.view(count, -1).mean(1)


def lane_slopes(
    stacked: nn.Module, images: Tensor, labels: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Return each lane's loss, and the gradients of the parameters: None where no logit depends on a parameter."""
    with torch.enable_grad():
        logits = stacked(images)
    with torch.enable_grad():  # a user's forward may have switched gradients off
        losses = lane_losses(logits, labels)
        return losses.detach(), torch.autograd.grad(losses.sum(), parameters, allow_unused=True)


def _starts(
    spec: TrainSpec,
    pack: Pack,
    template: nn.Module,
    states: Location,
    dataset: Dataset,
    train: Tensor,
    lap: Lap = lambda part: None,
) -> tuple[str, list[State]]:
    """Return the digest of the initial weights ("" after cycle 0) and every lane's start state.

    Cycle 0 draws the initial weights and writes them. Later cycles read them from that file: another version of torch
    might draw other numbers from the same seed.
    """
    names = pruning.prunable(template, spec.keep_output, spec.pruning)
    weights = dict(template.named_parameters())
    initial = State(dict(template.state_dict()), {name: torch.ones_like(weights[name]).bool() for name in names})
    digest = save_state(states, initial) if any(lane.parent is None for lane in pack.lanes) else ""
    starts: dict[tuple[str | None, str | None], State] = {(None, None): initial}
    for parent, rewind_to in {(lane.parent, lane.rewind_to) for lane in pack.lanes} - starts.keys():
        assert parent is not None and (spec.rewind == "none") == (rewind_to is None)
        state = _matching(states, parent, initial)
        # In the network's order, by which equal scores are ordered; a file has its own order of names.
        masks = {name: state.masks[name] for name in names}
        lap("start")
        slopes = _score_gradients(spec, template, state, dataset, train)
        lap("scoring")
        seen = pruning.Evidence(
            weights=state.tensors,
            gradients=slopes,
            norms=pruning.batch_norms(template),
            generator=torch.Generator().manual_seed(derive_seed(pack.seed, pack.cycle, "pruning")),
        )
        masks = pruning.prune(spec.pruning, seen, masks, spec.prune_rate)
        tensors = dict((_matching(states, rewind_to, initial) if rewind_to else state).tensors)
        for name, mask in (masks | pruning.coupled_masks(spec.pruning, template, masks)).items():
            tensors[name] = tensors[name] * mask
        starts[parent, rewind_to] = State(tensors, masks)
    return digest, [starts[lane.parent, lane.rewind_to] for lane in pack.lanes]


def _matching(states: Location, digest: str, initial: State) -> State:
    """Return a state from its file. Raises StateError if it is lost, damaged, or of another network than `initial`."""
    state = load_state(states, digest, initial.tensors)
    if state.masks.keys() != initial.masks.keys():
        raise StateError(f"state {digest} is of another network: its masks have other names")
    return state


def _score_gradients(
    spec: TrainSpec, template: nn.Module, state: State, dataset: Dataset, train: Tensor
) -> dict[str, Tensor]:
    """Return the gradients that the criterion scores a state's weights by; empty if it needs none.

    They are means over the training split, or over its first `score_batches` batches: the split's order is random.
    """
    if spec.pruning not in GRADIENT_CRITERIA:
        return {}
    network = copy.deepcopy(template)
    network.load_state_dict(state.tensors)
    network.to(dataset.images.device)
    images = train[: spec.scored_images(len(train))]
    with models.seeded(0):  # nothing is drawn in eval mode
        return gradients.mean_gradients(network, dataset, images, DTYPES[spec.dtype])


def _batches(spec: TrainSpec, pack: Pack, dataset: Dataset, train: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the cycle's batches. Every epoch has a new order; its last batch has the images that are left."""
    per_epoch = -(-len(train) // spec.batch_size)
    augmentation = torch.Generator().manual_seed(derive_seed(pack.seed, pack.cycle, "augmentation"))
    order = train
    for step in range(spec.steps_of(pack.cycle)):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            shuffle = torch.Generator().manual_seed(derive_seed(pack.seed, pack.cycle, "order", epoch))
            order = train[torch.randperm(len(train), generator=shuffle)]
        indices = order[position * spec.batch_size : (position + 1) * spec.batch_size]
        images = dataset.batch(indices, DTYPES[spec.dtype], augmentation)
        yield images, dataset.labels[indices.to(dataset.labels.device)]


@torch.no_grad()
def _evaluate(stacked: nn.Module, dataset: Dataset, split: datasets.Split, dtype: torch.dtype) -> _Evaluation:
    """Evaluate all lanes on the validation and test images: in eval mode, not augmented, each image once."""
    stacked.eval()
    accuracies, losses = [], []
    for indices in (split.val, split.test):
        correct, loss = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.float64)
        for part in indices.split(EVAL_BATCH):
            labels = dataset.labels[part.to(dataset.labels.device)]
            logits = stacked(dataset.batch(part, dtype))
            correct = correct + (logits.argmax(2) == labels).sum(1).cpu()
            loss = loss + lane_losses(logits, labels).double().cpu() * len(part)
        accuracies.append(100.0 * correct.double() / len(indices))
        losses.append(loss / len(indices))
    stacked.train()
    return _Evaluation(accuracies[0], accuracies[1], losses[0])


def _record(
    result: LaneResult, done: int, may_score: bool, index: int, evaluation: _Evaluation, train_loss: Tensor
) -> bool:
    """Append an evaluation to a lane's result; return whether it is now the scored one.

    The scored evaluation is that of the highest validation accuracy among those that `may_score`; of equals the first.
    """
    val_accuracy = float(evaluation.val_accuracy[index])
    result.eval_steps.append(done)
    result.eval_val_accuracy.append(val_accuracy)
    result.eval_test_accuracy.append(float(evaluation.test_accuracy[index]))
    result.eval_val_loss.append(float(evaluation.val_loss[index]))
    scores = may_score and (result.val_accuracy is None or val_accuracy > result.val_accuracy)
    if scores:
        result.best_step = done
        result.val_accuracy = val_accuracy
        result.test_accuracy = result.eval_test_accuracy[-1]
        result.val_loss = result.eval_val_loss[-1]
        result.train_loss = float(train_loss[index])
    return scores


@torch.no_grad()
def _silence(stacked: nn.Module, optimizer: optimizers.LaneOptimizer, index: int) -> None:
    """Set a diverged lane to zero. Its rate is zero from now on, so it stays zero while the others train on."""
    optimizer.forget(index)
    for tensor in stacked.state_dict().values():
        tensor[index].zero_()
