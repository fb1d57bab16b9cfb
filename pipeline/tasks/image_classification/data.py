"""Images of the task `image_classification`."""

from pipeline.images import digits, folder, storage
from pipeline.images.storage import ImageInfo
from pipeline.tasks.base import Work
from pipeline.tasks.image_classification.params import ModelParams


def make_data(work: Work[ModelParams]) -> None:
    """The digits of scikit-learn, or the user's own images, prepared as a device prepares them, and split."""
    data = work.params.data
    shares = (data.validation_fraction, data.heldout_fraction)
    about = data.model_dump(include={"input_size", "channels", "fit", "mean", "std"})
    if data.source == "digits":
        images = digits.make_digits(ImageInfo(names=digits.NAMES, **about), *shares, work.seed)
        storage.save(images, work.out, {"source": "digits of scikit-learn"})
    else:
        where = work.root / "data" / "raw" / data.folder
        images, splits = folder.make_folder(where, about, *shares, work.seed)
        storage.save(images, work.out, {"source": data.folder, "splits": splits})
