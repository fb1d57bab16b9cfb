"""Fingerprint of the machine: what a latency depends on, and nothing that changes from one minute to the next."""

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from pipeline.benchmark.lanes import thread_siblings, usable_cores

# Instruction sets that decide which kernels an engine picks, on x86 and on Arm.
FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_ID_CHARS = 16


def fingerprint() -> dict[str, Any]:
    """Describe this machine; two calls on one machine return the same.

    Returns:
        `cpu`, `architecture`, `logical_cores`, `physical_cores`, `usable_cores` (what this process may use),
        `cpu_quota` (of the control group, "max" for none), `flags`, `memory_bytes`, `os`, `kernel`, `python`,
        `machine` (a hash of the machine's id, empty where it has none) and `fingerprint` (a hash of the rest).
    """
    info = _cpuinfo()
    cores = os.cpu_count() or 1
    host: dict[str, Any] = {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "logical_cores": cores,
        "physical_cores": len({thread_siblings(core) for core in range(cores)}),
        "usable_cores": len(usable_cores()),
        "cpu_quota": _first_line(Path("/sys/fs/cgroup/cpu.max")) or "max",
        "flags": [flag for flag in FLAGS if flag in (info.get("flags") or info.get("Features") or "").split()],
        "memory_bytes": _memory_bytes(),
        "os": _os_name(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "machine": _machine(),
    }
    host["fingerprint"] = _digest(json.dumps(host, sort_keys=True))
    return host


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARS]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return ""


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty elsewhere than on Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_bytes() -> int:
    return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.platform(terse=True))
    except OSError:
        return platform.platform(terse=True)


def _machine() -> str:
    """The systemd machine id is confidential (man machine-id): only a hash of it is kept."""
    identity = _first_line(Path("/etc/machine-id"))
    return _digest(f"bardlet {identity}") if identity else ""
