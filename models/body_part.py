"""Read body parts from canonical images: router class, examined and visible regions, view, orientation and more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import device as devices
from models.framing import SIZE
from models.labels import PEDIATRIC_BELOW_YEARS, REGIONS36, ROUTER5, ROUTER5_OF_REGION, UPRIGHT_REGIONS, VIEWS
from models.networks import TRUNKS, BodyPartNetwork, for_inference, standardise
from models.weights_files import SHIPPED, Weights, WeightsUnusable, load_weights

PIECE = 8  # pictures that one thread of a CPU reads at once: their features stay in its cache
ADULT, PEDIATRIC = ROUTER5.index("adult_chest"), ROUTER5.index("pediatric_chest")
CHEST = REGIONS36.index("CHEST")
UNKNOWN = "unknown"
"""Label of a picture whose reading is not confident enough to be one of the five classes."""
SOFTMAX_HEADS = ("router5", "examined36", "view", "orientation")
BINARY_HEADS = ("inverted", "mirrored", "pediatric")
FEATURES = "features"
"""Pooled features beside the heads' outputs: what neighbours are found by."""


@dataclass(frozen=True)
class Answer:
    """What a head says: its answer, the calibrated probability of it, and whether that suffices to rely on it."""

    value: str | int | bool
    score: float
    confident: bool


