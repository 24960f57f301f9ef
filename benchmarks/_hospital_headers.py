"""Headers that the simulated hospital writes for real films, read as any header is, and put together with the network.

The films came without DICOM headers. Each gets the object that the hospital's CR rooms would have written of it
(`sluice.hospital.headers`: Body Part Examined wrong of 15 %, missing of 15 %, words of five languages and of vendors,
ages mistyped or left out), which goes through import, header extraction and fusion; what the network says of the real
picture stands beside it. Films of regions that the hospital has no words for are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmwrite

from sluice.anatomy.fusion import fuse
from sluice.anatomy.strategies import header_regions
from sluice.archive.imports import import_files, import_window
from sluice.batches import plan_batches
from sluice.database import Database, migrate, select
from sluice.headers.extract import extract
from sluice.hospital import headers
from sluice.hospital.acquisition import fill_film
from sluice.hospital.build import anything_goes
from sluice.hospital.plan import DEFAULT_DAY, SIZES, Planner
from sluice.hospital.words import WORDS
from sluice.predictions import Prediction, register_model, store
from sluice.settings import Settings
from sluice.stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from models.body_part import BodyPartReader, BodyPartReading
    from models.data import Film

SEED = 2026
SPARE = 40  # exams with mishaps, which are passed over


@dataclass(frozen=True)
class ByHeader:
    """What header and fusion say of a film.

    Attributes:
        place: of the film in the selection.
        named: regions that the header names.
        header, fused: the one region named, None where it is none or several.
        header_class, fused_class: router class that follows, a chest's by the header's age; None for none.
    """

    place: int
    named: frozenset[str]
    header: str | None
    header_class: str | None
    fused: str | None
    fused_class: str | None


def by_header(
    work: Path, selection: Sequence[Film], readings: Sequence[BodyPartReading], reader: BodyPartReader
) -> list[ByHeader]:
    """Answers for the films whose region the hospital can write, in an empty database of their own."""
    places = write(work / "films", selection)
    with EmbeddedPostgres(work / "postgres-headers", durable=False) as postgres:
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        site = Settings(home=work / "home", database_url=database.url)
        window = import_window([work / "films"], "headers")
        import_files(database, site, window, [work / "films"])
        for batch in plan_batches(database, window.key):
            extract(database, site.archive, batch, workers=0)
        register_model(database, reader.model_id, "body_part", reader.architecture, reader.weights_sha256, reader.card)
        answers = [
            Prediction(uid, readings[place].router5, readings[place].router5_score, readings[place].detail())
            for uid, place in places.items()
        ]
        store(database, reader.model_id, "body_part", answers)
        fuse(database)
        rows = database.rows("labelled_answers", {"uids": sorted(places)})
        with database.transaction() as connection:
            known = select(connection, "select sop_instance_uid, patient_age_years from instance")
    if len(rows) != len(places):
        raise RuntimeError(f"{len(places)} films were written and {len(rows)} came back.")
    ages = {row["sop_instance_uid"]: row["patient_age_years"] for row in known}
    found = []
    for row in rows:
        uid = row["sop_instance_uid"]
        named = header_regions(row["header_region"], row["header_code"])
        coarse = row["header_region"] is None and row["header_code"] is not None  # a limb, not which
        fused = named if row["fused_region"] is None else frozenset({row["fused_region"]})
        found.append(
            ByHeader(
                places[uid],
                named,
                _single(named),
                "others" if coarse else _class_of(named, ages[uid]),
                _single(fused),
                "others" if coarse and not fused else _class_of(fused, ages[uid]),
            )
        )
    return found


def write(folder: Path, selection: Sequence[Film]) -> dict[str, int]:
    """Objects of films whose region the hospital has words for: SOP Instance UID → place in the selection.

    Their pixels are noise: what the network says comes of the films themselves.
    """
    known = [place for place, film in enumerate(selection) if film.examined in WORDS]
    planner = Planner(SEED, DEFAULT_DAY, replace(SIZES["day"], name="films", exams={"DX": 0, "CR": len(known) + SPARE}))
    exams = [exam for exam in planner.plan().exams if exam.mishap is None]
    people = {True: iter(planner.children), False: iter(planner.adults)}
    noise = np.random.default_rng(SEED).integers(0, 4096, (32, 32)).astype(np.uint16)
    folder.mkdir(parents=True)
    places: dict[str, int] = {}
    with anything_goes():
        for number, place, exam in zip(count(), known, exams, strict=False):
            film = selection[place]
            patient = next(people[film.router5 == "pediatric_chest"])
            exam = replace(exam, region=str(film.examined), patient=patient, ivc_filter=False, syntax="explicit")
            series, image = exam.series[0], exam.series[0].images[0]
            header = headers.dataset(exam, series, image, SEED)
            fill_film(header, exam, series, image, noise, 1.0)
            dcmwrite(folder / f"{number:05d}.dcm", header, enforce_file_format=True)
            places[image.sop_instance_uid] = place
    return places


def _single(regions: frozenset[str]) -> str | None:
    return next(iter(regions)) if len(regions) == 1 else None


def _class_of(regions: frozenset[str], age: float | None) -> str | None:
    """The one class that the regions imply; a chest without an age is an adult's, as searches take it."""
    from models.labels import PEDIATRIC_BELOW_YEARS, ROUTER5_OF_REGION

    classes = {ROUTER5_OF_REGION.get(region, "others") for region in regions}
    if len(classes) != 1:
        return None
    (router5,) = classes
    if router5 == "adult_chest" and age is not None and age < PEDIATRIC_BELOW_YEARS:
        return "pediatric_chest"
    return router5
