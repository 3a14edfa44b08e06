"""Pruning removes exactly floor(rate x n) of the prunable weights, the lowest first, and only ever removes."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.networks import models
from trainables.pruning import (
    CRITERIA,
    EmptyLayerError,
    Evidence,
    batch_norms,
    coupled_masks,
    percent_remaining,
    prunable,
    prune,
    remove_lowest,
)

MAGNITUDES = ["global_magnitude", "layer_magnitude"]
Maker = Callable[..., object]


def full(**layers: list[float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weights = {f"{name}.weight": torch.tensor(values, dtype=torch.float64) for name, values in layers.items()}
    return weights, {name: torch.ones(len(weight), dtype=torch.bool) for name, weight in weights.items()}


def seen(
    weights: dict[str, Tensor],
    gradients: dict[str, Tensor] | None = None,
    norms: dict[str, str] | None = None,
    seed: int = 0,
) -> Evidence:
    return Evidence(weights, gradients or {}, norms or {}, torch.Generator().manual_seed(seed))


def survivors(masks: dict[str, Tensor]) -> list[list[int]]:
    return [mask.flatten().nonzero().flatten().tolist() for mask in masks.values()]


def slow_prune(
    criterion: str, weights: dict[str, Tensor], masks: dict[str, Tensor], removed: int
) -> set[tuple[str, int]]:
    """The surviving (layer, position) after sorting one list of (|weight|, order, position), in plain Python."""
    alive = [
        (abs(float(weight)), order, name, position)
        for order, name in enumerate(masks)
        for position, weight in enumerate(weights[name].flatten())
        if masks[name].flatten()[position]
    ]
    return {(name, position) for _, _, name, position in sorted(alive, key=lambda a: (a[0], a[1], a[3]))[removed:]}


def test_global_magnitude_on_paper() -> None:
    weights, masks = full(a=[0.9, -0.1, 0.5, 3.0], b=[-0.2, 0.05, 2.0, -0.6, 0.3, 1.0])
    masks = prune("global_magnitude", seen(weights), masks, 0.3)  # 3 of 10: 0.05, -0.1, -0.2
    assert survivors(masks) == [[0, 2, 3], [2, 3, 4, 5]]
    masks = prune("global_magnitude", seen(weights), masks, 0.3)  # floor(0.3 x 7) = 2: 0.3, 0.5
    assert survivors(masks) == [[0, 3], [2, 3, 5]]
    masks = prune("global_magnitude", seen(weights), masks, 0.3)  # floor(0.3 x 5) = 1: -0.6
    assert survivors(masks) == [[0, 3], [2, 5]]


def test_layer_magnitude_on_paper() -> None:
    weights, masks = full(a=[0.9, -0.1, 0.5, 3.0], b=[-0.2, 0.05, 2.0, -0.6, 0.3, 1.0])
    masks = prune("layer_magnitude", seen(weights), masks, 0.34)  # floor(1.36) = 1 and floor(2.04) = 2
    assert survivors(masks) == [[0, 2, 3], [2, 3, 4, 5]]
    masks = prune("layer_magnitude", seen(weights), masks, 0.34)  # floor(1.02) = 1 and floor(1.36) = 1
    assert survivors(masks) == [[0, 3], [2, 3, 5]]


@pytest.mark.parametrize("criterion", MAGNITUDES)
def test_a_pruned_weight_is_not_counted_and_not_removed_again(criterion: str) -> None:
    weights, masks = full(a=[0.0, 0.0, 5.0, 4.0, 3.0, 2.0, 1.0, 6.0])
    masks["a.weight"][:2] = False
    assert survivors(prune(criterion, seen(weights), masks, 0.34)) == [[2, 3, 4, 7]]  # floor(0.34 x 6) = 2: 1.0, 2.0


@pytest.mark.parametrize("criterion", MAGNITUDES)
def test_ties_are_removed_in_the_networks_order(criterion: str) -> None:
    weights, masks = full(a=[1.0, -1.0, 1.0, 1.0, 0.5, -1.0])
    assert survivors(prune(criterion, seen(weights), masks, 0.5)) == [[2, 3, 5]]


def test_ties_between_layers_take_the_earlier_layer_first() -> None:
    weights, masks = full(a=[2.0, 1.0, 1.0], b=[1.0, 1.0, 2.0])
    assert survivors(prune("global_magnitude", seen(weights), masks, 0.5)) == [[0], [1, 2]]


@pytest.mark.parametrize("rate", ["0.2", "0.29", "0.35", "0.5", "0.57", "0.7", "0.82", "0.1"])
def test_the_count_is_floor_of_rate_times_n_for_the_rate_as_it_is_written(rate: str) -> None:
    for n in range(1, 401):
        weights, masks = full(a=list(range(n)))
        kept = int(prune("layer_magnitude", seen(weights), masks, float(rate))["a.weight"].sum())
        assert n - kept == Fraction(rate) * n // 1, n


@pytest.mark.parametrize("criterion", MAGNITUDES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_prune_agrees_with_a_sorted_list_and_masks_only_shrink(criterion: str, data: st.DataObject) -> None:
    few = st.integers(-3, 3).map(lambda i: i / 2)  # few values, so ties are many
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    percent = data.draw(st.integers(1, 99))
    weights, masks = full(
        **{f"l{i}": data.draw(st.lists(few, min_size=size, max_size=size)) for i, size in enumerate(sizes)}
    )
    for _ in range(3):
        before = {name: mask.clone() for name, mask in masks.items()}
        groups = [list(masks)] if criterion == "global_magnitude" else [[name] for name in masks]
        expected = set()
        for group in groups:
            part = {name: masks[name] for name in group}
            alive = sum(int(mask.sum()) for mask in part.values())
            expected |= slow_prune(criterion, weights, part, percent * alive // 100)
        if {name for name, _ in expected} != set(masks):
            with pytest.raises(EmptyLayerError):
                prune(criterion, seen(weights), masks, percent / 100)
            return
        after = prune(criterion, seen(weights), masks, percent / 100)
        assert {(n, i) for n, mask in after.items() for i in mask.nonzero().flatten().tolist()} == expected
        assert list(after) == list(masks)
        for name in masks:
            assert torch.equal(masks[name], before[name])  # the masks given are not changed
            assert not (after[name] & ~masks[name]).any()
            assert after[name].dtype == torch.bool
        masks = after
        # The next cycle trains: other weights, pruned ones at zero.
        for name, mask in masks.items():
            size = len(mask)
            weights[name] = mask * torch.tensor(data.draw(st.lists(few, min_size=size, max_size=size))).double()


@pytest.mark.parametrize("criterion", MAGNITUDES)
def test_resnet20_loses_the_exact_count_in_each_of_five_cycles(criterion: str, make_spec: Maker) -> None:
    spec = make_spec(model="resnet20", dtype="float32")
    network = models.build(spec, (3, 32, 32), 10, seed=0)
    weights = dict(network.named_parameters())
    masks = {name: torch.ones_like(weights[name]).bool() for name in prunable(network, keep_output=False)}
    left = {name: mask.numel() for name, mask in masks.items()}
    total = sum(left.values())
    for _ in range(5):
        masks = prune(criterion, seen(weights), masks, 0.2)
        left = {name: count - count // 5 for name, count in left.items()}
        total -= total // 5
        assert all(masks[name].shape == weights[name].shape for name in masks)
        if criterion == "layer_magnitude":
            assert {name: int(mask.sum()) for name, mask in masks.items()} == left
        else:
            assert sum(int(mask.sum()) for mask in masks.values()) == total
            kept = torch.cat([weights[name][masks[name]].abs() for name in masks])
            gone = torch.cat([weights[name][~masks[name]].abs() for name in masks])
            assert gone.max() <= kept.min()


def test_two_rounds_leave_the_square_of_what_one_round_leaves() -> None:
    weights, masks = full(a=[float(i) for i in range(400)], b=[float(i) for i in range(600)])
    masks = prune("global_magnitude", seen(weights), masks, 0.2)
    assert percent_remaining(masks) == 80.0
    masks = prune("global_magnitude", seen(weights), masks, 0.2)
    assert percent_remaining(masks) == 64.0


def test_percent_remaining_weighs_layers_by_their_size() -> None:
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([[True, True, True], [False, False, True]])}
    assert percent_remaining(masks) == 62.5


def test_none_removes_nothing() -> None:
    weights, masks = full(a=[0.0, 1.0], b=[2.0])
    masks["a.weight"][0] = False
    assert survivors(prune("none", seen(weights), masks, 0.9)) == [[1], [0]]


def test_a_layer_that_loses_everything_is_named() -> None:
    weights, masks = full(large=[5.0, 6.0, 7.0], small=[0.1, 0.2])
    masks = prune("global_magnitude", seen(weights), masks, 0.3)  # floor(1.5) = 1
    with pytest.raises(EmptyLayerError, match=r"^layer small has lost all its weights$"):
        prune("global_magnitude", seen(weights), masks, 0.3)  # floor(1.2) = 1


def test_a_last_weight_survives_layer_magnitude() -> None:
    weights, masks = full(a=[1.0], b=[1.0, 2.0])
    for _ in range(5):
        masks = prune("layer_magnitude", seen(weights), masks, 0.9)
    assert survivors(masks) == [[0], [1]]


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown pruning criterion 'magnitude'"):
        prune("magnitude", seen(full(a=[1.0])[0]), full(a=[1.0])[1], 0.2)
    with pytest.raises(ValueError, match="unknown pruning criterion 'magnitude'"):
        prunable(nn.Linear(1, 1), False, "magnitude")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=1, max_size=40), st.data())
def test_remove_lowest_removes_exactly_the_count_asked_for(
    entries: list[tuple[float, bool]], data: st.DataObject
) -> None:
    scores = torch.tensor([score for score, _ in entries])
    alive = torch.tensor([lives for _, lives in entries])
    count = data.draw(st.integers(0, int(alive.sum())))
    order = sorted((i for i, (_, lives) in enumerate(entries) if lives), key=lambda i: (entries[i][0], i))
    assert remove_lowest(scores, alive, count).nonzero().flatten().tolist() == sorted(order[count:])


def test_only_weights_of_convolutions_and_linear_layers_are_prunable(make_spec: Maker) -> None:
    network = models.build(make_spec(model="resnet20"), (3, 32, 32), 10, seed=0)
    names = prunable(network, keep_output=False)
    parameters = dict(network.named_parameters())
    others = set(parameters) - set(names)
    assert all(parameters[name].dim() in (2, 4) for name in names)
    assert all(parameters[name].dim() == 1 for name in others)
    assert {name.split(".")[-2] for name in others} == {"bn", "bn1", "bn2", "1", "fc"}  # "1": the shortcut's batch norm
    assert "fc.bias" in others
    assert len(names) == 1 + 9 * 2 + 2 + 1
    assert names == [name for name in parameters if name in names]  # the network's order


def test_keep_output_leaves_out_the_last_linear_layer_alone(make_spec: Maker) -> None:
    network = models.build(make_spec(hidden=(5, 6)), (1, 8, 8), 10, seed=0)
    assert prunable(network, keep_output=False) == ["1.weight", "3.weight", "5.weight"]
    assert prunable(network, keep_output=True) == ["1.weight", "3.weight"]
    resnet20 = models.build(make_spec(model="resnet20"), (3, 32, 32), 10, seed=0)
    assert set(prunable(resnet20, keep_output=False)) - set(prunable(resnet20, keep_output=True)) == {"fc.weight"}


@pytest.mark.parametrize(
    ("network", "keep_output"),
    [(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), True), (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), False)],
)
def test_a_network_with_nothing_to_prune_is_refused(network: nn.Module, keep_output: bool) -> None:
    with pytest.raises(ValueError, match="no prunable weights"):
        prunable(network, keep_output)


def test_the_last_linear_layer_may_be_a_convolutions_neighbour() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    assert prunable(network, keep_output=True) == ["0.weight"]


def small_convnet() -> nn.Module:
    """Two convolutions with batch norm, one with a bias; 3 and 4 filters; then a linear layer."""
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return network


def whole(network: nn.Module, criterion: str, seed: int = 0) -> tuple[Evidence, dict[str, Tensor]]:
    """All that a criterion may see of a network, with made gradients, and masks that keep everything."""
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    generator = torch.Generator().manual_seed(9)
    gradients = {name: torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}
    masks = {name: torch.ones_like(weights[name]).bool() for name in prunable(network, False, criterion)}
    return seen(weights, gradients, batch_norms(network), seed), masks


@pytest.mark.parametrize("criterion", CRITERIA)
class TestEveryCriterion:
    """What any criterion must do, on a network with everything that one may look at."""

    def test_exactly_the_floor_of_rate_times_n_goes_in_every_cycle(self, criterion: str) -> None:
        _, masks = whole(small_convnet(), criterion)
        found = CRITERIA[criterion]
        for cycle in range(3):
            evidence, _ = whole(small_convnet(), criterion, seed=cycle)
            after = prune(criterion, evidence, masks, 0.35)
            units = {n: m.flatten(1).any(1) if found.filters else m.flatten() for n, m in masks.items()}
            left = {n: m.flatten(1).any(1) if found.filters else m.flatten() for n, m in after.items()}
            groups = [[name] for name in masks] if found.by_layer else [list(masks)]
            for group in groups:
                n = sum(int(units[name].sum()) for name in group)
                assert n - sum(int(left[name].sum()) for name in group) == 35 * n // 100
            masks = after

    def test_masks_only_shrink_and_those_given_stay_as_they_are(self, criterion: str) -> None:
        evidence, masks = whole(small_convnet(), criterion)
        once = prune(criterion, evidence, masks, 0.35)
        assert all(mask.all() for mask in masks.values())
        kept = {name: mask.clone() for name, mask in once.items()}
        twice = prune(criterion, evidence, once, 0.35)
        assert list(twice) == list(masks)
        for name, mask in twice.items():
            assert torch.equal(once[name], kept[name]) and not (mask & ~once[name]).any()
            assert mask.dtype == torch.bool and mask.shape == evidence.weights[name].shape

    def test_only_weights_of_convolutions_and_linear_layers_are_counted(self, criterion: str) -> None:
        _, masks = whole(small_convnet(), criterion)
        filters = CRITERIA[criterion].filters
        assert list(masks) == (["0.weight", "3.weight"] if filters else ["0.weight", "3.weight", "7.weight"])

    def test_the_lowest_scores_go_and_nothing_lower_stays(self, criterion: str) -> None:
        evidence, masks = whole(small_convnet(), criterion)
        found = CRITERIA[criterion]
        if "random" in criterion:
            return
        after = prune(criterion, evidence, masks, 0.35)
        scores = {name: found.score(name, evidence) for name in masks}
        left = {n: m.flatten(1).any(1) if found.filters else m for n, m in after.items()}
        for group in [[name] for name in masks] if found.by_layer else [list(masks)]:
            gone = torch.cat([scores[name][~left[name]] for name in group])
            stay = torch.cat([scores[name][left[name]] for name in group])
            assert gone.max() <= stay.min()

    def test_the_same_evidence_gives_the_same_masks(self, criterion: str) -> None:
        one, other = (prune(criterion, *whole(small_convnet(), criterion), 0.35) for _ in range(2))
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_layer_that_would_lose_everything_ends_the_chain(self, criterion: str) -> None:
        evidence, masks = whole(small_convnet(), criterion)
        for mask in masks.values():
            mask.zero_()
        with pytest.raises(EmptyLayerError, match="layer 0 has lost all its weights"):
            prune(criterion, evidence, masks, 0.35)

    def test_a_removed_filter_takes_its_bias_and_its_batch_norm_along_and_single_weights_take_nothing(
        self, criterion: str
    ) -> None:
        network = small_convnet()
        after = prune(criterion, *whole(network, criterion), 0.35)
        beside = coupled_masks(criterion, network, after)
        if not CRITERIA[criterion].filters:
            assert beside == {}
            return
        assert list(beside) == ["1.weight", "1.bias", "3.bias", "4.weight", "4.bias"]
        first, second = (after[name].flatten(1).any(1) for name in ("0.weight", "3.weight"))
        assert int(first.sum()) == 2 and int(second.sum()) == 3
        for name, expected in zip(beside, [first, first, second, second, second], strict=True):
            assert torch.equal(beside[name], expected)
        # A filter goes as a whole.
        assert all(set(mask.flatten(1).float().mean(1).tolist()) <= {0.0, 1.0} for mask in after.values())


class TestScores:
    def test_saliency_on_paper(self) -> None:
        weights, masks = full(a=[4.0, -1.0, 2.0], b=[0.5, -3.0, 1.0])
        gradients = {"a.weight": torch.tensor([0.1, 1.0, -1.0]), "b.weight": torch.tensor([10.0, 0.2, 0.3])}
        # |w g|: 0.4, 1, 2 and 5, 0.6, 0.3
        evidence = seen(weights, {name: gradient.double() for name, gradient in gradients.items()})
        assert survivors(prune("global_gradient", evidence, masks, 0.5)) == [[1, 2], [0]]
        assert survivors(prune("layer_gradient", evidence, masks, 0.34)) == [[1, 2], [0, 1]]

    def test_l1_norm_of_filters_on_paper(self) -> None:
        weight = torch.tensor([[1.0, -4.0], [2.0, 2.0], [-9.0, 0.0]]).view(3, 2, 1, 1)  # 5, 4, 9
        masks = {"c.weight": torch.ones_like(weight).bool()}
        masks = prune("l1_filter", seen({"c.weight": weight}), masks, 0.34)
        assert masks["c.weight"].flatten(1).tolist() == [[True, True], [False, False], [True, True]]

    def test_taylor_importance_is_the_squared_gradient_at_a_gate_after_batch_norm(self) -> None:
        network = small_convnet().double().eval()
        images = torch.randn(6, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        labels = torch.arange(6) % 5
        gates = [torch.ones(1, channels, 1, 1, dtype=torch.float64, requires_grad=True) for channels in (3, 4)]
        x = images
        for index, layer in enumerate(network):
            x = layer(x)
            if index in (1, 4):
                x = x * gates[index // 3]
        at_gates = torch.autograd.grad(nn.functional.cross_entropy(x, labels), gates)
        loss = nn.functional.cross_entropy(network(images), labels)
        names = dict(network.named_parameters())
        gradients = dict(zip(names, torch.autograd.grad(loss, list(names.values())), strict=True))
        weights = {name: parameter.detach() for name, parameter in names.items()}
        evidence = seen(weights, gradients, batch_norms(network))
        for name, gate in zip(("0.weight", "3.weight"), at_gates, strict=True):
            torch.testing.assert_close(CRITERIA["taylor_bn"].score(name, evidence), gate.flatten().square())

    @pytest.mark.parametrize("criterion", ["random", "random_filter"])
    def test_chance_is_even_and_follows_the_seed(self, criterion: str) -> None:
        network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1))
        counts = torch.zeros(8)
        for seed in range(200):
            masks = prune(criterion, *whole(network, criterion, seed), 0.5)
            counts += masks["0.weight"].flatten(1).any(1)
        assert counts.min() > 60 and counts.max() < 140  # of 200 at one half, 5.6 standard deviations

    def test_batch_norms_are_found_in_resnet20_and_torchvision(self, make_spec: Maker) -> None:
        network = models.build(make_spec(model="resnet20"), (3, 32, 32), 10, seed=0)
        norms = batch_norms(network)
        assert set(norms) == {n for n in prunable(network, False) if n != "fc.weight"}
        assert norms["conv.weight"] == "bn" and norms["blocks.3.shortcut.0.weight"] == "blocks.3.shortcut.1"
        with torch.device("meta"):
            resnet, vgg = torchvision.models.resnet50(num_classes=5), torchvision.models.vgg16_bn(num_classes=5)
        norms = batch_norms(resnet)
        assert len(norms) == 53 and norms["layer1.0.conv3.weight"] == "layer1.0.bn3"
        assert norms["layer1.0.downsample.0.weight"] == "layer1.0.downsample.1"
        assert len(batch_norms(vgg)) == 13

    def test_a_convolution_s_batch_norm_is_the_first_that_fits_before_the_next_convolution(self) -> None:
        network = nn.Sequential(
            nn.Conv2d(1, 3, 1),
            nn.BatchNorm2d(3),
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 4, 1),
            nn.Conv2d(4, 4, 1),
            nn.BatchNorm2d(4),
        )
        assert batch_norms(network) == {"0.weight": "1", "4.weight": "5"}

    @pytest.mark.parametrize("criterion", [name for name, found in CRITERIA.items() if found.filters])
    def test_filters_need_convolutions(self, criterion: str, make_spec: Maker) -> None:
        network = models.build(make_spec(), (1, 8, 8), 10, seed=0)
        with pytest.raises(ValueError, match=f"pruning {criterion} removes filters of convolutions"):
            prunable(network, False, criterion)

    def test_taylor_needs_batch_norm(self) -> None:
        with pytest.raises(ValueError, match=r"taylor_bn needs a batch norm after every convolution, but 0\.weight"):
            prunable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2)), False, "taylor_bn")


# What is not trained.


def partly_frozen() -> nn.Sequential:
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)),
        *(nn.Flatten(), nn.Linear(80, 6), nn.Linear(6, 3)),
    )
    for name in ("0.weight", "3.bias", "5.weight"):
        network.get_parameter(name).requires_grad_(False)
    return network


def test_weights_that_are_not_trained_are_not_prunable() -> None:
    network = partly_frozen()
    assert prunable(network, keep_output=False) == ["2.weight", "6.weight"]
    assert prunable(network, keep_output=True) == ["2.weight"]  # the output layer is the last, trained or not
    assert prunable(network, keep_output=False, criterion="taylor_bn") == ["2.weight"]
    network[6].requires_grad_(False)
    assert prunable(network, keep_output=True) == ["2.weight"]
    network[2].requires_grad_(False)
    with pytest.raises(ValueError, match="no prunable weights: it trains no convolution or linear layer"):
        prunable(network, keep_output=False)
    with pytest.raises(
        ValueError, match="pruning l1_filter removes filters of convolutions, and the network has none to train"
    ):
        prunable(network, keep_output=False, criterion="l1_filter")


def test_what_is_not_trained_does_not_go_with_a_filter() -> None:
    network = partly_frozen()
    masks = {"2.weight": torch.ones(5, 4, 3, 3, dtype=torch.bool)}
    assert set(coupled_masks("l1_filter", network, masks)) == {"2.bias", "3.weight"}
