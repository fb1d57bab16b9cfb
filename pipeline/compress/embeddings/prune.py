"""How far a text encoder is pruned: as far as params.yaml wishes, and further where the ceilings demand it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline import cost
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.embeddings.neurons import WIDTH_STEP, cut_encoder, width_without
from pipeline.compress.embeddings.vocabulary import rows_to_keep
from pipeline.cost import Cost
from pipeline.students.text_encoder import TextEncoder


@dataclass(frozen=True)
class Wish:
    """What is cut even where the ceilings would leave it.

    Attributes:
        vocabulary_min_count: tokens that occur less often in the training texts are cut.
        ffn_ratio: share of each layer's feed-forward neurons that is cut.
    """

    vocabulary_min_count: int
    ffn_ratio: float


@dataclass(frozen=True)
class Vocabulary:
    """What pruning must know of the rows of the token table.

    Attributes:
        counts: how often each token occurs in the training texts, int64 `[rows]`.
        needed: rows that always stay, bool `[rows]`.
    """

    counts: NDArray[np.int64]
    needed: NDArray[np.bool_]


@dataclass(frozen=True)
class PrunedEncoder:
    """A smaller copy, and why it is so small.

    Attributes:
        model: in training mode; it needs recovery.
        rows: old ids of the rows that stayed, ascending, int64 `[kept]`.
        rows_wished: how many rows the wish alone would have left.
        ffn_dims_wished: how many neurons of each layer it would have left.
    """

    model: TextEncoder
    rows: NDArray[np.int64]
    rows_wished: int
    ffn_dims_wished: tuple[int, ...]


def prune_encoder(
    model: TextEncoder, vocabulary: Vocabulary, wish: Wish, ceilings: Ceilings, example: Mapping[str, Tensor]
) -> PrunedEncoder:
    """Cut what `wish` says; then the widest layers' neurons and the rarest rows until both ceilings are met.

    Neurons go where there are too many multiply-accumulates, or too many parameters even with the fewest rows.
    Otherwise rows go: they cost parameters alone.

    Args:
        model: unchanged.
        example: one call's inputs, ids int `[batch, length]` first.

    Raises:
        InputError: a ceiling cannot be reached; the message says how far pruning can go.
        StageError: the copy is above a ceiling, which is a defect of ours.
    """
    costs = _Costs(model, cost.count(model, example), next(iter(example.values())).numel())
    fewest = int(vocabulary.needed.sum())
    narrowest = [min(width, WIDTH_STEP) for width in model.config.ffn_dims]
    limits = f"{fewest} rows of the vocabulary and {WIDTH_STEP} neurons of each layer always stay"
    ceilings.require_reachable(costs.at(fewest, narrowest), costs.before, limits)
    wished = tuple(width_without(width, wish.ffn_ratio) for width in model.config.ffn_dims)
    rows = rows_to_keep(vocabulary.counts, vocabulary.needed, wish.vocabulary_min_count)
    ffn_dims = list(wished)
    while not ceilings.met_by(costs.at(fewest, ffn_dims)):
        widest = ffn_dims.index(max(ffn_dims))
        ffn_dims[widest] = (ffn_dims[widest] - 1) // WIDTH_STEP * WIDTH_STEP
    above = ceilings.excess(costs.at(len(rows), ffn_dims)).params
    at_most = len(rows) - -(-above // model.config.embedding_dim)
    kept = rows_to_keep(vocabulary.counts, vocabulary.needed, wish.vocabulary_min_count, at_most)
    pruned = cut_encoder(model, kept, ffn_dims)
    ceilings.require_met(pruned, example)
    return PrunedEncoder(pruned, kept, len(rows), wished)


@dataclass(frozen=True)
class _Costs:
    """Cost of `model` with fewer rows and neurons; `tokens` is the number of tokens of the call."""

    model: TextEncoder
    before: Cost
    tokens: int

    def at(self, rows: int, ffn_dims: list[int]) -> Cost:
        """A neuron has a weight to and from each feature of the layer, and a bias."""
        config = self.model.config
        neurons = sum(config.ffn_dims) - sum(ffn_dims)
        gone_rows = (config.vocabulary - rows) * config.embedding_dim
        params = self.before.params - gone_rows - neurons * (2 * config.hidden_dim + 1)
        return Cost(params, self.before.macs - neurons * 2 * config.hidden_dim * self.tokens)
