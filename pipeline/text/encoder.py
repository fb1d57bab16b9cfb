"""A sentence-transformers or Hugging Face encoder as one module: transformer, pooling, unit length."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.students.text_encoder import mean
from pipeline.weights import load_strictly, read_tensors

_POOLING = Path("1_Pooling") / CONFIG
_SUPPORTED_MODULES = ("Transformer", "Pooling", "Normalize")


class TeacherEncoder(nn.Module):
    """Token ids to sentence embeddings of unit length, as sentence-transformers would give them."""

    def __init__(self, transformer: nn.Module, pooling: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling

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


def load_encoder(folder: Path) -> TeacherEncoder:
    """Load the encoder of a sentence-transformers or Hugging Face folder; no code of the folder is run.

    Raises:
        InputError: the folder describes something other than a transformer with mean or CLS pooling.
        IntegrityError: the weights do not fit the architecture that config.json names.
    """
    # Slow to import, and only a stage that runs a teacher needs it.
    from transformers import AutoConfig, AutoModel

    pooling = _pooling(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        shapes = AutoModel.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    transformer = shapes.to_empty(device="cpu")
    tensors = read_tensors(folder / WEIGHTS)
    # Older exports carry this constant as a tensor; it is no weight.
    tensors.pop("embeddings.position_ids", None)
    load_strictly(
        transformer,
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        folder / WEIGHTS,
    )
    _restore_constants(transformer)
    return TeacherEncoder(transformer, pooling).eval()


def _restore_constants(transformer: nn.Module) -> None:
    """Buffers that no checkpoint holds are positions and segment zeros; `to_empty` left them undefined."""
    for module in transformer.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                fresh = (
                    torch.arange(buffer.numel()).reshape(buffer.shape)
                    if name == "position_ids"
                    else torch.zeros_like(buffer)
                )
                setattr(module, name, fresh.to(buffer.dtype))


def _pooling(folder: Path) -> str:
    modules = folder / "modules.json"
    if modules.is_file():
        kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in _read(modules)]
        if unsupported := [kind for kind in kinds if kind not in _SUPPORTED_MODULES]:
            raise InputError(
                f"{modules}: module {unsupported[0]} is not supported; {', '.join(_SUPPORTED_MODULES)} are"
            )
    if not (folder / _POOLING).is_file():
        return "mean"
    settings = _read(folder / _POOLING)
    modes = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    if modes == ["pooling_mode_mean_tokens"]:
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "cls"
    raise InputError(f"{folder / _POOLING}: pooling {', '.join(modes) or 'none'} is not supported; mean and cls are")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
