"""What each way to search by body part is worth: precision, recall and F1 with 95 % intervals over patients.

Two sets of films that the shipped network was not trained on, nor any other film of their patients:

- *real films*: the UNIFESP radiographs of test patients, with the labels of their source. They came without DICOM
  headers: each gets one **drawn** by `HeaderErrors` (shares of wrong and empty ones, scanners that differ, words of
  eight languages from the project's own vocabulary), read by the same reader of words as any header. Pixels, labels and
  network are real. Drawn again with other shares of wrong headers, to see when which strategy pays.
- *simulated hospital*: days as `make demo` shows them, through import, header extraction and inference; what is true
  stands in `truth.json`. Pictures are partly drawn, and films of the shared folder come back in several days.

The tables are printed; the rows compare with the better of header alone and model alone, over all films and regions.
"""

from __future__ import annotations

import csv
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from benchmarks.run import HERE, Row
from sluice.anatomy import REGIONS, read_anatomy
from sluice.anatomy.fusion import fuse
from sluice.anatomy.measures import report
from sluice.anatomy.scores import MICRO, Measure, evaluate
from sluice.anatomy.strategies import Strategy, matches
from sluice.database import Database, copy_rows, migrate
from sluice.predictions import Prediction, register_model, store
from sluice.stack.postgres import EmbeddedPostgres

SHARED = HERE.parents[1] / "shared" / "data"
SEED = 2026
OTHER_SHARES = (0.05, 0.30, 0.45)  # of wrong headers; a Moscow archive had up to 0.70 (Borisov 2023)
HOSPITAL_SEEDS = range(1, 5)  # a day each: 24 DX and 15 CR exams


@dataclass(frozen=True)
class HeaderErrors:
    """How headers are drawn for films that have none.

    Attributes:
        wrong: share of wrong ones among the films, before the empty ones are taken out (15.5 %: Güld 2002).
        empty: share without a word about the part.
        scanners: how many times `wrong` each scanner writes a wrong one; films are spread over them evenly.
        beside: of the wrong ones, the share that names a region typically seen beside the true one; the others name any
            region that the films show.
        sources: where the words stand: Body Part Examined, Series Description, Protocol Name, with their weights.
    """

    wrong: float = 0.155
    empty: float = 0.10
    scanners: tuple[float, ...] = (1 / 3, 1.0, 5 / 3)
    beside: float = 0.5
    sources: tuple[tuple[str, int], ...] = (("00180015", 3), ("0008103E", 1), ("00181030", 1))


def run(work: Path) -> list[Row]:
    """Measure both sets; print their tables."""
    if not (SHARED / "manifest.csv").is_file():
        print(f"strategies: no films in {SHARED}, nothing measured", file=sys.stderr)
        return []
    rows: list[Row] = []
    real = RealFilms.read()
    for share in (HeaderErrors.wrong, *OTHER_SHARES):
        with _database(work / f"postgres-{share}") as database:
            said, measures = real.measure(database, HeaderErrors(share))
        name = f"real films, {share:.1%} of headers drawn wrong"
        if share == HeaderErrors.wrong:
            _print(name, said, measures)
            rows += _rows("real films", measures)
        else:
            _print(name, said, [one for one in measures if one.region == MICRO])
            rows.append(_row(f"real films, {share:.0%} wrong", measures, Strategy.FUSED, "f1", 1.0))
    with _database(work / "postgres-hospital") as database:
        said, measures = _hospital(database, work)
    _print("simulated hospital", said, measures)
    rows += _rows("simulated hospital", measures)
    return rows


def _print(name: str, said: str, measures: Sequence[Measure]) -> None:
    print(f"\n{name}: {said}\n\n{report(measures)}\n", flush=True)


@contextmanager
def _database(folder: Path) -> Iterator[Database]:
    """An empty one."""
    with EmbeddedPostgres(folder, durable=False) as postgres:
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        yield database


def _rows(name: str, measures: Sequence[Measure]) -> list[Row]:
    return [
        _row(name, measures, Strategy.FUSED, "f1", 1.0),
        _row(name, measures, Strategy.UNION, "recall", None),  # it cannot be less
        _row(name, measures, Strategy.INTERSECTION, "precision", 1.0),
        _row(name, measures, Strategy.FUSED, "precision", None),
        _row(name, measures, Strategy.FUSED, "recall", None),
    ]


def _row(name: str, measures: Sequence[Measure], strategy: Strategy, figure: str, goal: float | None) -> Row:
    """A strategy's figure beside that of header or model alone, whichever has the better one."""
    overall = {one.strategy: getattr(one, figure) or 0.0 for one in measures if one.region == MICRO}
    alone = max((Strategy.HEADER, Strategy.EXAMINED), key=overall.__getitem__)
    ratio = overall[strategy] / overall[alone] if overall[alone] else 0.0
    holds = goal is None or ratio >= goal
    ours, peer = (round(overall[one], 4) for one in (strategy, alone))
    return Row(f"{name}: {figure} of {strategy}", ours, peer, f"{alone} alone", "", round(ratio, 4), goal, holds)


def _measures(
    database: Database, truth: Mapping[str, frozenset[str]], patients: Mapping[str, str]
) -> tuple[str, list[Measure]]:
    """How many films, how many of their headers name a region and how many of these rightly; the measures."""
    fuse(database)
    rows = database.rows("labelled_answers", {"uids": sorted(truth)})
    answers = {row["sop_instance_uid"]: matches(row) for row in rows}
    known = {uid: truth[uid] for uid in answers}
    named = [uid for uid, by in answers.items() if by[Strategy.HEADER]]
    right = sum(bool(answers[uid][Strategy.HEADER] & known[uid]) for uid in named)
    people = len({patients[uid] for uid in known})
    said = f"{len(known)} films of {people} patients; {len(named)} headers name a region, {right} of them a right one"
    return said, evaluate(answers, known, patients)


