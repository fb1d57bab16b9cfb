"""The fingerprint of the machine."""

import json
import os

from pipeline.benchmark.host import fingerprint


def test_fingerprint_is_stable_and_complete() -> None:
    host = fingerprint()
    assert host == fingerprint() == json.loads(json.dumps(host))
    assert host["logical_cores"] == os.cpu_count()
    assert 1 <= host["physical_cores"] <= host["logical_cores"]
    assert host["memory_bytes"] > 1 << 20
    assert host["cpu"]


def test_fingerprint_hides_the_machine_id() -> None:
    host = fingerprint()
    assert len(host["fingerprint"]) == 16
    assert len(host["machine"]) in (0, 16)
