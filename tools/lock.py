"""Resolve requirements.lock anew: `make lock`.

xdsl, which litert-torch needs, caps typing-extensions below what Prefect needs; the cap is not needed in practice
(docs/decisions/0002-dependencies.md), so it is overridden. Neither addresses nor local versions go into the lock.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OVERRIDES = "typing-extensions>=4.15\n"
# uv takes 1.3.1, which pip refuses.
CONSTRAINTS = "backports-strenum==1.2.8\n"
# What torch's CUDA build adds is no part of the lock: torch is installed first, by its version alone.
OPTIONAL = ("tensorflow", "benchmarks", "tests")
CUDA_PREFIXES = ("nvidia-", "triton", "cuda-")


def main() -> None:
    """Write requirements.lock, and for each optional extra a lock of what it adds."""
    base = resolve("dev")
    (ROOT / "requirements.lock").write_text("".join(base), encoding="utf-8")
    for extra in OPTIONAL:
        added = [line for line in resolve("dev", extra) if line not in base]
        (ROOT / f"requirements-{extra}.lock").write_text("".join(added), encoding="utf-8")


def resolve(*extras: str) -> list[str]:
    """The pinned lines for pyproject.toml with these extras."""
    with tempfile.TemporaryDirectory() as folder:
        overrides, constraints = Path(folder, "overrides.txt"), Path(folder, "constraints.txt")
        overrides.write_text(OVERRIDES, encoding="utf-8")
        constraints.write_text(CONSTRAINTS, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "--quiet"]
        command += ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--override", str(overrides), "--constraint", str(constraints)]
        command += [part for extra in extras for part in ("--extra", extra)]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line.partition("+")[0].strip() + "\n" for line in output.splitlines()]
    return [line for line in lines if not line.startswith(CUDA_PREFIXES)]


if __name__ == "__main__":
    main()
