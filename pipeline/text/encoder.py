"""Reading the encoder of a sentence-transformers or Hugging Face folder."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.students.transformer_encoder import TransformerEncoder, TransformerEncoderConfig
from pipeline.weights import load_strictly, read_tensors

_POOLING = Path("1_Pooling") / CONFIG
_SUPPORTED_MODULES = ("Transformer", "Pooling", "Normalize")


def load_encoder(folder: Path) -> TransformerEncoder:
    """Load the encoder of a folder; no code of the folder is run.

    Raises:
        InputError: the folder describes something other than a transformer with mean or CLS pooling.
        IntegrityError: the weights do not fit the architecture that config.json names.
    """
    # Slow to import, and only a stage that runs a teacher needs it.
    from transformers import AutoConfig

    described = AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
    model = TransformerEncoder(TransformerEncoderConfig(described, _pooling(folder)))
    tensors = read_tensors(folder / WEIGHTS)
    # Older exports carry this constant as a tensor; it is no weight.
    tensors.pop("embeddings.position_ids", None)
    load_strictly(
        model.transformer,
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        folder / WEIGHTS,
    )
    return model.eval()


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
