"""A decoder-only language model: RMSNorm, rotary positions, grouped-query attention, SwiGLU, one table in and out.

It holds teachers of the Llama and Qwen families and the students that are distilled from them. Rotary positions turn
halves of a head (RoFormer, arXiv:2104.09864, as Llama's checkpoints for transformers lay it out). Keys are turned
before they are kept, so a cache can be read in any order.

Four options make it GPT-2, which has LayerNorm, learned positions, GELU and biases. Such a decoder is a teacher only:
no engine runs it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.students import Student


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder.

    Attributes:
        hidden_dim: features of a token between layers.
        heads: of queries.
        kv_heads: of keys and values; each serves `heads / kv_heads` heads of queries.
        head_dim: features of a head, even.
        ffn_dim: inner features of the feed-forward part.
        rope_theta: base of the rotary frequencies.
        norm_epsilon: added to the mean square, or to the variance.
        max_tokens: positions that it was trained for.
        qkv_bias: whether queries, keys and values have biases (Qwen2).
        qk_norm: whether queries and keys are normalized a head (Qwen3).
        tied: whether the head is the table of the embeddings.
        norm: root mean square, or LayerNorm with a bias (GPT-2).
        positions: rotary, or a learned table of `max_tokens` rows that is added to the embeddings (GPT-2).
        feed_forward: SwiGLU, or one matrix up, GELU in its tanh form and one down (GPT-2).
        other_biases: whether the attention's output and the feed-forward part have biases (GPT-2).
    """

    vocabulary: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_dim: int
    rope_theta: float
    norm_epsilon: float
    max_tokens: int
    qkv_bias: bool = False
    qk_norm: bool = False
    tied: bool = True
    norm: Literal["rms", "layer"] = "rms"
    positions: Literal["rotary", "learned"] = "rotary"
    feed_forward: Literal["swiglu", "gelu"] = "swiglu"
    other_biases: bool = False
    architecture: str = "decoder"

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd, and rotary positions turn pairs")

    def unsupported_by_engines(self) -> str | None:
        """What no engine's graph of a decoder has, in a few words; `None` if engines run it."""
        found = {
            "LayerNorm": self.norm == "layer",
            "learned positions": self.positions == "learned",
            "a feed-forward part with GELU": self.feed_forward == "gelu",
            "biases beyond those of queries, keys and values": self.other_biases,
        }
        names = [name for name, is_there in found.items() if is_there]
        return f"has {', '.join(names)}" if names else None

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "DecoderConfig":
        """What `as_json` wrote, read back; TypeError or ValueError where it is something else."""
        return cls(**config)


class RmsNorm(nn.Module):
    """Root mean square normalization (arXiv:1910.07467) over the last axis."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `[..., size]`."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class LayerNorm(RmsNorm):
    """The same with the mean taken away and a bias (arXiv:1607.06450)."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__(size, epsilon)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `[..., size]`."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


def make_norm(config: DecoderConfig) -> RmsNorm:
    """A normalization over the features of a token."""
    kind = LayerNorm if config.norm == "layer" else RmsNorm
    return kind(config.hidden_dim, config.norm_epsilon)


