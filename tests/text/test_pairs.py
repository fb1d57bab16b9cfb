from pathlib import Path

from tokenizers import Tokenizer

from pipeline.text.pairs import passage_pairs


def test_the_first_sentence_is_the_query_and_the_rest_the_document(minilm: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    text = "Return the mean. It is taken over all of the axes that the caller has named."
    pairs = passage_pairs(
        [text, "One sentence gives no pair at all.", "Too short. Just four more words."], tokenizer, 64
    )
    assert len(pairs) == 1
    assert tokenizer.decode(pairs.queries.ids.tolist()) == "return the mean."
    assert tokenizer.decode(pairs.documents.ids.tolist()).startswith("it is taken over all")
