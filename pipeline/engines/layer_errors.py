"""How much noise a reduced precision adds in each layer: the arithmetic that the engines share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.spec import ModelSpec

Values = Mapping[str, NDArray[np.generic]]
EXAMPLES = 16


@dataclass(frozen=True)
class Probe:
    """A layer and the activations around it, by the names under which both models' values are recorded."""

    name: str
    inputs: tuple[str, ...]
    output: str


class NoiseMeter:
    """Adds up signal and noise of activations over examples."""

    def __init__(self) -> None:
        self._signal: dict[str, float] = {}
        self._noise: dict[str, float] = {}

    def add(self, exact: Values, noisy: Values) -> None:
        """Take one example's activations of the fp32 and of the reduced model; names that only one has are skipped."""
        for name in exact.keys() & noisy.keys():
            signal = exact[name].astype(np.float64)
            if signal.shape != noisy[name].shape:
                continue
            noise = noisy[name].astype(np.float64) - signal
            self._signal[name] = self._signal.get(name, 0.0) + float(np.square(signal).sum())
            self._noise[name] = self._noise.get(name, 0.0) + float(np.square(noise).sum())

    def rank(self, probes: Iterable[Probe]) -> list[LayerError]:
        """The layers whose output was recorded, the noisiest first. Probes of one name are one layer."""
        errors: dict[str, float] = {}
        for probe in probes:
            if probe.output in self._noise:
                grown = self._ratio(probe.output) - max((self._ratio(name) for name in probe.inputs), default=0.0)
                errors[probe.name] = max(errors.get(probe.name, 0.0), float(np.sqrt(max(grown, 0.0))))
        ranked = sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))
        return [LayerError(name, error) for name, error in ranked]

    def _ratio(self, name: str) -> float:
        """Squared noise by squared signal; 0 for what was not recorded, such as the model's inputs."""
        return self._noise.get(name, 0.0) / max(self._signal.get(name, 0.0), 1e-30)


def examples(
    spec: ModelSpec, calibration: Calibration, count: int | None = None
) -> list[dict[str, NDArray[np.generic]]]:
    """The first `count` calibration examples (all for None), each a batch of one by input name."""
    names = [tensor.name for tensor in spec.inputs]
    available = len(calibration[names[0]])
    return [
        {name: calibration[name][index : index + 1] for name in names}
        for index in range(available if count is None else min(count, available))
    ]