class Attention(nn.Module):
    """Grouped-query attention (arXiv:2305.13245) with rotary positions, or with positions that the input has."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        size, bias = config.head_dim, config.qkv_bias
        self.query = nn.Linear(config.hidden_dim, config.heads * size, bias=bias)
        self.key = nn.Linear(config.hidden_dim, config.kv_heads * size, bias=bias)
        self.value = nn.Linear(config.hidden_dim, config.kv_heads * size, bias=bias)
        self.output = nn.Linear(config.heads * size, config.hidden_dim, bias=config.other_biases)
        self.query_norm = RmsNorm(size, config.norm_epsilon) if config.qk_norm else None
        self.key_norm = RmsNorm(size, config.norm_epsilon) if config.qk_norm else None

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None) -> Tensor:
        """Mix `[batch, n, hidden]`.

        Args:
            x: normalized features.
            rotation: cosines and sines of the n positions, `[n, head_dim / 2]`.
            cache: keys and values before this call, `[batch, kv_heads, past, head_dim]`, which get the n new ones in
                place behind; `None` where nothing came before and nothing is kept.
        """
        query = self._heads(self.query, x, self.config.heads)
        key = self._heads(self.key, x, self.config.kv_heads)
        value = self._heads(self.value, x, self.config.kv_heads)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.config.positions == "rotary":
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        grouped = self.config.heads != self.config.kv_heads
        if cache is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        else:
            keys, values = cache
            new = x.shape[1]
            keys[:, :, -new:], values[:, :, -new:] = key, value
            # Row i of the new ones sees all that came before, and itself.
            seen = torch.ones(new, keys.shape[2], dtype=torch.bool).tril(keys.shape[2] - new)
            mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, enable_gqa=grouped)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, layer: nn.Module, x: Tensor, heads: int) -> Tensor:
        """`[batch, n, hidden]` to `[batch, heads, n, head_dim]`."""
        return layer(x).unflatten(-1, (heads, self.config.head_dim)).transpose(1, 2)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A pre-norm transformer layer with SwiGLU (arXiv:2002.05202) or GELU (arXiv:1606.08415)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        gated, bias = config.feed_forward == "swiglu", config.other_biases
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.ffn_norm = make_norm(config)
        self.gate = nn.Linear(config.hidden_dim, config.ffn_dim, bias=bias) if gated else None
        self.up = nn.Linear(config.hidden_dim, config.ffn_dim, bias=bias)
        self.down = nn.Linear(config.ffn_dim, config.hidden_dim, bias=bias)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """One layer over `[batch, n, hidden]`; see `Attention.forward`."""
        x = x + self.attention(self.attention_norm(x), rotation, cache)
        inner = self.ffn_norm(x)
        if self.gate is None:
            return x + self.down(functional.gelu(self.up(inner), approximate="tanh"))  # type: ignore[no-any-return]
        return x + self.down(functional.silu(self.gate(inner)) * self.up(inner))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Token ids to the logits of what comes next; see the module's docstring."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden_dim)
        learned = config.positions == "learned"
        self.positions = nn.Embedding(config.max_tokens, config.hidden_dim) if learned else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = make_norm(config)
        self.head = None if config.tied else nn.Linear(config.hidden_dim, config.vocabulary, bias=False)
        self.apply(_initialize)

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the head, `[vocabulary, hidden]`."""
        return self.embedding.weight if self.head is None else self.head.weight

    def features(self, tokens: Tensor) -> Tensor:
        """The normalized features of each token of whole texts, `[batch, n, hidden]`; the head makes logits of them.

        Args:
            tokens: int `[batch, n]`, from position 0 on.
        """
        x, rotation = self._embedded(tokens, 0), rotation_at(0, tokens.shape[1], self.config)
        rotation = (rotation[0].to(x.device, x.dtype), rotation[1].to(x.device, x.dtype))
        for layer in self.layers:
            x = layer(x, rotation)
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, tokens: Tensor) -> Tensor:
        """The logits behind each token of whole texts, `[batch, n, vocabulary]`; see `features`."""
        return functional.linear(self.features(tokens), self.head_weight)

    def forward(self, tokens: Tensor, position: Tensor, rows: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Continue a text by some tokens, as engines do: see `pipeline.engines.decoders.decoder_spec`.

        Args:
            tokens: int `[1, n]`.
            position: of the first of them, int `[1]`: so many tokens are in the state.
            rows: which of the n tokens to give the logits of, int `[rows]`.
            state: keys of each layer, then values of each layer, float32 `[1, kv_heads, cache, head_dim]`.

        Returns:
            Logits `[rows, vocabulary]`, then the state with the n tokens in it; what it was given is not changed.
        """
        start, count, layers = int(position[0]), tokens.shape[1], self.config.layers
        kept = [tensor.clone() for tensor in state]
        x, rotation = self._embedded(tokens, start), rotation_at(start, count, self.config)
        for index, layer in enumerate(self.layers):
            held = tuple(tensor[:, :, : start + count] for tensor in (kept[index], kept[layers + index]))
            x = layer(x, rotation, held)
        chosen = self.norm(x)[0].index_select(0, rows.long())
        return functional.linear(chosen, self.head_weight), *kept

    def _embedded(self, tokens: Tensor, start: int) -> Tensor:
        """Ids `[batch, n]` from position `start` on, to `[batch, n, hidden]`."""
        x: Tensor = self.embedding(tokens.long())
        return x if self.positions is None else x + self.positions.weight[start : start + tokens.shape[1]]

    def tables(self) -> list[nn.Embedding]:
        """Tables that int8 rounds."""
        return [self.embedding]


def rotation_at(start: int, count: int, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles at positions `start` to `start + count`, float32 `[count, head_dim / 2]` each."""
    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.arange(start, start + count, dtype=torch.float32)[:, None] / config.rope_theta**pairs
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the halves of each head, `[batch, heads, n, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


STUDENT = Student(DecoderConfig, Decoder)
