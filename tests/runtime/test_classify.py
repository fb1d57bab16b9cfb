"""Releases that take images."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import cli
from pipeline.runtime import Release
from pipeline.runtime.errors import EngineError, RuntimeInputError, TamperedError
from pipeline.runtime.session import ENGINES
from tests.runtime import tiny_images as tiny

IMPORT_NAMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a classifier; do not change it."""
    return tiny.write_release(tmp_path_factory.mktemp("images") / "release")


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """A grayscale PNG of each class."""
    paths = [tmp_path / f"{label}.png" for label in tiny.LABELS]
    for label, path in zip(tiny.LABELS, paths, strict=True):
        Image.fromarray(tiny.picture(label)).save(path)
    return [str(path) for path in paths]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_ranks_the_classes_of_files_and_arrays(engine: str, folder: Path, pictures: list[str]) -> None:
    release = Release.open(folder, engine, threads=1)
    arrays = [tiny.picture(label) for label in tiny.LABELS]
    found = release.classify(arrays)
    assert [guesses[0].label for guesses in found] == list(tiny.LABELS)
    assert release.classify(pictures) == release.classify([Path(path) for path in pictures]) == found
    logits = tiny.expected(np.stack([tiny.HOW.prepare(array) for array in arrays]))
    np.testing.assert_allclose(release.logits(arrays), logits, atol=1e-4)
    np.testing.assert_allclose(release.logits(arrays, batch=3), release.logits(arrays), atol=1e-4)
    for guesses in found:
        shares = [share for _, share in guesses]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        assert {label for label, _ in guesses} == set(tiny.LABELS)


def test_top_cuts_and_equals_keep_the_order_of_the_classes(folder: Path) -> None:
    release = Release.open(folder, "onnxruntime")
    (guesses,) = release.classify([np.zeros((4, 4), np.uint8)])
    assert [label for label, _ in guesses] == ["dark", "top", "bottom"]
    assert guesses[0].probability == pytest.approx(np.e / (np.e + 2))
    assert release.classify([np.zeros((4, 4), np.uint8)], top=1) == [guesses[:1]]
    assert release.classify([]) == []


def test_colours_and_size_do_not_matter_to_the_caller(folder: Path) -> None:
    release = Release.open(folder, "onnxruntime")
    gray = tiny.picture("bottom", 40, 60)
    colours = np.repeat(gray[..., None], 3, axis=2)
    assert release.classify([gray]) == release.classify([colours]) == release.classify([gray[..., None]])
    assert release.classify(np.stack([colours, colours]))[1][0].label == "bottom"


@pytest.mark.parametrize(
    "images", ["one.png", Path("one.png"), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)]
)
def test_one_image_is_no_list(images: Any, folder: Path) -> None:
    with pytest.raises(RuntimeInputError, match=r"write classify\(\[image\]\)"):
        Release.open(folder, "onnxruntime").classify(images)


def test_all_images_that_cannot_be_used_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    images: list[Any] = [
        tmp_path / "text.png",
        tmp_path / "missing.png",
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        3,
    ]
    with pytest.raises(RuntimeInputError) as caught:
        Release.open(folder, "onnxruntime").classify(images)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/text.png: it is no PNG or JPEG image",
        f"{tmp_path}/missing.png: no such file",
        "image 2: an image must be a path or a uint8 array with values 0 to 255, and this is an array of float64",
        "image 3: an image has shape [4, 4, 2]: [h, w], [h, w, 1] or [h, w, 3] is needed",
        "image 4: an image must be a path or a uint8 array with values 0 to 255, and this is int",
    ]


def test_a_verb_is_not_mistaken_for_another(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeInputError, match=r"does not encode texts: it is there to classify \(image_classification"
    ):
        Release.open(folder, "onnxruntime").encode(["a text"])
    other = tiny.write_release(tmp_path / "other", verb="transcribe", task="speech")
    with pytest.raises(RuntimeInputError, match=r"is there to transcribe, and this runtime knows .* and generate"):
        Release.open(other)


def test_a_tokenizer_does_not_make_it_a_release_for_texts(tmp_path: Path) -> None:
    folder = tiny.write_release(tmp_path / "release", tokenizer="tokenizer.json", dim=12, max_tokens=16)
    assert Release.open(folder, "onnxruntime").classify([tiny.picture("top")])[0][0].label == "top"


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_release(tmp_path / "release")
    _rewrite(folder, labels=["one", "two"])
    with pytest.raises(EngineError, match=r"returned shape \(1, 3\), expected \(1, 2\)"):
        Release.open(folder, "onnxruntime").classify([tiny.picture("top")])


def test_a_preprocessing_that_is_changed_or_unknown_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_release(tmp_path / "release")
    (folder / "preprocessing.json").write_text("{}")
    with pytest.raises(TamperedError, match=r"preprocessing\.json has 2 bytes, the manifest says"):
        Release.open(folder, "onnxruntime")
    for changes in ({"resampling": "nearest"}, {"fit": "pad"}, {"channels": 4}, {"height": 0}, {"labels": 3}):
        _rewrite(folder, **changes)
        with pytest.raises(TamperedError, match=r"preprocessing\.json is damaged"):
            Release.open(folder, "onnxruntime")


def test_the_command_writes_a_json_line_an_image(
    folder: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(folder), *pictures, "--top", "2", "--engine", "tflite"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == pictures
    assert [[set(c) for c in line["classes"]] for line in lines] == [[{"class", "probability"}] * 2] * 3
    assert [line["classes"][0]["class"] for line in lines] == list(tiny.LABELS)


def test_the_command_ends_with_2_for_images_that_cannot_be_used(
    folder: Path, pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(folder), pictures[0], str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert f"{tmp_path}: Is a directory" in captured.err
    assert captured.out == ""
    (tmp_path / "corpus.txt").write_text("a line\n")
    assert cli.main(["run", str(folder), pictures[0], "--corpus", str(tmp_path / "corpus.txt")]) == 2
    assert "leave --corpus out" in capsys.readouterr().err


def _run(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_need_numpy_and_one_engine_only(engine: str, folder: Path) -> None:
    loaded = _run(
        "import sys, numpy; from pipeline.runtime import Release; "
        f"Release.open({str(folder)!r}, {engine!r}).classify([numpy.zeros((9, 7, 3), 'uint8')]); print(*sys.modules)"
    )
    others = set(IMPORT_NAMES.values()) - {IMPORT_NAMES[engine]}
    assert not loaded & {"PIL", "tokenizers", "torch", "pydantic", "dvc", "yaml", "typer", "sklearn", "scipy", *others}
    assert all(name.startswith("pipeline.runtime") for name in loaded if name.startswith("pipeline."))


def test_a_device_without_pillow_is_told_what_to_install(folder: Path, pictures: list[str]) -> None:
    code = (
        "import sys; sys.modules['PIL'] = None; from pipeline.runtime import Release\n"
        f"try: Release.open({str(folder)!r}, 'onnxruntime').classify([{pictures[0]!r}])\n"
        "except Exception as error: print(error.exit_code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"5 reading {pictures[0]} needs PIL, which is not installed: pip install pillow")


def _rewrite(folder: Path, **changes: Any) -> None:
    """Change preprocessing.json, and its checksum with it."""
    path = folder / "preprocessing.json"
    path.write_text(json.dumps(tiny.HOW.as_json() | changes))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {path.name: tiny.describe(path)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
