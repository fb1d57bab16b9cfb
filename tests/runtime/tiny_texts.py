"""A language model of a few kilobytes in PyTorch, its tokenizer, and a release of it.

`open_session` opens no file of an engine here: tests put `session` in its place, so that what they see is the runtime's
own doing. tests/runtime/test_decoders.py runs the engines' own files.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.engines.decoders import decoder_spec
from pipeline.engines.torch_session import TorchSession
from pipeline.runtime.chat_format import ChatFormat
from pipeline.runtime.generate import Generator
from pipeline.runtime.session import Inputs, Session, State
from pipeline.runtime.vocabulary import Vocabulary
from pipeline.students.decoder import Decoder, DecoderConfig
from tests.runtime import tiny

START, TURN, END = 0, 1, 2
CONTEXT = 96
_CORPUS = (
    "import numpy as np",
    "def read_csv(path, sep=','): read the file and return the number of rows",
    "Return the number of rows, the number of columns, and the import path of the number.",
    "Größe der Datei in Bytes; 文字列を返す; the file, the path, the row.",
) * 8
FORMAT = ChatFormat(
    begin="",
    system=("<|turn|>system\n", "<|end|>\n"),
    user=("<|turn|>user\n", "<|end|>\n"),
    assistant=("<|turn|>assistant\n", "<|end|>\n"),
    end_of_turn="<|end|>",
    default_system="Be brief.",
)


@cache
def tokenizer_json() -> str:
    """A byte-level BPE with 340 tokens; the first three are special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|turn|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    # A tokenizer that cuts, as many published ones do: the runtime must not.
    tokenizer.enable_truncation(16)
    text: str = tokenizer.to_str()
    return text


def vocabulary() -> Vocabulary:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.no_truncation()
    return Vocabulary(tokenizer)


@cache
def decoder() -> Decoder:
    """Seeded, with weights large enough that what it says changes from token to token."""
    config = DecoderConfig(
        vocabulary=vocabulary().tokenizer.get_vocab_size(),
        hidden_dim=32,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=16,
        ffn_dim=48,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        max_tokens=CONTEXT,
    )
    torch.manual_seed(3)
    model = Decoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.4)
        # Their logits are 0, and the highest one is above that: greedy text never ends by itself.
        model.embedding.weight[[START, END]] = 0
    return model


class Counting:
    """A session that notes how many tokens each call read."""

    def __init__(self, session: Session) -> None:
        self.calls: list[int] = []
        self._session = session

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        self.calls.append(inputs["tokens"].shape[1])
        return self._session.run(inputs, state)

    def new_state(self) -> State | None:
        return self._session.new_state()


def session(context: int = CONTEXT) -> Counting:
    model = decoder()
    return Counting(TorchSession(model, decoder_spec(model.config, [1, 8], [context])))


def generator(context: int = CONTEXT, end: tuple[int, ...] = (START, END), chats: bool = True) -> Generator:
    """The tiny model as a product, on PyTorch."""
    return Generator(
        "pytorch",
        session(context),
        vocabulary(),
        context=context,
        start=START,
        end=end,
        chat_format=FORMAT if chats else None,
    )


def logits_of(ids: list[int]) -> NDArray[np.float32]:
    """What the model says behind each of these tokens, read whole and without a cache, float32 `[n, vocabulary]`."""
    with torch.inference_mode():
        rows: NDArray[np.float32] = decoder().logits(torch.tensor([ids]))[0].numpy()
    return rows


def greedy(ids: list[int], count: int) -> list[int]:
    """What follows by reading everything anew for each token."""
    ids = list(ids)
    before = len(ids)
    for _ in range(count):
        ids.append(int(logits_of(ids)[-1].argmax()))
    return ids[before:]


def write_release(folder: Path, chats: bool = True, **changes: Any) -> Path:
    """A release with a file for ONNX Runtime that holds nothing; keywords replace fields of its manifest."""
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime" / "fp32.onnx").write_bytes(b"PyTorch stands in")
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    if chats:
        (folder / "chat.json").write_text(json.dumps(FORMAT.as_json()), encoding="utf-8")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = {
        "format": "bardlet-release",
        "format_version": 2,
        "model": "tiny",
        "verb": "generate",
        "task": "causal_lm",
        "tokenizer": "tokenizer.json",
        **({"chat": "chat.json"} if chats else {}),
        "context": CONTEXT,
        "start_token": START,
        "end_tokens": [START, END],
        "golden": "golden.json",
        "engines": {
            "onnxruntime": {
                "variant": "fp32",
                "model": "onnxruntime/fp32.onnx",
                "files": ["onnxruntime/fp32.onnx"],
                "precision": {**tiny.PRECISION, "cache": "f32"},
            }
        },
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            for name, content in files.items()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return folder
