"""Judge the measurements against the budgets and leave the verdict as a file, whatever it is.

python -m stages.gate

A missed budget is not an error of this stage: `release` refuses to bundle without a PASS, and the evidence stays.
"""

from pathlib import Path

from pipeline.files import new_folder, write_json
from pipeline.gate.verdict import Verdict, judge_workspace
from pipeline.layout import Layout
from pipeline.stage import main


def run(root: Path = Path()) -> Verdict:
    """Write `artifacts/gate/verdict.json` and the same for each model alone, so that releases depend on their own.

    Raises:
        InputError: params.yaml is wrong, or the case of a model's budgets was not measured.
        IntegrityError: an artifact is missing or lacks a field.
    """
    layout = Layout(root)
    verdict = judge_workspace(layout)
    write_json(layout.verdict, verdict.to_json())
    with new_folder(layout.model_verdicts) as folder:
        for name in verdict.models:
            write_json(folder / layout.model(name).verdict.name, verdict.of(name).to_json())
    for name, model in verdict.models.items():
        ships = ", ".join(f"{engine} {variant or 'nothing'}" for engine, variant in model.chosen.items())
        print(f"gate: {name}: {model.verdict}; ships {ships}")
        for payoff in model.payoff:
            if not payoff.pays:
                print(f"gate: {name}: {payoff.message}")
    for message in verdict.misses():
        print(f"gate: {message}")
    return verdict


if __name__ == "__main__":
    main(run, [])
