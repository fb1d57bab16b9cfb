"""Decoders in safetensors of transformers."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.teacher.decoders.tensors import Plan


def plan(path: Path) -> Plan:
    """How a folder's safetensors become a decoder."""
    raise InputError(f"{path}: safetensors of language models are not read yet")
