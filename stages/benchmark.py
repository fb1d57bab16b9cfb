"""Measure every exported variant of the fleet on this machine.

python -m stages.benchmark
"""

from pathlib import Path

from pipeline.benchmark.host import fingerprint
from pipeline.benchmark.lanes import physical_cores, plan, usable_cores
from pipeline.benchmark.results import remove_results, write_results
from pipeline.benchmark.run import run_benchmark
from pipeline.benchmark.subjects import Subject, read_subjects
from pipeline.errors import StageError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.params.file import load_params
from pipeline.params.schema import Params
from pipeline.records.results import Results
from pipeline.stage import main


def run(root: Path = Path()) -> Results:
    """Measure the fleet and write `artifacts/benchmark/`.

    A variant that crashes, hangs or raises is an entry of `failures`; the stage itself succeeds, and the gate
    decides what a failed variant means.

    Raises:
        InputError: params.yaml is wrong, or asks for more cores than there are.
        IntegrityError: an exported file is not what was verified.
        StageError: host.json describes another machine.
    """
    layout = Layout(root)
    params = load_params(layout.params).params
    host = read_json(layout.host)
    if (here := fingerprint()) != host:
        differing = [key for key in here if here[key] != host.get(key)]
        raise StageError(f"{layout.host} describes another machine ({', '.join(differing)}): run `dvc repro host` here")
    subjects = read_fleet(params, layout)
    phases = plan(subjects, physical_cores(usable_cores()), params.benchmark.lane_cores)
    remove_results(layout)
    results = write_results(run_benchmark(phases, params.benchmark), host, params.benchmark, layout)
    print(f"benchmark: {len(results.measurements)} measurements, {len(results.failures)} variants failed")
    return results


def read_fleet(params: Params, layout: Layout) -> list[Subject]:
    """Every variant of every model of the fleet, its files checked."""
    models = [layout.model(name) for name in params.fleet]
    return [
        subject for model in models for subject in read_subjects(model.verification, model.fleet_inputs, layout.root)
    ]


if __name__ == "__main__":
    main(run, [], alone=True)
