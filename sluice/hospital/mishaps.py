"""What goes wrong on the day, and where the pipeline must stop because of it.

Each image may carry one mishap. `ENDS` says at which step it ends and with which reason code of the ledger;
a mishap that is not in `ENDS` must not stop anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluice.hospital.plan import Day, Exam, Image, Series

# mishap -> (step, reason code) of `sql/migrations/0001_ledger.sql`
ENDS: dict[str, tuple[str, str]] = {
    "never-sent": ("received", "reported-not-arrived"),
    "always-fails": ("received", "failed-suboperation"),
    "truncated": ("indexed", "truncated"),
    "corrupt-pixels": ("predicted", "pixels-unreadable"),
    "two-patients": ("released", "quality-stop"),
    "no-patient-id": ("released", "held-identity"),
    "held-class": ("released", "held-class"),
    "burned-in": ("released", "held-class"),
}
# further steps that stay open for the same mishap
ALSO: dict[str, dict[str, str]] = {"corrupt-pixels": {"released": "held-unreadable"}}
FAILS_ONCE = "fails-once"
HELD_KINDS = {"dose-screen", "letter", "ultrasound"}


def place(plan: Day) -> None:
    """Give the images of `plan` their mishaps."""
    for exam in plan.exams:
        for series in exam.series:
            for image in series.images:
                if series.kind in HELD_KINDS:
                    image.mishap = "held-class"
                elif exam.mishap is not None:
                    image.mishap = exam.mishap
    by_modality: dict[str, list[Exam]] = {}
    for exam in sorted(plan.exams, key=lambda exam: exam.study_instance_uid):
        if exam.in_pacs and not exam.pushed:
            by_modality.setdefault(exam.scanner.modality, []).append(exam)
    ct, mr = by_modality["CT"], by_modality["MR"]
    ct[0].syntax = "explicit"  # so that the truncated one can still be listed by its header
    _stack(ct[0])[1].mishap = "truncated"
    _stack(ct[-1])[3].mishap = "always-fails"
    _stack(mr[0])[2].mishap = "never-sent"
    for exam in (*ct[:3], *mr[:2]):
        for image in _stack(exam)[4:6]:
            image.mishap = FAILS_ONCE


def _stack(exam: Exam) -> list[Image]:
    """The pictures of the exam's first main series."""
    return next(series.images for series in exam.series if series.kind == "stack")


def images(plan: Day) -> Iterator[tuple[Exam, Series, Image]]:
    """Every picture of the day with its series and exam."""
    for exam in plan.exams:
        for series in exam.series:
            for image in series.images:
                yield exam, series, image
