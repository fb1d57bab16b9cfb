"""Describe the machine, so that no measurement is reused on another one.

python -m stages.host
"""

from pipeline.benchmark.host import fingerprint
from pipeline.files import write_json
from pipeline.layout import Layout
from pipeline.stage import main


def run() -> None:
    """Write `artifacts/host.json`."""
    host = fingerprint()
    write_json(Layout().host, host)
    print(f"host {host['fingerprint']}: {host['cpu']}, {host['usable_cores']} cores, {host['kernel']}")


if __name__ == "__main__":
    main(run, [])
