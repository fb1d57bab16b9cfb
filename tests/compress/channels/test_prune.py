import copy
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.costs import CostModel
from pipeline.compress.channels.groups import Group, find_groups, without
from pipeline.compress.channels.prune import least_cost, measure_sensitivity, prune_channels, prune_to_latency
from pipeline.compress.channels.widths import choose
from pipeline.cost import Cost, count, count_macs, count_params
from pipeline.errors import InputError, StageError
from pipeline.students import find, load_model, save_model
from pipeline.students.layers.images import ImageConfig

_IMAGES = ImageConfig(10, 1, 32, 32, (0.3,), (0.4,))
_STUDENTS = {
    "mobilenet_v3": {"width_mult": 0.5, "stem_stride": 1},
    "shufflenet_v2": {"width_mult": 0.5, "stem_pool": False},
}
_NAMES = sorted(_STUDENTS)


def _student(name: str) -> nn.Module:
    """A student with statistics in its batch norms, so that no channel is like another."""
    torch.manual_seed(0)
    student = find(name)
    model = student.model(student.config.create(_IMAGES, **_STUDENTS[name]))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return model.eval()


@pytest.fixture
def example() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"image": torch.randint(0, 256, (1, 1, 32, 32), generator=generator).float()}


def _groups(model: nn.Module, example: dict[str, Tensor]) -> list[Group]:
    return find_groups(model, example, model.fixed_layers())  # type: ignore[operator]


def _macs(model: nn.Module, ratio: float) -> Ceilings:
    """A ceiling of multiply-accumulates alone: `ratio` of the model's."""
    return Ceilings(max_macs=int(count_macs(model, {"image": torch.zeros(1, 1, 32, 32)}) * ratio))


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("ratio", [0.75, 0.5, 0.35])
def test_macs_and_parameters_fall_to_the_ceiling(name: str, ratio: float, example: dict[str, Tensor]) -> None:
    model = _student(name)
    pruned, report = prune_channels(model, example, _macs(model, ratio))
    assert (report.before, report.after) == (count(model, example), count(pruned, example))
    assert 0.97 * ratio < report.after.macs / report.before.macs <= ratio
    assert report.after.params < report.before.params


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(("params", "macs"), [(0.45, 0.9), (0.9, 0.5), (0.45, 0.5), (0.6, 0.6)])
def test_both_ceilings_hold_whatever_counts_as_important(
    name: str, params: float, macs: float, example: dict[str, Tensor]
) -> None:
    model = _student(name)
    before = count(model, example)
    ceilings = Ceilings(int(before.params * params), int(before.macs * macs))
    groups = _groups(model, example)
    costs = CostModel.of(model, example, groups)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        rises = torch.rand(len(groups), generator=generator).pow(6).tolist()
        sensitivities = {group.name: rise for group, rise in zip(groups, rises, strict=True)}
        kept = choose(groups, costs, ceilings, sensitivities, round_to=8, max_pruned=0.75)
        assert ceilings.met_by(costs.at({group: len(channels) for group, channels in kept.items()}))
    assert ceilings.met_by(count(prune_channels(model, example, ceilings)[0], example))


