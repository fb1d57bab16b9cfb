"""The task's one place that the stages ask; each verb has its module."""

from collections.abc import Mapping

from pipeline import files
from pipeline.layout import REPORT, TOKENIZER, ModelLayout
from pipeline.tasks.base import Encode
from pipeline.tasks.sentence_embedding import data, judging, serving, teacher, training
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text.tokens import load_tokenizer


class SentenceEmbedding:
    """See `pipeline.tasks.base.Task`."""

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
        return judging.judge(encode, load_tokenizer(paths.quantized / TOKENIZER), params, paths, _longest(params))

    def score(self, encode: Encode, params: ModelParams, paths: ModelLayout) -> float:
        """Fidelity to the teacher on the validation texts."""
        return judging.validation_fidelity(encode, load_tokenizer(paths.quantized / TOKENIZER), paths, _longest(params))

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """As the teacher stage measured it; nothing is more faithful to the teacher than itself."""
        quality: Mapping[str, float] = files.read_json(paths.teacher / REPORT)["quality"]
        return {"fidelity_spearman": 1.0, **quality}


def _longest(params: ModelParams) -> int:
    # As on the device: an export ends at its longest shape, whatever the student could take.
    return min(params.student.max_tokens, max(params.export.lengths))


TASK = SentenceEmbedding()
