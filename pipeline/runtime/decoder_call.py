"""What a decoder's inputs and output are called; `pipeline.engines.decoders` says what they are."""

TOKENS, POSITION, ROWS, LOGITS = "tokens", "position", "rows", "logits"
