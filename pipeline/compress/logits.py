"""Losses of an image student against its teacher's logits and feature maps, and against the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LogitsLoss:
    """Divergence from the teacher's softened distribution, and cross-entropy with the labels (arXiv:1503.02531).

    Attributes:
        temperature: of both softmaxes in the first term, which is multiplied by its square so that the gradients keep
            their size whatever the temperature (section 2 of the paper).
        teacher_weight: weight of the first term, 0 to 1; the second has the rest.
        label_smoothing: share of a label's probability that is spread over all classes (arXiv:1512.00567, section 7).
    """

    temperature: float
    teacher_weight: float
    label_smoothing: float

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """A scalar for logits float32 `[batch, classes]` each, and labels int64 `[batch]`."""
        return self.teacher_weight * softened_divergence(student, teacher, self.temperature) + (
            1.0 - self.teacher_weight
        ) * functional.cross_entropy(student, labels, label_smoothing=self.label_smoothing)


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of the softmaxes at `temperature`, teacher to student, times its square; mean over the batch.

    Args:
        student: logits, float32 `[batch, classes]`.
        teacher: the same, without gradient.
    """
    given, wanted = (functional.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return functional.kl_div(given, wanted, log_target=True, reduction="batchmean") * temperature**2


def pairs_of_one_size(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Feature maps of the same height and width, above 1 x 1 (which has no attention); channels may differ.

    Args:
        student: maps float32 `[batch, channels, height, width]`, at most one of each size.
        teacher: the same.
    """
    by_size = {features.shape[2:]: features for features in teacher}
    return [(mine, by_size[mine.shape[2:]]) for mine in student if mine.shape[2:] in by_size and mine[0, 0].numel() > 1]


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Squared distance of the attention maps of all pairs of one size (arXiv:1612.03928, section 3.1); a scalar.

    A map of attention is the mean square over the channels, scaled to unit length over the places. So architectures of
    any widths can be compared, without layers that exist for training alone.

    Args:
        student: maps float32 `[batch, channels, height, width]`, at most one of each size; at least one.
        teacher: the same, without gradient.

    Returns:
        Mean over the pairs and the batch, between 0 and 2; 0 where no two maps have the same size.
    """
    losses = [
        (attention(mine) - attention(theirs)).square().sum(dim=1).mean()
        for mine, theirs in pairs_of_one_size(student, teacher)
    ]
    return sum(losses[1:], losses[0]) / len(losses) if losses else student[0].new_zeros(())


def attention(features: Tensor) -> Tensor:
    """Where a feature map is strong: `[batch, channels, height, width]` to unit-length rows `[batch, places]`."""
    return functional.normalize(features.square().mean(dim=1).flatten(1), dim=1)
