"""Judge the measurements against the budgets and leave the verdict as a file, whatever it is.

python -m stages.gate

A missed budget is not an error of this stage: `release` refuses to bundle without a PASS, and the evidence stays.
"""

from pathlib import Path

from pipeline.files import new_folder
from pipeline.gate.verdict import judge_workspace
from pipeline.layout import Layout
from pipeline.records.verdict import Verdict
from pipeline.stage import main


def run(root: Path = Path()) -> Verdict:
    """Write `artifacts/gate/verdict.json`, and a verdict for each model, so that a release depends on its own alone.

    Raises:
        InputError: params.yaml is wrong, or a case of a model's budgets was not measured.
        IntegrityError: an artifact is missing or damaged.
    """
    layout = Layout(root)
    verdict = judge_workspace(layout)
    verdict.write(layout.verdict)
    with new_folder(layout.model_verdicts) as folder:
        for name in verdict.models:
            verdict.of(name).write(folder / layout.model(name).verdict.name)
    for name, model in verdict.models.items():
        print(f"gate: {name}: {model.verdict}; ships {model.ships()}")
        for payoff in model.payoff:
            if not payoff.pays:
                print(f"gate: {name}: {payoff.message}")
    for message in verdict.misses():
        print(f"gate: {message}")
    return verdict


if __name__ == "__main__":
    main(run, [])