def test_a_ceiling_of_parameters_takes_from_layers_that_hold_many_and_one_of_macs_from_those_that_run_often(
    example: dict[str, Tensor],
) -> None:
    model = _student("mobilenet_v3")
    before = count(model, example)
    small = prune_channels(model, example, Ceilings(max_params=before.params // 2))[1].after
    fast = prune_channels(model, example, Ceilings(max_macs=before.macs // 2))[1].after
    assert small.params < fast.params
    assert fast.macs < small.macs


@pytest.mark.parametrize("name", _NAMES)
def test_a_pruned_student_comes_back_from_its_files(name: str, example: dict[str, Tensor], tmp_path: Path) -> None:
    student = _student(name)
    pruned, _ = prune_channels(student, example, _macs(student, 0.5))
    save_model(pruned, tmp_path)
    state = torch.random.get_rng_state()
    loaded = load_model(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert loaded.config == pruned.config
    assert count_params(loaded) == count_params(pruned)
    with torch.inference_mode():
        assert torch.equal(loaded(**example), pruned(**example))


@pytest.mark.parametrize("name", _NAMES)
def test_pruning_nothing_computes_the_same(name: str, example: dict[str, Tensor]) -> None:
    model = _student(name)
    copied, report = prune_channels(model, example, Ceilings(*count(model, example)))
    assert copied is not model
    assert copied.config == model.config
    assert report.after == report.before
    with torch.inference_mode():
        assert torch.equal(copied(**example), model(**example))


@pytest.mark.parametrize("name", _NAMES)
def test_cutting_channels_is_reading_them_no_more_and_the_original_stays(name: str, example: dict[str, Tensor]) -> None:
    model = _student(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    pruned, _ = prune_channels(model, example, _macs(model, 0.5))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    groups = _groups(model, example)
    costs = CostModel.of(model, example, groups)
    kept = choose(groups, costs, _macs(model, 0.5), None, round_to=8, max_pruned=0.75)
    with ExitStack() as stack, torch.inference_mode():
        for group in groups:
            stay = torch.ones(group.width, dtype=torch.bool)
            stay[kept[group.name]] = False
            stack.enter_context(without(group, torch.nonzero(stay).flatten()))
        torch.testing.assert_close(pruned(**example), model(**example), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", _NAMES)
def test_the_model_of_costs_counts_what_pytorch_counts(name: str, example: dict[str, Tensor]) -> None:
    model = _student(name)
    groups = _groups(model, example)
    costs = CostModel.of(model, example, groups)
    assert costs.at({group.name: group.width for group in groups}) == count(model, example)
    pruned, report = prune_channels(model, example, _macs(model, 0.5))
    widths = {group.layers[0]: group.channels_after for group in report.groups}
    assert costs.at(widths) == count(pruned, example)


@pytest.mark.parametrize("name", _NAMES)
def test_the_model_of_costs_holds_for_one_group_alone(name: str, example: dict[str, Tensor]) -> None:
    whole = _student(name)
    widths = {group.name: group.width for group in _groups(whole, example)}
    for cut, width in list(widths.items())[::3]:
        model = copy.deepcopy(whole)
        groups = _groups(model, example)
        costs = CostModel.of(model, example, groups)
        next(group for group in groups if group.name == cut).cut(torch.arange(width - 8 if width > 8 else width))
        model.config = model.config_of_layers()  # type: ignore[operator]
        assert costs.at({**widths, cut: width - 8 if width > 8 else width}) == count(model, example)


def test_what_a_residual_adds_to_is_one_group_and_squeeze_and_excitation_goes_along(example: dict[str, Tensor]) -> None:
    groups = {group.name: set(group.layers) for group in _groups(_student("mobilenet_v3"), example)}
    assert groups["features.2.block.2.0"] == {"features.2.block.2.0", "features.3.block.2.0"}
    expanded = {"features.4.block.0.0", "features.4.block.1.0", "features.4.block.2.fc2"}
    assert groups["features.4.block.0.0"] == expanded
    assert not any("classifier.3" in layers for layers in groups.values())


def test_the_shuffled_channels_stay_and_every_branch_is_pruned_inside(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    assert len(_groups(model, example)) == 16 + 2  # each unit's inside, the stem, and the last convolution
    pruned, _ = prune_channels(model, example, _macs(model, 0.35))
    assert [stage.out for stage in pruned.config.stages] == [48, 96, 192]  # type: ignore[union-attr]
    assert all(max(stage.inner) < stage.out // 2 for stage in pruned.config.stages[:2])  # type: ignore[union-attr]


@pytest.mark.parametrize("round_to", [4, 8])
def test_widths_that_change_are_multiples_and_no_group_loses_more_than_allowed(
    round_to: int, example: dict[str, Tensor]
) -> None:
    model = _student("mobilenet_v3")
    _, report = prune_channels(model, example, _macs(model, 0.5), round_to=round_to, max_pruned=0.6)
    changed = [group for group in report.groups if group.channels_after != group.channels_before]
    assert changed
    assert all(group.channels_after % round_to == 0 for group in changed)
    assert all(group.channels_after >= 0.4 * group.channels_before for group in changed)


def test_the_least_important_channels_of_a_group_go(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    weak = torch.arange(0, 24, 3)
    unit = model.stage2[1].branch2  # type: ignore[index, union-attr]
    with torch.no_grad():
        for at, dimension in ((0, 0), (3, 0), (5, 1)):
            unit[at].weight.index_fill_(dimension, weak, 1e-4)
        for at in (1, 4):
            unit[at].weight[weak] = 1e-4
    group = next(group for group in _groups(model, example) if group.name == "stage2.1.branch2.0")
    assert sorted(group.importance.argsort()[: len(weak)].tolist()) == weak.tolist()
    assert group.importance.mean() == pytest.approx(1.0)


def _deviation(model: nn.Module, example: dict[str, Tensor]) -> "_Deviation":
    with torch.inference_mode():
        return _Deviation(model(**example), example)


class _Deviation:
    """Mean squared distance to the whole model's logits; counts its calls."""

    def __init__(self, wanted: Tensor, example: dict[str, Tensor]) -> None:
        self.wanted, self.example, self.calls = wanted, example, 0

    def __call__(self, model: nn.Module) -> float:
        self.calls += 1
        with torch.inference_mode():
            return float((model(**self.example) - self.wanted).square().mean())


def test_sensitivity_is_measured_for_each_group_alone_and_changes_no_weight(example: dict[str, Tensor]) -> None:
    model = _student("mobilenet_v3")
    before = copy.deepcopy(model.state_dict())
    loss = _deviation(model, example)
    groups = _groups(model, example)
    risen = measure_sensitivity(model, groups, loss, 0.5)
    assert list(risen) == [group.name for group in groups]
    assert loss.calls == len(groups) + 1
    assert all(value > 0 for value in risen.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_group_that_nobody_needs_is_pruned_before_those_that_count(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    groups = _groups(model, example)
    alike = [f"stage3.{unit}.branch2.0" for unit in range(1, 8)]
    sensitivities = {group.name: 0.0 if group.name == alike[3] else 1.0 for group in groups}
    costs = CostModel.of(model, example, groups)
    kept = choose(groups, costs, _macs(model, 0.9), sensitivities, round_to=8, max_pruned=0.75)
    assert len(kept[alike[3]]) == 16
    assert all(len(kept[name]) > 16 for name in alike if name != alike[3])


def test_the_report_holds_what_was_measured(example: dict[str, Tensor]) -> None:
    model = _student("mobilenet_v3")
    groups = _groups(model, example)
    _, report = prune_channels(
        model, example, _macs(model, 0.6), evaluate=_deviation(model, example), sensitivity_ratio=0.25
    )
    assert report.sensitivity_ratio == 0.25
    risen = measure_sensitivity(model, groups, _deviation(model, example), 0.25)
    assert {group.layers[0]: group.sensitivity for group in report.groups} == risen
    unmeasured = prune_channels(model, example, _macs(model, 0.6))[1]
    assert {group.sensitivity for group in unmeasured.groups} == {None}


def test_ceilings_out_of_reach_say_how_far_pruning_goes(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    least = least_cost(model, example)
    message = (
        rf"prune\.max_params 50,000 cannot be reached: pruned as far as it goes, the student still has {least} "
        rf"\(now {count(model, example)}\), because a group .* 75% .* of 8\. "
        rf"Raise prune\.max_params to {least.params:,} or more, or distil"
    )
    with pytest.raises(InputError, match=message):
        prune_channels(model, example, Ceilings(50_000, 10**9))
    with pytest.raises(InputError, match=r"^prune\.max_params 1 and prune\.max_macs 2 cannot be reached"):
        prune_channels(model, example, Ceilings(1, 2))


def test_a_model_that_brings_no_widths_is_refused() -> None:
    with pytest.raises(StageError, match="Linear cannot be pruned: it lacks fixed_layers"):
        prune_channels(nn.Linear(2, 2), {"input": torch.zeros(1, 2)}, Ceilings())


def test_a_loss_that_is_no_number_names_its_group(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    losses = iter([1.0, float("nan")] + [1.0] * 100)
    with pytest.raises(StageError, match=r"the loss without channels of conv1\.0 is no number \(whole: 1\)"):
        prune_channels(model, example, _macs(model, 0.5), evaluate=lambda _: next(losses))


def _milliseconds(model: nn.Module, example: dict[str, Tensor]) -> Callable[[nn.Module], float]:
    return lambda candidate: 0.2 + count_macs(candidate, example) / count_macs(model, example)


def test_pruning_to_a_latency_takes_the_largest_model_that_is_fast_enough(example: dict[str, Tensor]) -> None:
    model = _student("mobilenet_v3")
    milliseconds = _milliseconds(model, example)
    pruned, report = prune_to_latency(model, example, 0.7, Ceilings(), latency_ms=milliseconds, round_to=8)
    assert milliseconds(pruned) <= 0.7 * milliseconds(model)
    # 0.7 of 1.2 ms leaves 0.64 of the MACs; five halvings of 0.2 to 1 come within a fortieth.
    assert 0.60 < report.after.macs / report.before.macs <= 0.64


def test_pruning_to_a_latency_ends_below_the_ceilings_too(example: dict[str, Tensor]) -> None:
    model = _student("mobilenet_v3")
    before = count(model, example)
    milliseconds = _milliseconds(model, example)
    for ceilings in (Ceilings(max_params=before.params // 3), _macs(model, 0.4)):
        pruned, _ = prune_to_latency(model, example, 0.7, ceilings, latency_ms=milliseconds)
        assert ceilings.met_by(count(pruned, example))
        assert milliseconds(pruned) <= 0.7 * milliseconds(model)
    fast_enough = prune_to_latency(model, example, 0.7, _macs(model, 0.4), latency_ms=milliseconds)[1].after
    assert fast_enough == prune_channels(model, example, _macs(model, 0.4))[1].after


def test_a_latency_out_of_reach_is_named(example: dict[str, Tensor]) -> None:
    message = r"pruned to 21% of its MACs, .* still takes 100% of its time, not 70%: raise prune\.latency_ratio"
    with pytest.raises(InputError, match=message):
        prune_to_latency(_student("mobilenet_v3"), example, 0.7, Ceilings(), latency_ms=lambda _: 3.0)


def test_the_least_cost_is_reached_and_nothing_below_it(example: dict[str, Tensor]) -> None:
    model = _student("shufflenet_v2")
    least = least_cost(model, example, max_pruned=0.5)
    _, report = prune_channels(model, example, Ceilings(*least), max_pruned=0.5)
    assert report.after == least
    for below in (Cost(least.params - 1, least.macs), Cost(least.params, least.macs - 1)):
        with pytest.raises(InputError, match="cannot be reached"):
            prune_channels(model, example, Ceilings(*below), max_pruned=0.5)
