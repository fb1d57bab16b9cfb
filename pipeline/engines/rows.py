"""Runs a model over many examples, each of which gives one row, or the rows that it asks for."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.spec import Arrays
from pipeline.errors import StageError
from pipeline.progress import track
from pipeline.runtime.session import Session

# A batch and its outputs: indices of the examples, int64 [n], and their rows, float32 [n, d].
Batch = tuple[NDArray[np.int64], NDArray[np.float32]]


@runtime_checkable
class Batching(Protocol):
    """A session that is much faster over many examples at once than one by one; PyTorch is one."""

    def batches(self, examples: Sequence[Arrays]) -> Sequence[NDArray[np.int64]]:
        """Indices of examples that are run together, int64 `[k]` a batch; each example is in one batch."""
        ...

    def run_batch(self, examples: Sequence[Arrays]) -> NDArray[np.float32]:
        """One row an example, float32 `[n, d]`."""
        ...


def rows(session: Session, examples: Sequence[Arrays], label: str, *, one_by_one: bool = False) -> NDArray[np.float32]:
    """Run a session over examples and show how far it is.

    An engine runs them one by one, as a device does. PyTorch runs them in batches, which rounds slightly differently.

    Args:
        session: of any model; one with a state gets a new one for each example.
        examples: inputs of one call each, with a batch of 1.
        label: what is done, for the progress bar and errors: `verify: openvino int8`.
        one_by_one: run PyTorch as a device does, too.

    Returns:
        float32 `[n, d]`: the rows of each example, in the order of the examples.

    Raises:
        StageError: there are no examples, or PyTorch's batches give NaN or infinity, as a failed training does.
    """
    if not examples:
        raise StageError(f"{label}: there are no examples to run the model on")
    is_stateful = session.new_state() is not None
    if isinstance(session, Batching) and not one_by_one and not is_stateful:
        return _batched(session, examples, label)
    tracked = track(examples, total=len(examples), label=label, unit="examples")
    return np.concatenate([session.run(example, session.new_state()) for example in tracked])


def _batched(session: Batching, examples: Sequence[Arrays], label: str) -> NDArray[np.float32]:
    made = list(_run_batches(session, examples, label))
    outputs = np.empty((len(examples), made[0][1].shape[1]), np.float32)
    for indices, batch in made:
        outputs[indices] = batch
    if not np.isfinite(outputs).all():
        count = int((~np.isfinite(outputs)).any(axis=1).sum())
        raise StageError(
            f"{label}: {count} of {len(examples)} outputs hold NaN or infinity: "
            "the model's weights are damaged or its training diverged; a lower learning_rate may help"
        )
    return outputs


def _run_batches(session: Batching, examples: Sequence[Arrays], label: str) -> Iterator[Batch]:
    batches = session.batches(examples)
    for indices in track(batches, total=len(batches), label=label, unit="batches"):
        yield indices, session.run_batch([examples[index] for index in indices])
