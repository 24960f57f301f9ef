"""Read body parts from canonical images: router class, examined region, visible regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.labels import PEDIATRIC_BELOW_YEARS, REGIONS36, ROUTER5
from models.networks import TRUNKS, BodyPartNetwork, standardise
from models.weights_files import SHIPPED, Weights, WeightsUnusable, load_weights

BATCH = 64
ADULT, PEDIATRIC = ROUTER5.index("adult_chest"), ROUTER5.index("pediatric_chest")


@dataclass(frozen=True)
class BodyPartReading:
    """What the network reads in one picture.

    Attributes:
        router5: `abdominal`, `adult_chest`, `pediatric_chest`, `spine` or `others`; always one of them.
        router5_score: its calibrated probability; for a chest whose patient's age is known, that of a chest.
        examined: key of the region examined.
        examined_score: its probability.
        visible: keys of the regions seen, the likeliest first; may be empty.
        confident: False when the calibrated confidence is below the threshold of the card: ask a person.
        age_decided: whether the patient's age, not the picture, told an adult's chest from a child's.
        probabilities: `router5`, `examined36` (five likeliest) and `visible36` (over 0.05) by name.
    """

    router5: str
    router5_score: float
    examined: str
    examined_score: float
    visible: list[str]
    confident: bool
    age_decided: bool
    probabilities: dict[str, dict[str, float]]

    def detail(self) -> dict[str, Any]:
        """The reading without label and score, as JSON."""
        return {
            "examined": self.examined,
            "examined_score": self.examined_score,
            "visible": self.visible,
            "confident": self.confident,
            "age_decided": self.age_decided,
            "probabilities": self.probabilities,
        }


class BodyPartReader:
    """A loaded body-part network.

    Attributes:
        model_id: `body_part-<architecture>-<first 12 of the weights' digest>`.
        architecture: name of the trunk.
        weights_sha256: digest of the weights file.
        card: the model card as JSON, `{}` when none stands beside the weights.
    """

    def __init__(self, weights: Weights) -> None:
        if weights.architecture not in TRUNKS or "trained_regions" not in weights.settings:
            raise WeightsUnusable(
                f"the weights are for {weights.architecture!r}, no body-part network ({', '.join(TRUNKS)}); "
                "pass body_part.pt"
            )
        self.architecture = weights.architecture
        self.weights_sha256 = weights.sha256
        self.model_id = f"body_part-{self.architecture}-{weights.sha256[:12]}"
        self.card = weights.card
        self.settings = weights.settings
        self._side = int(weights.settings["side"])
        calibration = weights.settings.get("calibration", {})
        self._temperatures = {
            name: float(calibration.get(f"{name}_temperature", 1.0)) for name in ("router5", "examined36")
        }
        self._visible_threshold = float(calibration.get("visible_threshold", 0.5))
        self._confident_above = float(calibration.get("confident_above", 0.5))
        self._trained = torch.tensor([region in weights.settings["trained_regions"] for region in REGIONS36])
        self._network = BodyPartNetwork(self.architecture)
        weights.put_into(self._network)
        self._network.eval()

    @classmethod
    def load(cls, weights: Path | None = None) -> Self:
        """Load a weights file, by default the one that ships with the project.

        Raises:
            WeightsUnusable: missing, damaged or foreign weights.
        """
        return cls(load_weights(SHIPPED / "body_part.pt" if weights is None else weights))

    def read(self, images: list[NDArray[np.uint8]], ages: list[float | None] | None = None) -> list[BodyPartReading]:
        """Read pictures in order, in batches.

        Args:
            images: canonical images, uint8 `(512, 512)`.
            ages: patient ages in years where known; under 15 a chest is a child's.
        """
        ages = [None] * len(images) if ages is None else ages
        if len(ages) != len(images):
            raise ValueError(f"{len(images)} images but {len(ages)} ages")
        readings: list[BodyPartReading] = []
        for start in range(0, len(images), BATCH):
            chosen = images[start : start + BATCH]
            logits = self.logits(np.stack(chosen))
            readings += self._interpret(logits, ages[start : start + BATCH])
        return readings

    def logits(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Raw outputs by head for `(n, 512, 512)` (or any square) pictures."""
        with torch.inference_mode():
            pictures = torch.from_numpy(images)[:, None].float() / 255
            small = torch.nn.functional.interpolate(
                pictures, size=(self._side, self._side), mode="bilinear", antialias=True, align_corners=False
            )
            outputs: dict[str, Tensor] = self._network(standardise(small))
        return outputs

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Calibrated probabilities by head; regions without training data have none."""
        router = torch.softmax(logits["router5"] / self._temperatures["router5"], 1)
        masked = logits["examined36"].masked_fill(~self._trained, -1e4) / self._temperatures["examined36"]
        visible = torch.sigmoid(logits["visible36"]) * self._trained
        return {"router5": router.numpy(), "examined36": torch.softmax(masked, 1).numpy(), "visible36": visible.numpy()}

    def _interpret(self, logits: dict[str, Tensor], ages: list[float | None]) -> list[BodyPartReading]:
        by_head = self.probabilities(logits)
        readings = []
        for router, examined, visible, age in zip(
            by_head["router5"], by_head["examined36"], by_head["visible36"], ages, strict=True
        ):
            label, score, by_age = decide_router5(router, age)
            best = int(examined.argmax())
            seen = [int(i) for i in np.argsort(-visible) if visible[i] >= self._visible_threshold]
            readings.append(
                BodyPartReading(
                    router5=ROUTER5[label],
                    router5_score=score,
                    examined=REGIONS36[best],
                    examined_score=float(examined[best]),
                    visible=[REGIONS36[i] for i in seen],
                    confident=score >= self._confident_above,
                    age_decided=by_age,
                    probabilities={
                        "router5": _named(ROUTER5, router, range(len(ROUTER5))),
                        "examined36": _named(REGIONS36, examined, np.argsort(-examined)[:5]),
                        "visible36": _named(REGIONS36, visible, np.flatnonzero(visible > 0.05)),
                    },
                )
            )
        return readings


def decide_router5(router: NDArray[np.float32], age: float | None) -> tuple[int, float, bool]:
    """Class index, score and whether age decided: chests compete as one, then age or the picture tells whose it is."""
    chest = float(router[ADULT] + router[PEDIATRIC])
    rest = [i for i in range(len(ROUTER5)) if i not in (ADULT, PEDIATRIC)]
    best = max(rest, key=lambda i: float(router[i]))
    if float(router[best]) >= chest:
        return best, float(router[best]), False
    if age is not None:
        return (PEDIATRIC if age < PEDIATRIC_BELOW_YEARS else ADULT), chest, True
    label = PEDIATRIC if router[PEDIATRIC] > router[ADULT] else ADULT
    return label, float(router[label]), False


def _named(names: tuple[str, ...], values: NDArray[np.float32], chosen: Any) -> dict[str, float]:
    return {names[int(i)]: round(float(values[int(i)]), 4) for i in chosen}
