"""The task's one place that the stages ask; each verb has its module."""

from collections.abc import Mapping

from pipeline import files
from pipeline.layout import REPORT, ModelLayout
from pipeline.tasks.base import Encode
from pipeline.tasks.image_classification import data, judging, serving, teacher, training
from pipeline.tasks.image_classification.params import ModelParams


class ImageClassification:
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
        """Accuracy on the held-out images, and agreement with the teacher."""
        return judging.judge(encode, paths)

    def score(self, encode: Encode, params: ModelParams, paths: ModelLayout) -> float:
        """Accuracy on validation and training images."""
        return judging.score(encode, paths)

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """As the teacher stage measured it."""
        quality: Mapping[str, float] = files.read_json(paths.teacher / REPORT)["quality"]
        return quality


TASK = ImageClassification()
