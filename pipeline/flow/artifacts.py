"""Adds the result of a build to the page of its flow run, as Prefect's artifacts."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from pipeline.layout import Layout
from pipeline.orchestration.pages.aftermath import Ending
from pipeline.orchestration.pages.run_page import links, markdown, stage_rows, tables
from pipeline.orchestration.plan.schedule import StageResult


def show(layout: Layout, ending: Ending, results: Sequence[StageResult], pages: str | None) -> None:
    """Add tables and verdict to the page of the run that this is called in.

    Args:
        layout: of the workspace that was built.
        ending: of the build.
        results: by stage.
        pages: where `pipeline.orchestration.pages.web` serves the workspace; None: links would lead nowhere.
    """
    if rows := stage_rows(results):
        _table("stages", rows, "What was not up to date, and why")
    if ending.verdict is None:
        return
    for title, rows in tables(ending.verdict).items():
        _table(title, rows, f"{title.capitalize()} against the budgets")
    text = markdown(ending.verdict, links(layout, ending.verdict, pages))
    create_markdown_artifact(text, key="verdict", description=f"The gate says {ending.verdict.verdict}")


def _table(title: str, rows: list[dict[str, Any]], description: str) -> None:
    create_table_artifact(rows, key=title, description=description)
