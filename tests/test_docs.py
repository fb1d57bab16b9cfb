"""What is not documented does not exist: every key of params.yaml and every subcommand with its options."""

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from ruamel.yaml import YAML

from pipeline import cli
from pipeline.commands import app
from pipeline.layout import LADDER, Engine
from pipeline.params import tasks
from pipeline.params.blocks import ModelParams
from pipeline.params.schema import Params

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `(?P<key>[^`]+)` \| (?P<meaning>[^|]+) \| (?P<unit>[^|]+) \|(?P<shipped>[^|]*)\|")
HEADING = re.compile(r"^## (?:`(?P<block>[^`]+)`(?: \((?P<task>[a-z_]+)\))?|Top level)$")
# Whose values the column `Shipped` shows, by the task that a heading names; without one they are those of the first.
SHIPPED = {
    "": "docs-embed",
    "sentence_embedding": "docs-embed",
    "image_classification": "digits-mobilenet",
    "causal_lm": "bard",
}
NAMES = {
    "fleet.": "<model>",
    "models.": "<model>",
    "models.<model>.verify.tolerances.": "<variant>",
    "models.<model>.student.options.": "<option>",
    "models.<model>.teacher.train.options.": "<option>",
    "models.<model>.budgets.cases.": "<case>",
    **{f"models.<model>.budgets.{engine}.p95_ms.": "<case>" for engine in Engine},
}
# Keys of several blocks that one table describes.
SHARED = {
    rf"\.budgets\.({'|'.join(Engine)})\.": ".budgets.<engine>.",
    r"\.budgets\.cases\.<case>\.": ".budgets.case.",
    rf"\.ladder\.({'|'.join(LADDER)})\.": ".ladder.<step>.",
}

Key = tuple[str, str]  # task, or nothing for what all have; dotted name


def schema_keys(annotation: Any, model: type[ModelParams], prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys that a params.py declares; `<model>` and the like for names that users choose."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is ModelParams:
        annotation = model
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield f"{prefix}{name}"
            yield from schema_keys(field.annotation, model, f"{prefix}{name}.")
    elif get_origin(annotation) is Mapping:
        if prefix == "toolchain.":
            yield from (f"toolchain.{group}" for group in get_args(get_args(annotation)[0]))
        else:
            assert prefix in NAMES, f"say in this test what the keys of {prefix} are called"
            yield from schema_keys(get_args(annotation)[1], model, f"{prefix}{NAMES[prefix]}.")
    elif get_origin(annotation) is tuple:
        yield from schema_keys(get_args(annotation)[0], model, f"{prefix.removesuffix('.')}[].")
    else:
        for member in get_args(annotation):
            if isinstance(member, type) or get_args(member):
                yield from schema_keys(member, model, prefix)


def keys_of(task: str) -> set[str]:
    """The keys of a params.yaml whose models have this task, as the headings of the tables name them."""
    return {
        reduce(lambda name, shared: re.sub(*shared, name), SHARED.items(), key)
        for key in schema_keys(Params, tasks.params_of(task))
    }


def documented() -> dict[Key, str]:
    """Key to what the column `Shipped` says."""
    found: dict[Key, str] = {}
    prefix = task = ""
    for line in (ROOT / "docs" / "params.md").read_text(encoding="utf-8").splitlines():
        if heading := HEADING.match(line):
            prefix = f"{heading['block']}." if heading["block"] else ""
            task = heading["task"] or ""
        elif row := ROW.match(line):
            found[task, prefix + row["key"]] = row["shipped"].strip()
    return found


@pytest.mark.parametrize("task", tasks.names())
def test_every_key_of_the_schema_is_documented(task: str) -> None:
    described = {key for owner, key in documented() if owner in ("", task)}
    assert not keys_of(task) - described, f"docs/params.md lacks {sorted(keys_of(task) - described)}"


def test_no_key_is_documented_that_the_schema_lacks() -> None:
    schemas = {task: keys_of(task) for task in tasks.names()}
    everywhere = set().union(*schemas.values())
    assert not [(owner, key) for owner, key in documented() if key not in schemas.get(owner, everywhere)]


def test_documented_values_are_the_shipped_ones() -> None:
    yaml = YAML(typ="safe", pure=True)
    shipped = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    stale = {}
    for (task, key), cell in documented().items():
        if cell:
            value: Any = shipped
            for part in key.replace("<model>", SHIPPED[task]).replace("<step>", "int8").split("."):
                value = value[part]
            if yaml.load(cell.strip("`")) != value:
                stale[key] = f"docs/params.md has {cell}, params.yaml {value}"
    assert not stale


def test_single_values_are_documented_with_what_is_shipped() -> None:
    blocks = {
        "toolchain",
        "models",
        "benchmark",
        "models.<model>.data.augment",
        "models.<model>.teacher.train",
        "models.<model>.teacher.label",
    }
    ends = {"case", "cases", "quality", "tolerances", "ladder", *LADDER, "sha256", *Engine}
    bare = [
        key
        for (_, key), cell in documented().items()
        if not cell and key not in blocks
        and not re.search(r"toolchain\.|sources|<variant>|<engine>|^models\.<model>\.[a-z]+$", key)
        and key.rpartition(".")[2] not in ends
        and not re.search(r"\.int4_\w+$", key)  # the models whose values are shown have no int4
        and not re.search(r"\.budgets\.case\.(tokens|before)$", key)  # those have several cases
    ]  # fmt: skip
    assert not bare


def section(command: str) -> str:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    match = re.search(rf"^## `bardlet {command}`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"docs/cli.md has no section '## `bardlet {command}`'"
    return match[1]


def build_options(command: str) -> list[str]:
    typer_app = typer.Typer(add_completion=False)
    typer_app.command(command)(app.load(command))
    names = []
    for parameter in typer.main.get_command(typer_app).params:
        options = [name for name in parameter.opts if name.startswith("--")]
        names += options or [(parameter.metavar or parameter.name or "").upper()]
    return [name for name in names if name != "--help"]


def device_options(command: str) -> list[str]:
    parser = import_module(f"pipeline.commands.{command}").parser()
    names = [action.option_strings[-1] if action.option_strings else action.metavar for action in parser._actions]
    return [name for name in names if name != "--help"]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_subcommand_is_documented_with_its_options(command: str) -> None:
    text = section(command)
    names = device_options(command) if command in cli.ON_A_DEVICE else build_options(command)
    missing = [name for name in names if name.strip("[].") not in text]
    assert not missing, f"docs/cli.md, section {command}, lacks {missing}"


def test_no_subcommand_is_documented_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## `bardlet ([a-z]+)`$", text, re.MULTILINE)) == set(cli.COMMANDS)
