"""Reports a missed budget as soon as it is certain, so that nobody waits for the benchmark to learn it.

These reports decide no output: the gate judges later and writes the verdict. So the stages that call this module do not
depend on the gate's rules in dvc.yaml, and an edit of the rules trains nothing anew.
"""

from pipeline.gate import certain
from pipeline.gate.certain import Foreseen
from pipeline.layout import Engine
from pipeline.params.file import LoadedParams
from pipeline.progress import note
from pipeline.records.export import Export
from pipeline.records.step import StepReport
from pipeline.records.verification import Verification


def after_prune(loaded: LoadedParams, model: str, report: StepReport) -> None:
    """Report parameters and multiply-accumulates that are over their budgets."""
    _say("prune", model, certain.after_prune(model, loaded.params.models[model], loaded.line, report))


def after_export(loaded: LoadedParams, model: str, engine: Engine, export: Export) -> None:
    """Report variants whose bytes are over their budget."""
    _say("export", model, certain.after_export(model, loaded.params.models[model], loaded.line, export))


def after_verify(loaded: LoadedParams, model: str, verification: Verification) -> None:
    """Report the tolerances and the budgets of bytes and quality that variants miss."""
    _say("verify", model, certain.after_verify(model, loaded.params.models[model], loaded.line, verification))


def _say(stage: str, model: str, foreseen: Foreseen) -> None:
    for line in foreseen.lines():
        note(f"{stage}: {model}: {line}")
