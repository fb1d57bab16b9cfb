"""The variations of the training images that teacher and student both see: drawn once, the same in every stage.

View 0 is the images as they are. The teacher runs on every view once, and the student learns from its stored outputs.
So a change of the student does not run the teacher again, and a teacher that can only be called serves too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import StageError
from pipeline.images.augment import Augmentation, draw, vary
from pipeline.images.storage import ImageSet


@dataclass(frozen=True)
class Views:
    """Training images and the amounts by which each view varies each of them.

    Attributes:
        images: uint8 `[n, channels, height, width]`.
        labels: int64 `[n]`.
        amounts: float32 `[views, n, 5]`.
    """

    images: Tensor
    labels: Tensor
    how: Augmentation
    amounts: Tensor

    def __len__(self) -> int:
        return self.amounts.shape[0] * self.amounts.shape[1]

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images float32 `[batch, channels, height, width]` and labels; index `view * n + image` names one."""
        views, rows = (torch.from_numpy(part) for part in np.divmod(indices, len(self.images)))
        return vary(self.images[rows], self.how, self.amounts[views, rows]), self.labels[rows]

    def batches(self, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Endless batches of indices, int64 `[size]`: each pass shuffles the images and takes the next view of all.

        Raises:
            StageError: the images do not fill one batch.
        """
        count, views = len(self.images), len(self.amounts)
        if count < size:
            raise StageError(f"{count} training images do not fill one batch of {size}: lower batch_size")
        rng = np.random.default_rng(seed)
        turn = 0
        while True:
            order = rng.permutation(count) + turn % views * count
            yield from (order[start : start + size] for start in range(0, count - size + 1, size))
            turn += 1


def draw_views(train: ImageSet, how: Augmentation, views: int, seed: int) -> Views:
    """New views of `train`; the same seed gives the same views."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.zeros(len(train), 5), *(draw(len(train), generator) for _ in range(views - 1))]
    return make_views(train, how, torch.stack(drawn))


def make_views(train: ImageSet, how: Augmentation, amounts: Tensor) -> Views:
    """Views whose `amounts`, float32 `[views, n, 5]`, are known."""
    return Views(torch.from_numpy(train.images), torch.from_numpy(train.labels), how, amounts)
