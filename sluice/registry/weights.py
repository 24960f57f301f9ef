"""Weights files of registered models, and what stands in the card beside one; no network is built here.

A registered file is copied into a folder of the installation, so that the model that reads today is still there after
an upgrade that ships another.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.predictions import TASKS
from sluice.settings import CHECKOUT, Settings

SHIPPED = CHECKOUT / "models" / "weights"


class RegistryError(RuntimeError):
    """A model cannot be registered, found or moved; the message says what to do."""

    permanent = True


@dataclass(frozen=True)
class WeightsFile:
    """A weights file with its card.

    Attributes:
        path: the file.
        model_id: `<task>-<architecture>-<first 12 of the digest>`.
        task, architecture: of the model.
        sha256: digest of the file as it stands there.
        card: measured figures, sources, licences.
    """

    path: Path
    model_id: str
    task: str
    architecture: str
    sha256: str
    card: Mapping[str, Any]


def read_weights(path: Path) -> WeightsFile:
    """A weights file by its card `<name>.card.json`, which has to name the file's own digest.

    Raises:
        RegistryError: the file or its card is missing, or the card is another file's.
    """
    card_path = path.with_suffix(".card.json")
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"{path} cannot be read with its card {card_path.name} ({type(error).__name__}). "
            "Write the card with python -m models.evaluate, or restore both files from the repository."
        ) from None
    model_id, stated = str(card.get("model_id", "")), str(card.get("weights_sha256", ""))
    task, _, rest = model_id.partition("-")
    architecture, _, start = rest.rpartition("-")
    if stated != sha256 or not architecture or not sha256.startswith(start) or len(start) != 12:
        raise RegistryError(
            f"The card {card_path} describes other weights than {path.name}. Measure these with python -m "
            "models.evaluate, which writes the card anew."
        )
    if task not in TASKS:
        raise RegistryError(f"{card_path} is of the task {task!r}, which there is not. Tasks are: {', '.join(TASKS)}.")
    return WeightsFile(path, model_id, task, architecture, sha256, card)


def folder_of(site: Settings) -> Path:
    """Where an installation keeps the weights of its registered models."""
    return site.home / "weights"


def keep(weights: WeightsFile, folder: Path) -> Path:
    """Copy a weights file into the folder, whole or not at all; one that is there stays.

    Raises:
        RegistryError: the folder cannot be written.
    """
    kept = folder / f"{weights.model_id}.pt"
    if kept.is_file() and _digest(kept) == weights.sha256:
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(json.dumps(weights.card, indent=1).encode(), kept.with_suffix(".card.json"))
        _put(weights.path.read_bytes(), kept)
    except OSError as error:
        raise RegistryError(
            f"The weights of {weights.model_id} cannot be kept in {folder} ({error.strerror}). "
            "Check that the folder can be written and has room."
        ) from None
    return kept


def located(model_id: str, sha256: str, folder: Path, shipped: Path = SHIPPED) -> Path:
    """The file of a registered model: the kept one, else the one that ships, where its bytes are the registered ones.

    Raises:
        RegistryError: neither is there, or both are other bytes.
    """
    task = model_id.partition("-")[0]
    for path in (folder / f"{model_id}.pt", shipped / f"{task}.pt"):
        if path.is_file() and _digest(path) == sha256:
            return path
    raise RegistryError(
        f"The weights of {model_id} are not in {folder}, or are damaged. Restore {model_id}.pt from a backup, or put "
        f"another model into production: sluice models rollback {task}."
    )


def _put(content: bytes, path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as partial:
        partial.write(content)
    os.chmod(partial.name, 0o640)
    os.replace(partial.name, path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
