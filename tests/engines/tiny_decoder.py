"""A decoder with one layer of attention and a cache of fixed size, for tests of what a state needs."""

import torch
from torch import Tensor, nn

from pipeline.engines.spec import ModelSpec, TensorSpec

CAPACITY, WIDTH, VOCABULARY = 64, 32, 48
PROMPT = 8

SPEC = ModelSpec(
    inputs=(TensorSpec("tokens", "int32", ("batch", "tokens")), TensorSpec("position", "int32", ("batch",))),
    output=TensorSpec("logits", "float32", ("batch", "vocabulary")),
    shapes=({"batch": 1, "tokens": PROMPT}, {"batch": 1, "tokens": 1}),
    state=tuple(TensorSpec(name, "float32", ("batch", CAPACITY, WIDTH)) for name in ("keys", "values")),
)


class TinyDecoder(nn.Module):
    """Tokens `[batch, n]` at `position [batch]` to logits of the last one, and the cache with theirs in it.

    Its weights are large, so that what it says changes from token to token.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(CAPACITY, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        with torch.no_grad():
            for layer in (self.query, self.key, self.value):
                layer.weight *= 3

    def forward(self, tokens: Tensor, position: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """See the class; `cache` is keys and values, float32 `[batch, CAPACITY, WIDTH]` each."""
        at = position.long()[:, None] + torch.arange(tokens.shape[1])[None]
        x = self.embedding(tokens.long()) + self.places(at)
        slots = torch.arange(CAPACITY)
        written = (slots[None, :, None] == at[:, None, :]).float()
        kept = 1 - written.sum(2, keepdim=True)
        keys, values = (
            held * kept + written @ new for held, new in zip(cache, (self.key(x), self.value(x)), strict=True)
        )
        scores = self.query(x) @ keys.transpose(1, 2) / WIDTH**0.5
        scores = scores.masked_fill(slots[None, None] > at[:, :, None], -1e9)
        x = x + torch.softmax(scores, -1) @ values
        return self.head(x[:, -1]), keys, values
