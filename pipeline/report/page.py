"""Making the page from what the stages left."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from pipeline.files import new_file
from pipeline.layout import Layout
from pipeline.params.file import load_params
from pipeline.params.schema import Params
from pipeline.records.results import describe_host
from pipeline.report.artifacts import Artifacts, read_artifacts
from pipeline.report.numbers import format_quantity, three_digits
from pipeline.report.section import model_section


def write(layout: Layout, target: Path) -> Sequence[str]:
    """Write the page of a workspace and return what is missing on it.

    Raises:
        InputError: params.yaml is wrong.
        IntegrityError: there is nothing to show.
    """
    params = load_params(layout.params).params
    artifacts = read_artifacts(layout, tuple(params.fleet))
    with new_file(target) as temporary:
        temporary.write_text(render(params, artifacts), encoding="utf-8")
    return artifacts.notes


def render(params: Params, artifacts: Artifacts) -> str:
    """The whole page as HTML; it refers to nothing outside of itself."""
    sections = [model_section(name, params.models[name], artifacts) for name in params.fleet]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quantity=_quantity, milliseconds=_milliseconds, score=_score, percent="{:.1%}".format)
    results = artifacts.results
    return environment.get_template("template.html.jinja").render(
        verdict=artifacts.verdict.verdict if artifacts.verdict else None,
        sections=sections,
        notes=artifacts.notes,
        host=describe_host(results.host) if results else None,
        host_facts=results.host if results else {},
        settings=results.settings if results else {},
    )


def _quantity(value: float | None, unit: str = "bytes") -> str:
    return "-" if value is None else format_quantity(value, unit)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else three_digits(value)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