@dataclass(frozen=True)
class RealFilms:
    """The real films that training never saw, read by the shipped network.

    Attributes:
        truth: UID → regions that its source labels, one to three.
        patients: UID → patient.
        answers: what the network says of them.
    """

    reader: Any
    truth: dict[str, frozenset[str]]
    patients: dict[str, str]
    answers: list[Prediction]

    @classmethod
    def read(cls) -> Self:
        """Show them to the network."""
        from models.body_part import BodyPartReader
        from models.data import canonical_film, films

        chosen = [film for film in films(SHARED) if film.source == "unifesp" and film.split == "test"]
        known = {f"2.25.{number + 1}": film for number, film in enumerate(film for film in chosen if film.visible)}
        reader = BodyPartReader.load()
        images = [canonical_film(film) for film in known.values()]
        readings = reader.read(images, [film.age_years for film in known.values()])
        return cls(
            reader,
            {uid: frozenset(film.visible or ()) for uid, film in known.items()},
            {uid: film.group for uid, film in known.items()},
            [
                Prediction(uid, one.router5, one.router5_score, one.detail())
                for uid, one in zip(known, readings, strict=True)
            ],
        )

    def measure(self, database: Database, errors: HeaderErrors) -> tuple[str, list[Measure]]:
        """Give them headers with these errors, and measure."""
        headers = drawn_headers([sorted(regions) for regions in self.truth.values()], errors, SEED)
        write_films(database, list(self.truth), headers)
        reader = self.reader
        register_model(database, reader.model_id, "body_part", reader.architecture, reader.weights_sha256, reader.card)
        store(database, reader.model_id, "body_part", self.answers)
        return _measures(database, self.truth, self.patients)


def drawn_headers(truth: Sequence[Sequence[str]], errors: HeaderErrors, seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Scanner and header elements for films that truly show these regions; the same seed draws the same."""
    chance = random.Random(seed)
    shown = sorted({region for regions in truth for region in regions})
    vocabulary = _vocabulary()
    headers = []
    for regions in truth:
        scanner = chance.randrange(len(errors.scanners))
        draw, said = chance.random(), chance.choice(regions)
        if draw < errors.empty:
            headers.append((f"XR{scanner + 1}", {}))
            continue
        if draw < errors.empty + errors.wrong * errors.scanners[scanner]:
            near = [key for key in REGIONS[said].typically_visible if key not in regions]
            other = [key for key in shown if key not in regions]
            said = chance.choice(near if near and chance.random() < errors.beside else other)
        language = chance.choice(sorted(vocabulary[said]))
        word = chance.choice(vocabulary[said][language])
        (tag,) = chance.choices([tag for tag, _ in errors.sources], [weight for _, weight in errors.sources])
        headers.append((f"XR{scanner + 1}", {tag: {"vr": "LO", "Value": [word.upper()]}}))
    return headers


def _vocabulary() -> dict[str, dict[str, list[str]]]:
    """Region → language → words, of the project's own table: what is measured is wrong headers, not unknown words."""
    from importlib.resources import files

    words: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    text = files("sluice.anatomy").joinpath("body_part_synonyms.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if row["region_key"] in REGIONS:
            words[row["region_key"]][row["lang"]].append(row["term"])
    return words


def write_films(database: Database, uids: Sequence[str], headers: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """A study, a series and an instance for each film, and what its header says, as header extraction would."""
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ("study", "series", "header_anatomy", "instance")}
    for uid, (scanner, elements) in zip(uids, headers, strict=True):
        study, series = f"{uid}.1", f"{uid}.2"
        rows["study"].append((study, uid, date(2026, 10, 26)))
        rows["series"].append((series, study, "DX", scanner))
        rows["header_anatomy"].append((series, *read_anatomy(elements).as_dict().values()))
        rows["instance"].append((uid, series, study, "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.1"))
    uid_columns = ("sop_instance_uid", "series_instance_uid", "study_instance_uid")
    columns = {
        "study": ("study_instance_uid", "patient_id", "study_date"),
        "series": ("series_instance_uid", "study_instance_uid", "modality", "station_name"),
        "header_anatomy": ("series_instance_uid", *read_anatomy({}).as_dict()),
        "instance": (*uid_columns, "sop_class_uid", "transfer_syntax_uid"),
    }
    with database.transaction() as connection:
        for table, written in rows.items():
            copy_rows(connection, table, columns[table], written)


def _hospital(database: Database, work: Path) -> tuple[str, list[Measure]]:
    from operators.inference import read_batch
    from sluice.archive.imports import import_files, import_window
    from sluice.batches import plan_batches
    from sluice.headers.extract import extract
    from sluice.hospital.build import build
    from sluice.settings import Settings

    site = Settings(home=work / "home", database_url=database.url)
    truth: dict[str, frozenset[str]] = {}
    patients: dict[str, str] = {}
    roots = []
    for seed in HOSPITAL_SEEDS:
        home = work / f"hospital-{seed}"
        for study in build(home, SHARED, seed, "day").studies:
            for series in study.series:
                if series.modality not in ("CR", "DX") or series.region not in REGIONS:
                    continue
                for instance in series.instances:
                    truth[instance.sop_instance_uid] = frozenset({series.region})
                    patients[instance.sop_instance_uid] = f"{seed}/{study.patient_id}"
        roots += [home / "pacs", home / "scanners"]
    window = import_window(roots, "strategies")
    import_files(database, site, window, roots)
    for batch in plan_batches(database, window.key):
        extract(database, site.archive, batch, workers=0)
        read_batch(database, site.archive, batch, "body_part", site.canonical)
    return _measures(database, truth, patients)
