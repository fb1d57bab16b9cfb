"""A Hugging Face encoder with its pooling: a sentence-transformers teacher, or a student that is the teacher itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.students import Student
from pipeline.students.layers.pooling import mean

POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class TransformerEncoderConfig:
    """A transformer as its config.json describes it, and how its tokens become one vector.

    Attributes:
        transformer: the content of the Hugging Face config.json.
        pooling: `mean` of the tokens, or the first one (`cls`).
    """

    transformer: Mapping[str, Any]
    pooling: str
    architecture: str = "transformer_encoder"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: choose one of {', '.join(POOLINGS)}")

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back; TypeError, KeyError or ValueError where it is no such configuration."""
        return cls(config["transformer"], config["pooling"])


class TransformerEncoder(nn.Module):
    """Token ids to sentence embeddings of unit length, as sentence-transformers would give them."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        """Build it with undefined weights: a checkpoint must be loaded.

        Raises:
            ValueError: transformers knows no such architecture.
        """
        super().__init__()
        # Slow to import.
        from transformers import AutoConfig, AutoModel

        described = AutoConfig.for_model(**config.transformer)
        with torch.device("meta"):
            shapes = AutoModel.from_config(described, attn_implementation="sdpa", trust_remote_code=False)
        self.transformer = shapes.to_empty(device="cpu")
        _restore_constants(self.transformer)
        self.config = config
        self.pooling = config.pooling

    def token_outputs(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last layer's output, float32 `[batch, length, d]`."""
        return self.transformer(input_ids=input_ids.long(), attention_mask=attention_mask.long()).last_hidden_state  # type: ignore[no-any-return]

    def pool(self, outputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Token outputs `[batch, length, d]` to embeddings of unit length `[batch, d]`."""
        pooled = outputs[:, 0] if self.pooling == "cls" else mean(outputs, attention_mask)
        return functional.normalize(pooled, dim=-1)

    def unscaled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the token outputs, not at unit length: int `[batch, length]` to float32 `[batch, d]`."""
        return mean(self.token_outputs(input_ids, attention_mask), attention_mask)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts: ids and mask int `[batch, length]` to float32 `[batch, d]`."""
        return self.pool(self.token_outputs(input_ids, attention_mask), attention_mask)


def _restore_constants(transformer: nn.Module) -> None:
    """Fill the buffers that no checkpoint holds (positions and segment zeros), which `to_empty` left undefined."""
    for module in transformer.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                fresh = (
                    torch.arange(buffer.numel()).reshape(buffer.shape)
                    if name == "position_ids"
                    else torch.zeros_like(buffer)
                )
                setattr(module, name, fresh.to(buffer.dtype))


STUDENT = Student(TransformerEncoderConfig, TransformerEncoder)
