"""Read params.yaml and report everything that is wrong with it at once, each with its line.

    loaded = load_params(Path("params.yaml"))
    loaded.params.models["docs-embed"].student.layers
    loaded.line("models.docs-embed.budgets.openvino.p95_ms")

The schema is `pipeline.params`; what must hold across blocks is `pipeline.params.checks`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.params import checks, messages, yaml_lines
from pipeline.params.schema import Params
from pipeline.params.yaml_lines import Document, KeyPath, Problem


@dataclass(frozen=True)
class LoadedParams:
    """Valid parameters and where each of them is written."""

    params: Params
    path: Path
    document: Document

    def line(self, dotted: str) -> int:
        """Line (from 1) of a key such as `models.docs-embed.budgets.openvino.p95_ms`.

        Of a key that is not in the file: the line of the nearest block around it.
        """
        return self.document.line(_key_path(dotted, self.document.lines))


def load_params(path: Path = Path("params.yaml")) -> LoadedParams:
    """Read and check `path`.

    Raises:
        InputError: naming every problem, one a line, with file, line, key and what to write instead.
    """
    document = yaml_lines.read(path)
    checked = checks.problems(document)
    problems = [*document.problems, *checked]
    params = None
    try:
        params = _validate(document)
    except ValidationError as error:
        problems += messages.problems(error.errors(include_url=False), document, checked)
    if problems or params is None:
        raise input_error(path, problems)
    return LoadedParams(params, path, document)


def input_error(path: Path, problems: Sequence[Problem]) -> InputError:
    """Put problems into one error, in the order of the file, each once."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.path, problem.message))
    lines = [problem.format(path) for problem in ordered]
    if len(lines) == 1:
        return InputError(lines[0])
    return InputError("\n".join([f"{len(lines)} problems in {path}:", *lines]))


def _validate(document: Document) -> Params:
    # Through JSON, because pydantic's strict mode then takes lists for tuples but no text for a number.
    return Params.model_validate_json(json.dumps(document.tree, default=str), strict=True)


def _key_path(dotted: str, known: Iterable[KeyPath]) -> KeyPath:
    # Names of packages may contain dots, so the known paths decide and not a split alone.
    for path in known:
        if yaml_lines.dotted(path) == dotted:
            return path
    return tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
