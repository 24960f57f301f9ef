"""How far readers agree beyond chance.

Cohen's kappa for each pair of readers (Educ Psychol Meas 20 (1960) 37-46), Fleiss' kappa over films that three or more
have read (Psychol Bull 76 (1971) 378-382). Where films have different numbers of readers, each counts with its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import combinations
from typing import Any
from zoneinfo import ZoneInfo

from sluice.annotation.answers import check_task
from sluice.database import Database
from sluice.settings import settings

FIELDS = {"body_part": ("label", "examined"), "ivc_filter": ("label",)}
NOTHING = "none"  # an examined region that is none


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two readers' answers to the same films; None without films, or where chance alone agrees."""
    if not pairs:
        return None
    films = len(pairs)
    agreed = sum(one == other for one, other in pairs) / films
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(ones[label] * others[label] for label in ones) / films**2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def fleiss_kappa(films: Iterable[Sequence[str]]) -> float | None:
    """Fleiss' kappa of films with the answers of two or more readers each; None as `cohen_kappa`."""
    counts = [Counter(answers) for answers in films if len(answers) > 1]
    if not counts:
        return None
    total: Counter[str] = sum(counts, Counter())
    answers = total.total()
    chance = sum((n / answers) ** 2 for n in total.values())
    agreed = sum(
        sum(n * (n - 1) for n in film.values()) / (film.total() * (film.total() - 1)) for film in counts
    ) / len(counts)
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def agreement(database: Database, task: str) -> dict[str, Any]:
    """Agreement of readers by field of the answer, who decided, how many films stand where, how much each has read.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    rows = database.rows("annotation_answers", {"task": task})
    today = datetime.now(ZoneInfo(settings().time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    standing = {row["standing"]: row["films"] for row in database.rows("annotation_progress", {"task": task})}
    return {
        "task": task,
        "films": standing,
        "fields": {field: _of_field(rows, field) for field in FIELDS[task]},
        "readers": database.rows("annotation_readers", {"task": task, "since": today}),
        "adjudicators": database.rows("annotation_adjudicators", {"task": task}),
    }


def _of_field(rows: Iterable[Mapping[str, Any]], field: str) -> dict[str, Any]:
    films: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        films[row["sop_instance_uid"]][row["reader"]] = row[field] or NOTHING
    pairs: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    confused: Counter[tuple[str, str]] = Counter()
    for said in films.values():
        for one, other in combinations(sorted(said), 2):
            pairs[one, other].append((said[one], said[other]))
            if said[one] != said[other]:
                low, high = sorted((said[one], said[other]))
                confused[low, high] += 1
    many = [list(said.values()) for said in films.values() if len(said) > 2]
    return {
        "pairs": [
            {
                "readers": list(readers),
                "films": len(answers),
                "agreed": sum(one == other for one, other in answers),
                "kappa": cohen_kappa(answers),
            }
            for readers, answers in sorted(pairs.items())
        ],
        "fleiss": {"films": len(many), "kappa": fleiss_kappa(many)},
        "confused": [{"answers": list(pair), "times": times} for pair, times in confused.most_common(50)],
    }
