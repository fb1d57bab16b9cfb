"""Images of the task `image_classification`."""

from pathlib import Path

from pipeline.images import digits, folder, storage
from pipeline.images.storage import ImageInfo
from pipeline.tasks.image_classification.params import ModelParams


def make_data(params: ModelParams, seed: int, root: Path, out: Path) -> None:
    """The digits of scikit-learn, or the user's own images, prepared as a device prepares them, and split."""
    data = params.data
    shares = (data.validation_fraction, data.heldout_fraction)
    about = data.model_dump(include={"input_size", "channels", "fit", "mean", "std"})
    if data.source == "digits":
        images = digits.make_digits(ImageInfo(names=digits.NAMES, **about), *shares, seed)
        storage.save(images, out, {"source": "digits of scikit-learn"})
    else:
        images, splits = folder.make_folder(root / "data" / "raw" / data.folder, about, *shares, seed)
        storage.save(images, out, {"source": data.folder, "splits": splits})
