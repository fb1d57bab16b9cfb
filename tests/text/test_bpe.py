import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.errors import InputError
from pipeline.text import bpe

_TEXTS = [
    "def read(path): return the lines of the file",
    "the reader returns lines; the writer writes them, naïve or not",
    "lines and files and paths and the rest of the readers",
] * 3
_END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=[_END, "<|other|>"], initial_alphabet=alphabet)
    made.train_from_iterator(_TEXTS, trainer)
    return made


@pytest.fixture(scope="module")
def kept(tokenizer: Tokenizer) -> np.ndarray:
    return bpe.trim(tokenizer, bpe.count_tokens(_TEXTS, tokenizer), 280, [_END])


def test_the_trimmed_tokenizer_has_the_size_and_loses_no_text(tokenizer: Tokenizer, kept: np.ndarray) -> None:
    trimmed = bpe.trimmed_tokenizer(tokenizer, kept)
    assert trimmed.get_vocab_size() == len(kept) == 280
    assert trimmed.token_to_id(_END) == 0 and trimmed.token_to_id("<|other|>") is None
    for text in [*_TEXTS, "unseen: ünïcödé \U0001f600\n\ttabs"]:
        assert trimmed.decode(bpe.encode([text], trimmed)[0].tolist()) == text


def test_every_kept_token_can_be_made(tokenizer: Tokenizer, kept: np.ndarray) -> None:
    trimmed = bpe.trimmed_tokenizer(tokenizer, kept)
    for token, index in trimmed.get_vocab().items():
        if token != _END:
            assert [piece.id for piece in trimmed.model.tokenize(token)] == [index]


def test_first_pieces_begin_their_tokens(tokenizer: Tokenizer, kept: np.ndarray) -> None:
    trimmed = bpe.trimmed_tokenizer(tokenizer, kept)
    first = bpe.first_pieces(tokenizer, trimmed)
    for token, index in tokenizer.get_vocab().items():
        if token == "<|other|>":
            assert first[index] == -1
        else:
            assert token.startswith(trimmed.id_to_token(int(first[index])))


def test_a_text_about_a_special_token_means_its_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id(_END) not in bpe.encode([f"ends with {_END}"], tokenizer)[0]


def test_a_vocabulary_that_does_not_hold_the_bytes_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="a vocabulary of 200 does not hold the 257"):
        bpe.trim(tokenizer, np.zeros(330, np.int64), 200, [_END])


def test_a_missing_special_token_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="no special token '<s>'"):
        bpe.trim(tokenizer, np.zeros(330, np.int64), 300, ["<s>"])


def test_another_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="is a WordLevel"):
        bpe.trim(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), np.zeros(1, np.int64), 300, [])
