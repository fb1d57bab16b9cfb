"""Tiny decoders of every kind, with caches so small that texts outgrow them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.engines.decoders import decoder_spec
from pipeline.engines.spec import ModelSpec
from pipeline.engines.tflite.export import exporter
from pipeline.runtime.session import Inputs, Session, State, open_session
from pipeline.students.decoder import Decoder, DecoderConfig

KINDS = {"plain": {}, "qkv_bias": {"qkv_bias": True}, "qk_norm": {"qk_norm": True}, "untied": {"tied": False}}
LENGTHS, CACHES, VOCABULARY = (1, 4, 8), (16, 48), 64


@dataclass(frozen=True)
class Exported:
    model: Decoder
    spec: ModelSpec
    fp32: Path


def tiny_decoder(kind: str) -> Decoder:
    """Two layers with grouped queries. Its layers outweigh its table, so that it does not say its last token again."""
    torch.manual_seed(1)
    config = DecoderConfig(VOCABULARY, 64, 2, 4, 2, 8, 96, 1e4, 1e-5, 128, **KINDS[kind])
    model = Decoder(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter *= 4 if name.startswith("embedding") else 16
            else:
                parameter += torch.randn_like(parameter) * 0.2
    return model


@pytest.fixture(scope="session")
def export_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Exports a kind once."""
    made: dict[str, Exported] = {}

    def export(kind: str) -> Exported:
        if kind not in made:
            model = tiny_decoder(kind)
            spec, path = decoder_spec(model.config, LENGTHS, CACHES), tmp_path_factory.mktemp(kind) / "fp32.tflite"
            exporter.export(model, spec, path, toolchain={})
            made[kind] = Exported(model, spec, path)
        return made[kind]

    return export


@pytest.fixture(scope="session", params=KINDS)
def exported(request: pytest.FixtureRequest, export_tiny: Callable[[str], Exported]) -> Exported:
    return export_tiny(request.param)


@cache
def open_once(file: Path) -> Session:
    return open_session("tflite", file, 1)


def text(count: int, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count, dtype=np.int32)


def call(tokens: NDArray[np.int32], position: int, rows: NDArray[np.int32] | None = None) -> Inputs:
    """The logits behind the last token, or behind those that `rows` names."""
    last = np.array([len(tokens) - 1], np.int32)
    return {
        "tokens": tokens[None],
        "position": np.array([position], np.int32),
        "rows": last if rows is None else rows,
    }


def new_state(session: Session) -> State:
    state = session.new_state()
    assert state is not None
    return state


def say(session: Session, state: State, logits: NDArray[np.float32], count: int) -> list[int]:
    """Greedy text behind `logits`."""
    said = []
    for _ in range(count):
        said.append(int(logits[-1].argmax()))
        logits = session.run(call(np.array(said[-1:], np.int32), state.length), state)
    return said
