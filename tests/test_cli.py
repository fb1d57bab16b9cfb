"""The `bardlet` command: what it prints, what it imports, and its exit codes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.errors import ExitCode

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "params.yaml"


def imported_by(*arguments: str) -> set[str]:
    """Modules that a `bardlet` call has loaded when it ends."""
    code = f"import sys\nfrom pipeline import cli\ncli.main({list(arguments)!r})\nprint('modules', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_explains_every_subcommand_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == ExitCode.PASS
    shown = " ".join(capsys.readouterr().out.split())
    for name, summary in cli.COMMANDS.items():
        assert f"{name} {summary}" in shown
    assert "1 a budget is missed" in shown


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == ExitCode.PASS
    assert "Usage: bardlet" in capsys.readouterr().out


def test_help_imports_no_subcommand() -> None:
    loaded = {name for name in imported_by("--help") if name.startswith("pipeline.commands.")}
    assert loaded == {"pipeline.commands.app"}


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("chat", "--help")])
def test_a_device_needs_neither_torch_nor_the_schema(arguments: tuple[str, ...]) -> None:
    heavy = {"torch", "dvc", "transformers", "pipeline.params", "ruamel.yaml"}
    assert not heavy & imported_by(*arguments)


DEVICE = """
import sys

# As on a device, where nobody has installed them.
absent = {"psutil", "pydantic", "dvc", "prefect", "torch", "yaml", "typer", "rich"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
import pipeline.runtime, pipeline.commands.run, pipeline.commands.chat, pipeline.cli
sys.exit(pipeline.cli.main(sys.argv[1:]))
"""


def on_a_device(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", DEVICE, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_device_runs_releases_without_the_packages_of_a_build(tmp_path: Path) -> None:
    shown = on_a_device("run", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "usage: bardlet run" in shown.stdout
    missing = on_a_device("run", str(tmp_path / "release"), "text")
    assert missing.returncode == ExitCode.BAD_INPUT
    assert str(tmp_path / "release") in missing.stderr
    assert "not installed" not in missing.stderr


def test_the_packages_of_a_build_are_really_absent_on_that_device() -> None:
    assert "typer is not installed" in on_a_device("build", "--help").stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == ExitCode.PASS
    assert f"usage: bardlet {name}" in capsys.readouterr().out.replace("Usage", "usage")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == ExitCode.PASS
    assert capsys.readouterr().out.startswith("bardlet")


def test_a_misspelt_subcommand_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["vlidate"]) == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert "bardlet: error: No such command 'vlidate'. Did you mean 'validate'?" in error


def test_an_unknown_option_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--fast"]) == ExitCode.BAD_INPUT
    assert "--fast" in capsys.readouterr().err


def test_validate_says_a_line_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--params", str(SHIPPED)]) == ExitCode.PASS
    lines = capsys.readouterr().out.splitlines()
    begins = [
        "bard-chat: ok; causal_lm, the teacher itself, texts of up to ",
        "bard: ok; causal_lm, 4 layers of 192, texts of up to ",
        "docs-embed: ok; sentence_embedding, 2 layers of 160",
    ]
    assert [line.startswith(f"{SHIPPED}: {begin}") for line, begin in zip(lines, begins, strict=True)] == [True] * 3


def test_validate_reports_every_problem_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "params.yaml"
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text(text.replace("ffn_ratio", "ratoi").replace("seed: 7", "seed: -7"), encoding="utf-8")
    assert cli.main(["validate", "--params", str(path)]) == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"bardlet: error: 2 problems in {path}:\n{path}:5: seed: is -7; expected a number >= 0\n")
    assert "did you mean 'ffn_ratio'?" in error
    assert "Traceback" not in error


def test_validate_compares_the_toolchain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace("nncf: ", "nncf: 0."), encoding="utf-8")
    assert cli.main(["validate", "--params", str(path)]) == ExitCode.BAD_INPUT
    assert "toolchain.openvino.nncf: is 0." in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug", "validate"], ["validate", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith(
        "bardlet: error: params.yaml is missing: run this in the folder of dvc.yaml, or name the file\n"
    )


def test_an_argument_after_two_dashes_is_not_taken_for_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--", "--debug"]) == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert "--debug" in error
    assert "Traceback" not in error


@pytest.mark.skipif(shutil.which("head") is None, reason="needs head")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    call = f"{sys.executable} -c 'import sys; from pipeline.cli import main; sys.exit(main())' --help"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {call} | head -c 1 >/dev/null"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
