"""A small transformer encoder whose embeddings are narrower than its layers, with a linear path beside them.

The sentence embedding is a linear map of the mean over the tokens of `[hidden, embedding]`, at unit length. The
part of the map that reads the embeddings carries what a static embedding model knows (the table starts as a PCA of
the teacher's own output for each token), so that the layers learn context alone. Factorized embeddings: ALBERT
(arXiv:1909.11942, section 3.1).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.students import Student
from pipeline.students.layers.pooling import mean


@dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes of a text encoder; `ffn_dims` holds one width a layer, because pruning makes them differ."""

    vocabulary: int
    embedding_dim: int
    hidden_dim: int
    heads: int
    ffn_dims: tuple[int, ...]
    max_tokens: int
    output_dim: int
    architecture: str = "text_encoder"

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "TextEncoderConfig":
        """What `as_json` wrote, read back; TypeError or KeyError where it is something else."""
        return cls(**{**config, "ffn_dims": tuple(config["ffn_dims"])})

    def with_changes(self, **changes: object) -> "TextEncoderConfig":
        """A copy with some sizes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class SelfAttention(nn.Module):
    """Multi-head self-attention over `[batch, length, hidden]`; padded keys get no weight."""

    def __init__(self, hidden_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Mix `[batch, length, hidden]`; `bias` `[batch, 1, 1, length]` is added to the scores."""
        batch, length, width = hidden.shape
        shape = (batch, length, self.heads, width // self.heads)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in self.qkv(hidden).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, hidden_dim: int, heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.attention = SelfAttention(hidden_dim, heads)
        self.ffn_norm = nn.LayerNorm(hidden_dim)
        self.ffn_in = nn.Linear(hidden_dim, ffn_dim)
        self.ffn_out = nn.Linear(ffn_dim, hidden_dim)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """One layer over `[batch, length, hidden]`."""
        hidden = hidden + self.attention(self.attention_norm(hidden), bias)
        inner = functional.gelu(self.ffn_in(self.ffn_norm(hidden)), approximate="tanh")
        return hidden + self.ffn_out(inner)  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """Token ids to sentence embeddings; see the module's docstring."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.embedding_dim)
        self.positions = nn.Embedding(config.max_tokens, config.embedding_dim)
        self.project = nn.Linear(config.embedding_dim, config.hidden_dim)
        self.layers = nn.ModuleList(Layer(config.hidden_dim, config.heads, width) for width in config.ffn_dims)
        self.norm = nn.LayerNorm(config.hidden_dim)
        # Its first `hidden_dim` columns read the layers, the others the embeddings.
        self.output = nn.Linear(config.hidden_dim + config.embedding_dim, config.output_dim)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The input of the last linear map for each token, float32 `[batch, length, hidden + embedding]`."""
        # int64: ONNX Runtime refuses a gather by int32 (docs/decisions/0003-engines.md).
        embedded = self.tokens(input_ids.long())
        placed = embedded + self.positions.weight[: input_ids.shape[1]]
        hidden = self.project(placed)
        bias = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -1e4
        for layer in self.layers:
            hidden = layer(hidden, bias)
        return torch.cat([self.norm(hidden), embedded], dim=-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts.

        Args:
            input_ids: token ids, int `[batch, length]`, length at most `max_tokens`.
            attention_mask: 1 for tokens and 0 for padding, int `[batch, length]`.

        Returns:
            Embeddings of unit length, float32 `[batch, output_dim]`.
        """
        # The mean commutes with the linear map: pooling first costs one product a text instead of one a token.
        pooled = mean(self.features(input_ids, attention_mask), attention_mask)
        return functional.normalize(self.output(pooled), dim=-1)

    def tables(self) -> list[nn.Embedding]:
        """Tables that int8 rounds: the token table alone; positions are few and stay in float."""
        return [self.tokens]


STUDENT = Student(TextEncoderConfig, TextEncoder)