@dataclass(frozen=True)
class BodyPartReading:
    """What the network reads in one picture.

    Attributes:
        router5: `abdominal`, `adult_chest`, `pediatric_chest`, `spine` or `others`; the likeliest, however unsure.
        router5_score: its calibrated probability; for a chest whose patient's age is known, that of a chest.
        examined: key of the region examined.
        examined_score: its probability.
        examined_confident: whether that is above the threshold of the card.
        visible: keys of the regions seen, the likeliest first; the examined one where no other is.
        confident: False when the calibrated confidence is below the threshold of the card, or when regions by
            themselves imply another router class: ask a person.
        agrees: whether the router class is the one that regions imply by themselves.
        age_decided: whether the patient's age, not the picture, told an adult's chest from a child's.
        view: `AP`, `PA` or `LATERAL`.
        orientation: degrees clockwise from upright, 0, 90, 180 or 270; None for regions without an upright.
        inverted: whether bone is dark.
        mirrored: whether the heart lies right, on a frontal chest; None for every other picture. Not a laterality.
        pediatric: whether the patient is a child; None when the picture is no chest, for then it was never learnt.
        probabilities: `router5`, `examined36` (five likeliest) and `visible36` (over 0.05) by name.
    """

    router5: str
    router5_score: float
    examined: str
    examined_score: float
    examined_confident: bool
    visible: list[str]
    confident: bool
    agrees: bool
    age_decided: bool
    view: Answer
    orientation: Answer | None
    inverted: Answer
    mirrored: Answer | None
    pediatric: Answer | None
    probabilities: dict[str, dict[str, float]]

    @property
    def label(self) -> str:
        """The router class, or `unknown` rather than one that is forced."""
        return self.router5 if self.confident else UNKNOWN

    def detail(self) -> dict[str, Any]:
        """The reading without label and score, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "router5_score"}


class BodyPartReader:
    """A loaded body-part network.

    Attributes:
        model_id: `body_part-<architecture>-<first 12 of the weights' digest>`.
        architecture: name of the trunk.
        weights_sha256: digest of the weights file.
        card: the model card as JSON, `{}` when none stands beside the weights.
        channels: width of the pooled features.
        precision: in which the network multiplies.
        side: of the pictures that it is shown, pixels.
    """

    side = SIZE

    def __init__(self, weights: Weights, device: torch.device | str = "cpu", precision: str = "auto") -> None:
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
        self.device = torch.device(device)
        self.batch = devices.batch_size(self.device)
        self.precision = devices.precision(self.device, precision)
        self._side = int(weights.settings["side"])
        calibration = weights.settings.get("calibration", {})
        self._temperature = {name: float(calibration.get("temperature", {}).get(name, 1)) for name in SOFTMAX_HEADS}
        biases = calibration.get("bias", {})
        self._bias = {name: torch.tensor(biases.get(name, 0.0)) for name in SOFTMAX_HEADS}
        self._confident_above = {
            name: float(calibration.get("confident_above", {}).get(name, 0.5))
            for name in (*SOFTMAX_HEADS, *BINARY_HEADS)
        }
        self._visible_threshold = float(calibration.get("visible_threshold", 0.5))
        self._trained = torch.tensor([region in weights.settings["trained_regions"] for region in REGIONS36])
        self._network = BodyPartNetwork(self.architecture)
        self.channels = int(self._network.heads["router5"].in_features)
        weights.put_into(self._network)
        for_inference(self._network).to(self.device)
        # A thread for each piece, not many for each layer: the layers are too small to be shared, and threads that
        # wait for each other at every one of them are slower than one alone where the cores have other work too.
        threads = torch.get_num_threads()
        self._pool = (
            ThreadPoolExecutor(threads, "body_part", torch.set_num_threads, (1,))
            if threads > 1 and self.device.type == "cpu"
            else None
        )
        self._in_batches = devices.InBatches(self._pieces, self.batch, fixed=self.device.type == "cuda")

    @classmethod
    def load(cls, weights: Path | None = None, device: torch.device | str = "cpu", precision: str = "auto") -> Self:
        """Load a weights file, by default the one that ships with the project.

        Raises:
            WeightsUnusable: missing, damaged or foreign weights.
        """
        return cls(load_weights(SHIPPED / "body_part.pt" if weights is None else weights), device, precision)

    def read(
        self, images: list[NDArray[np.uint8]] | NDArray[np.uint8], ages: list[float | None] | None = None
    ) -> list[BodyPartReading]:
        """Read pictures in order, in batches.

        Args:
            images: canonical images, uint8 `(512, 512)`, or all of them in one array.
            ages: patient ages in years where known; under 15 a chest is a child's.
        """
        return self.read_with_features(images, ages)[0]

    def read_with_features(
        self, images: list[NDArray[np.uint8]] | NDArray[np.uint8], ages: list[float | None] | None = None
    ) -> tuple[list[BodyPartReading], NDArray[np.float32]]:
        """The same, with the pooled features of each picture, `(n, channels)`."""
        ages = [None] * len(images) if ages is None else ages
        if len(ages) != len(images):
            raise ValueError(f"{len(images)} images but {len(ages)} ages")
        readings: list[BodyPartReading] = []
        features = [np.zeros((0, self.channels), np.float32)]
        for start in range(0, len(images), self.batch):
            outputs = self._in_batches(np.asarray(images[start : start + self.batch]))
            features.append(outputs.pop(FEATURES).numpy())
            readings += self.interpret(outputs, ages[start : start + self.batch])
        return readings, np.concatenate(features)

    def interpret(self, logits: dict[str, Tensor], ages: list[float | None]) -> list[BodyPartReading]:
        """Readings from raw outputs, in order."""
        by_head = self.probabilities(logits)
        return [
            self._interpret({name: values[row] for name, values in by_head.items()}, age)
            for row, age in enumerate(ages)
        ]

    def logits(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Raw outputs by head for `(n, 512, 512)` (or any square) pictures.

        Raises:
            DeviceUnusable: the GPU's memory does not suffice for one picture.
        """
        return {name: output for name, output in self._in_batches(images).items() if name != FEATURES}

    def _pieces(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        piece = PIECE if self.device.type == "cpu" else len(images)
        pieces = [images[start : start + piece] for start in range(0, len(images), piece)]
        parts = list((self._pool.map if self._pool else map)(self._forward, pieces))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _forward(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        with torch.inference_mode():
            pictures = torch.from_numpy(images).to(self.device, non_blocking=True)[:, None]
            if self.device.type != "cpu":  # which alone brings whole numbers to another size, in half the time
                pictures = pictures.float()
            small = torch.nn.functional.interpolate(
                pictures, size=(self._side, self._side), mode="bilinear", antialias=True, align_corners=False
            )
            small = small.float() / 255
            inputs = standardise(small).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                features = self._network.features(inputs)
                outputs = {name: head(features) for name, head in self._network.heads.items()} | {FEATURES: features}
            return {name: logits.float().cpu() for name, logits in outputs.items()}

    def all_logits(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Raw outputs by head for many pictures, in batches."""
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for start in range(0, len(images), self.batch):
            for name, logits in self.logits(images[start : start + self.batch]).items():
                parts.setdefault(name, []).append(logits.numpy())
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Calibrated probabilities by head; regions without training data have none.

        `examined36` is brought to agree with `router5` (`in_groups_of`); `implied` is what it said of the groups alone.
        """
        logits = logits | {"examined36": logits["examined36"].masked_fill(~self._trained, -1e4)}
        found = {
            name: torch.softmax(logits[name] / self._temperature[name] + self._bias[name], 1) for name in SOFTMAX_HEADS
        }
        found |= {name: torch.sigmoid(logits[name]) for name in ("visible36", *BINARY_HEADS)}
        found["visible36"] = found["visible36"] * self._trained
        found["implied"] = found["examined36"] @ GROUP_OF_REGION
        found["examined36"] = in_groups_of(found["router5"], found["examined36"])
        return {name: tensor.numpy() for name, tensor in found.items()}

    def _interpret(self, by_head: dict[str, NDArray[np.float32]], age: float | None) -> BodyPartReading:
        router, examined, visible = by_head["router5"], by_head["examined36"], by_head["visible36"]
        label, score, by_age = decide_router5(router, age)
        best = int(examined.argmax())
        agrees = _group(ROUTER5[label]) == GROUPS[int(by_head["implied"].argmax())]
        view = self._answer("view", VIEWS[int(by_head["view"].argmax())], by_head["view"].max())
        chest = best == CHEST
        turned = by_head["orientation"]
        return BodyPartReading(
            router5=ROUTER5[label],
            router5_score=score,
            examined=REGIONS36[best],
            examined_score=float(examined[best]),
            examined_confident=float(examined[best]) >= self._confident_above["examined36"],
            visible=self._seen(visible, best),
            confident=score >= self._confident_above["router5"] and agrees,
            agrees=agrees,
            age_decided=by_age,
            view=view,
            orientation=self._answer("orientation", 90 * int(turned.argmax()), turned.max())
            if REGIONS36[best] in UPRIGHT_REGIONS
            else None,
            inverted=self._binary("inverted", by_head),
            mirrored=self._binary("mirrored", by_head) if chest and view.value != "LATERAL" else None,
            pediatric=self._binary("pediatric", by_head) if chest else None,
            probabilities={
                "router5": _named(ROUTER5, router, range(len(ROUTER5))),
                "examined36": _named(REGIONS36, examined, np.argsort(-examined)[:5]),
                "visible36": _named(REGIONS36, visible, np.flatnonzero(visible > 0.05)),
            },
        )

    def _seen(self, visible: NDArray[np.float32], examined: int) -> list[str]:
        """Regions over the threshold; the examined one when there is none, for what is examined is seen."""
        seen = [REGIONS36[int(i)] for i in np.argsort(-visible) if visible[i] >= self._visible_threshold]
        return seen or ([] if REGIONS36[examined] == "SPINE" else [REGIONS36[examined]])

    def _answer(self, head: str, value: str | int | bool, score: Any) -> Answer:
        return Answer(value, round(float(score), 4), float(score) >= self._confident_above[head])

    def _binary(self, head: str, by_head: dict[str, NDArray[np.float32]]) -> Answer:
        probability = float(by_head[head][0])
        return self._answer(head, probability >= 0.5, max(probability, 1 - probability))


def _group(router5: str) -> str:
    """Router classes that no region tells apart are one: a child's chest is a chest."""
    return "adult_chest" if router5 == "pediatric_chest" else router5


GROUPS = tuple(dict.fromkeys(_group(name) for name in ROUTER5))
"""Router classes that regions tell apart."""
GROUP_OF_REGION = torch.tensor(
    [[float(ROUTER5_OF_REGION.get(region, "others") == group) for group in GROUPS] for region in REGIONS36]
)
"""1 where a region `(36,)` belongs to a group `(4,)`."""


GROUP_OF_CLASS = torch.tensor([[float(_group(name) == group) for group in GROUPS] for name in ROUTER5])
"""1 where a router class `(5,)` belongs to a group `(4,)`."""


def in_groups_of(router: Tensor, examined: Tensor) -> Tensor:
    """Probabilities of regions whose groups have the probabilities that the router gives them.

    The router tells groups apart better, on films unlike those of training above all; within a group the regions keep
    their proportions.

    Args:
        router: probabilities `(n, 5)`.
        examined: probabilities `(n, 36)`.
    """
    share = (router @ GROUP_OF_CLASS).clamp_min(1e-9) / (examined @ GROUP_OF_REGION).clamp_min(1e-9)
    together = examined * (share @ GROUP_OF_REGION.T)
    return together / together.sum(1, keepdim=True)


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
