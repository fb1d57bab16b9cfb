import numpy as np

from pipeline.compress.tokens.teachers import by_decoder, by_session
from pipeline.engines.decoders import decoder_spec
from pipeline.engines.torch_session import TorchSession

from .conftest import aligned_texts, tiny_decoder


def test_a_session_and_a_batch_in_pytorch_give_the_same_logits() -> None:
    model = tiny_decoder(40)
    texts = sorted(aligned_texts(12), key=lambda one: len(one.teacher))
    tokens, rows = [one.teacher for one in texts], [one.rows[::2] for one in texts]
    session = TorchSession(model, decoder_spec(model.config, tokens=[1], caches=[64]))
    batched, single = list(by_decoder(model)(tokens, rows)), list(by_session(session)(tokens, rows))
    assert [len(one) for one in batched] == [len(one) for one in rows]
    for one, other in zip(batched, single, strict=True):
        assert np.allclose(one, other, atol=1e-4)
