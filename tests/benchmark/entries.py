"""Records of a model with made-up numbers, as the verify stage writes them."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.files import sha256
from pipeline.layout import Engine, Variant
from pipeline.records.export import FileFacts, Precision
from pipeline.records.verification import CaseEntry, JudgedCase, Summary, Verification, VerifiedVariant

LATENCY = CaseEntry(name="b1_l32", shape={"batch": 1, "length": 32})
THROUGHPUT = CaseEntry(name="b4_l16", shape={"batch": 4, "length": 16})
_EXACT = Precision(weights="fp32", activations="fp32", inference="f32", cache="none")
_NOTHING = Summary(params=None, macs=None, size_bytes=None, quality={})


def verification(
    root: Path,
    files: Mapping[tuple[Engine, Variant], str],
    *,
    model: str = "m",
    cases: tuple[CaseEntry, ...] = (LATENCY, THROUGHPUT),
    judged: Mapping[str, JudgedCase] | None = None,
    precision: Precision = _EXACT,
) -> Verification:
    """What verify.json says of `files` by engine and variant, paths relative to `root`; judged is the first case."""
    return Verification(
        model=model,
        task="sentence_embedding",
        teacher=_NOTHING,
        student=_NOTHING,
        steps=(),
        gains={},
        sensitivity_ratio=None,
        sensitivity=(),
        cases=cases,
        judged={"": JudgedCase(shape=cases[0].shape, threads=1)} if judged is None else judged,
        variants=tuple(_variant(*key, root, path, precision) for key, path in files.items()),
    )


def _variant(engine: Engine, variant: Variant, root: Path, path: str, precision: Precision) -> VerifiedVariant:
    size = (root / path).stat().st_size
    return VerifiedVariant(
        engine=engine,
        variant=variant,
        path=path,
        files={Path(path).name: FileFacts(sha256=sha256(root / path), size_bytes=size)},
        size_bytes=size,
        precision=precision,
        reduction=None,
        quality={},
        mean_cosine=None,
        max_abs_error=None,
        problems=(),
    )
