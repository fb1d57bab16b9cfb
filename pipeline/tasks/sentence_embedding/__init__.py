"""Task `sentence-embedding`: texts in, unit-length vectors out; a student learns the teacher's vectors."""

from collections.abc import Mapping

from pipeline import files
from pipeline.corpus.tokens import load_tokenizer
from pipeline.layout import REPORT, TOKENIZER, ModelLayout
from pipeline.params import ModelParams
from pipeline.tasks.base import Encode
from pipeline.tasks.sentence_embedding import data, judging, serving, teacher, training


class SentenceEmbedding:
    """See `pipeline.tasks.base.Task`; each verb has its module."""

    make_data = staticmethod(data.make_data)
    run_teacher = staticmethod(teacher.run_teacher)
    load_teacher_module = staticmethod(teacher.load_teacher_module)
    distill = staticmethod(training.distill)
    prune = staticmethod(training.prune)
    quantize = staticmethod(training.quantize)
    model_spec = staticmethod(serving.model_spec)
    teacher_spec = staticmethod(serving.teacher_spec)
    comparison_inputs = staticmethod(serving.comparison_inputs)
    cases = staticmethod(serving.cases)

    def evaluate(self, encode: Encode, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
        """Fidelity to the teacher on held-out sentences, and recall on the retrieval pairs."""
        tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
        # As on the device: an export ends at its longest shape, whatever the student could take.
        longest = min(params.student.max_tokens, max(params.export.lengths))
        return judging.judge(encode, tokenizer, params, paths, longest)

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """As the teacher stage measured it."""
        quality: Mapping[str, float] = files.read_json(paths.teacher / REPORT)["quality"]
        return quality
