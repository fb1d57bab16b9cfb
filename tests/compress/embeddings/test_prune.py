from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.compress.ceilings import Ceilings
from pipeline.compress.embeddings.prune import PrunedEncoder, Vocabulary, Wish, prune_encoder
from pipeline.cost import Cost, count
from pipeline.errors import InputError
from pipeline.students.text_encoder import TextEncoder

_Student = Callable[..., TextEncoder]
_ONES = torch.ones(1, 8, dtype=torch.int32)
_EXAMPLE = {"input_ids": _ONES, "attention_mask": _ONES}
# Rows 0 to 3 always stay; of the others the last are the rarest.
_VOCABULARY = Vocabulary(np.array([0, 0, 0, 0, *range(16, 0, -1)]), np.arange(20) < 4)


def _prune(model: TextEncoder, ceilings: Ceilings, min_count: int = 3, ffn_ratio: float = 0.0) -> PrunedEncoder:
    pruned = prune_encoder(model, _VOCABULARY, Wish(min_count, ffn_ratio), ceilings, _EXAMPLE)
    assert ceilings.met_by(count(pruned.model, _EXAMPLE))
    return pruned


def test_ceilings_that_do_not_bind_leave_the_wish(tiny_student: _Student) -> None:
    model = tiny_student()
    pruned = _prune(model, Ceilings(*count(model, _EXAMPLE)), ffn_ratio=0.25)
    assert pruned.rows.tolist() == list(range(18))
    assert pruned.model.config.ffn_dims == pruned.ffn_dims_wished == (16, 24)
    assert pruned.rows_wished == 18


def test_parameters_above_the_ceiling_take_the_rarest_rows_and_no_neurons(tiny_student: _Student) -> None:
    model = tiny_student()
    wished = count(_prune(model, Ceilings()).model, _EXAMPLE)
    pruned = _prune(model, Ceilings(max_params=wished.params - 13))
    assert pruned.rows.tolist() == list(range(15))  # 13 parameters are three rows of 6
    assert pruned.model.config.ffn_dims == (16, 32)
    assert pruned.rows_wished == 18


def test_macs_above_the_ceiling_take_neurons_of_the_widest_layer_and_no_rows(tiny_student: _Student) -> None:
    model = tiny_student()
    before = count(model, _EXAMPLE)
    step = 8 * 2 * 8 * 8  # neurons, matrices, hidden features, tokens
    for above, ffn_dims in ((1, (16, 24)), (step + 1, (16, 16)), (2 * step + 1, (8, 16)), (4 * step, (8, 8))):
        pruned = _prune(model, Ceilings(max_macs=before.macs - above))
        assert pruned.model.config.ffn_dims == ffn_dims
        assert len(pruned.rows) == 18
    with pytest.raises(InputError, match=r"prune\.max_macs .* 8 neurons of each layer always stay"):
        _prune(model, Ceilings(max_macs=before.macs - 4 * step - 1))


def test_parameters_that_the_fewest_rows_leave_above_the_ceiling_take_neurons_too(tiny_student: _Student) -> None:
    model = tiny_student()
    fewest = count(model, _EXAMPLE).params - 16 * 6
    pruned = _prune(model, Ceilings(max_params=fewest - 60))
    assert pruned.model.config.ffn_dims == (16, 24)
    # 8 neurons hold 136 parameters, 76 more than were needed: 12 rows of 6 come back.
    assert len(pruned.rows) == 16


@pytest.mark.parametrize("seed", range(5))
def test_any_ceilings_within_reach_are_met(seed: int, tiny_student: _Student) -> None:
    model = tiny_student(ffn_dims=(20, 8, 5))
    before = count(model, _EXAMPLE)
    least = before.params - 16 * 6 - 12 * 17, before.macs - 12 * 2 * 8 * 8
    rng = np.random.default_rng(seed)
    for _ in range(20):
        ceilings = Ceilings(*(int(rng.integers(low, high + 1)) for low, high in zip(least, before, strict=True)))
        _prune(model, ceilings, min_count=int(rng.integers(0, 20)), ffn_ratio=float(rng.uniform(0, 0.9)))
    _prune(model, Ceilings(*least))


def test_a_ceiling_out_of_reach_is_named_with_what_always_stays(tiny_student: _Student) -> None:
    model = tiny_student()
    before = count(model, _EXAMPLE)
    least = Cost(before.params - 16 * 6 - 32 * 17, before.macs - 32 * 2 * 8 * 8)
    message = rf"prune\.max_params 100 cannot be .* still has {least} .* because 4 rows of the vocabulary and 8 neurons"
    with pytest.raises(InputError, match=message):
        _prune(model, Ceilings(max_params=100))
