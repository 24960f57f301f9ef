"""The closing table: what the simulated hospital really did beside what Sluice says, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sluice.hospital.truth import TrueInstance, TrueSeries, TrueStudy, Truth
from sluice.scanners.clocks import MINIMUM_SAMPLES
from sluice.stack.facts import STEPS, Clock, Facts

RADIOGRAPHS = {"CR", "DX"}
NOT_A_RADIOGRAPH = "not-a-radiograph"
NOT_IN_PROJECT = "not-in-project"
BODY_PART_FLOOR = 0.70  # share of radiographs whose router5 class is right; the model card has the measured figure
CLOCK_TOLERANCE_S = 60.0
UTILIZATION_TOLERANCE = 0.04  # four points of a hundred


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        holds: whether found is as expected; None where a figure is only reported.
        note: what is wrong, shown below a line that does not hold.
    """

    what: str
    expected: str
    found: str
    holds: bool | None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Lines under one heading."""

    title: str
    lines: list[Line]


def all_hold(sections: Iterable[Section]) -> bool:
    """Whether no line of the table fails."""
    return all(line.holds is not False for section in sections for line in section.lines)


@dataclass(frozen=True)
class _Case:
    """An instance of the truth with what it belongs to, and whether any project asks for its modality."""

    study: TrueStudy
    series: TrueSeries
    instance: TrueInstance
    is_asked_for: bool

    @property
    def uid(self) -> str:
        return self.instance.sop_instance_uid

    @property
    def is_radiograph(self) -> bool:
        return self.series.modality in RADIOGRAPHS

    @property
    def gaps(self) -> dict[str, str]:
        """Reason code by step, for each step that must stay open on it."""
        gaps = dict(self.instance.gaps)
        if self.instance.ends_at_step and self.instance.reason_code:
            gaps.setdefault(self.instance.ends_at_step, self.instance.reason_code)
        if not self.is_radiograph and not gaps.keys() & {"received", "indexed"}:
            gaps.setdefault("predicted", NOT_A_RADIOGRAPH)
        if not self.is_asked_for and not gaps.keys() & {"received", "indexed"}:
            gaps["released"] = NOT_IN_PROJECT  # nobody looks further into what nobody asked for
        return gaps

    def passes(self, step: str) -> bool:
        """Whether a step must happen to it: those after `indexed` wait for that one, not for each other."""
        if step == "expected":
            return self.study.in_pacs
        before = {"received": ("received",), "indexed": ("received", "indexed")}
        return not self.gaps.keys() & {*before.get(step, ("received", "indexed")), step}


def judge(truth: Truth, facts: Facts, asked_for: Collection[str]) -> list[Section]:
    """Compare the ledger, the models and the reports with the truth.

    Args:
        asked_for: modalities that at least one project releases.
    """
    cases = [
        _Case(study, series, instance, series.modality in asked_for)
        for study in truth.studies
        for series in study.series
        for instance in series.instances
    ]
    return [
        Section("Instances", _ledger_lines(cases, facts)),
        Section("Gaps and their reasons", _gap_lines(cases, facts)),
        Section("Radiographs", _reading_lines(cases, facts)),
        Section("Scanners", [_scanner_line(truth, facts, station) for station in _stations(truth)]),
    ]


def _ledger_lines(cases: list[_Case], facts: Facts) -> list[Line]:
    """Studies, series and instances at each step: the same UIDs, not just the same number."""
    lines = []
    for step in STEPS:
        wanted = [case for case in cases if case.passes(step)]
        found = facts.at[step]
        missing = {case.uid for case in wanted} - found
        surplus = found - {case.uid for case in wanted}
        problems = []
        if missing:
            problems.append(f"{len(missing)} missing")
        if surplus:
            problems.append(f"{len(surplus)} unexpected")
        lines.append(
            Line(
                step,
                _counts(
                    {case.study.study_instance_uid for case in wanted},
                    {case.series.series_instance_uid for case in wanted},
                    {case.uid for case in wanted},
                ),
                _counts({facts.study_of[uid] for uid in found}, {facts.series_of[uid] for uid in found}, found),
                not problems,
                ", ".join(problems),
            )
        )
    return lines


def _counts(studies: set[str], series: set[str], instances: set[str]) -> str:
    return f"{len(studies):>4} {len(series):>5} {len(instances):>6}"


def _gap_lines(cases: list[_Case], facts: Facts) -> list[Line]:
    """Each gap with its reason: as many as the truth has, at the same instances, and no other."""
    wanted: dict[tuple[str, str], str] = {}
    for case in cases:
        wanted |= {(case.uid, step): reason for step, reason in case.gaps.items()}
    kinds = sorted(
        {(step, reason) for (_, step), reason in (*wanted.items(), *facts.gaps.items())},
        key=lambda kind: (STEPS.index(kind[0]), kind[1]),
    )
    lines = []
    for step, reason in kinds:
        true = {uid for (uid, at), why in wanted.items() if (at, why) == (step, reason)}
        found = {uid for (uid, at), why in facts.gaps.items() if (at, why) == (step, reason)}
        others = Counter(facts.gaps.get((uid, step), "no gap") for uid in true - found)
        note = ", ".join(f"{count} have {other} instead" for other, count in others.most_common())
        if extra := len(found - true):
            note = "; ".join(filter(None, [note, f"{extra} should not have it"]))
        lines.append(Line(f"{step}: {reason}", str(len(true)), str(len(found)), true == found, note))
    return lines


def _reading_lines(cases: list[_Case], facts: Facts) -> list[Line]:
    """Body part by router5 class with a floor for all, IVC filters as found."""
    films = [case for case in cases if case.series.router5 is not None and case.passes("predicted")]
    right = [case for case in films if facts.body_part.get(case.uid) == case.series.router5]
    share = len(right) / len(films) if films else 1.0
    lines = [
        Line(
            "body part, all classes",
            f"{len(films)}, at least {BODY_PART_FLOOR:.0%} right",
            f"{len(right)} right, {share:.0%}",
            share >= BODY_PART_FLOOR,
            "the network reads this hospital's films worse than its floor",
        )
    ]
    for name in sorted({str(case.series.router5) for case in films}):
        of_class = [case for case in films if case.series.router5 == name]
        hits = sum(facts.body_part.get(case.uid) == name for case in of_class)
        wrong = Counter(
            facts.body_part.get(case.uid, "unread") for case in of_class if facts.body_part.get(case.uid) != name
        )
        seen = ", ".join(f"{count} {label}" for label, count in wrong.most_common(3))
        lines.append(Line(f"  {name}", str(len(of_class)), f"{hits} right" + (f"; {seen}" if seen else ""), None))
    for true, word in ((True, "present"), (False, "absent")):
        of_class = [case for case in films if case.series.ivc_filter is true]
        hits = sum(facts.ivc_filter.get(case.uid) == word for case in of_class)
        unread = sum(case.uid not in facts.ivc_filter for case in of_class)
        lines.append(
            Line(
                f"IVC filter {word}", str(len(of_class)), f"{hits} right" + (f", {unread} unread" * (unread > 0)), None
            )
        )
    return lines


def _stations(truth: Truth) -> list[str]:
    used = {study.station_name for study in truth.studies}
    return [scanner.station_name for scanner in truth.scanners if scanner.station_name in used]


def _scanner_line(truth: Truth, facts: Facts, station: str) -> Line:
    """Utilization and clock of one scanner beside the truth."""
    scanner = next(scanner for scanner in truth.scanners if scanner.station_name == station)
    open_minutes = _open_minutes()
    true_use = scanner.busy_minutes / open_minutes
    use = facts.utilization.get(station)
    clock = facts.clocks.get(station)
    problems = []
    if use is None:
        problems.append("no utilization reported")
    elif abs(use - true_use) > UTILIZATION_TOLERANCE:
        problems.append(f"utilization is off by {abs(use - true_use):.1%}")
    problems += _clock_problems(clock, scanner.offset_s, scanner.dst_slip)
    offset = clock.offset_s if clock else None
    return Line(
        f"{station} {scanner.manufacturer} {scanner.model_name}"[:34],
        f"{true_use:>4.0%} {_seconds(scanner.offset_s):>8} {'DST' if scanner.dst_slip else ''}",
        f"{use or 0:>4.0%} {_seconds(offset):>8} {'DST' if clock and clock.suspected == 'dst' else ''}",
        not problems,
        "; ".join(problems),
    )


def _clock_problems(clock: Clock | None, true_offset_s: float, dst_slip: bool) -> list[str]:
    if clock is None:
        return ["no clock reported"]
    if clock.offset_s is None:
        if clock.samples < MINIMUM_SAMPLES:
            return []  # nobody could tell it, and the report says so
        return [f"its clock was not told, in spite of {clock.samples} samples"]
    problems = []
    if abs(clock.offset_s - true_offset_s) > CLOCK_TOLERANCE_S:
        problems.append(f"its clock is off by {abs(clock.offset_s - true_offset_s):.0f} s more than reported")
    if (clock.suspected == "dst") is not dst_slip:
        problems.append("the missed end of summer time was not named" if dst_slip else "no summer-time slip happened")
    return problems


def _open_minutes() -> float:
    from sluice.settings import settings

    opens, closes = settings().opens_at, settings().closes_at
    return (closes.hour - opens.hour) * 60.0 + closes.minute - opens.minute


def _seconds(value: float | None) -> str:
    return "too few" if value is None else f"{value:+.0f} s"


def judge_runs(states: Mapping[str, str], wanted: Iterable[str]) -> Section:
    """The DAG runs of the day, each of which must have succeeded."""
    lines = []
    for dag_id in wanted:
        state = states.get(dag_id, "no run")
        lines.append(Line(dag_id, "success", state, state == "success", "see its red task in the UI"))
    return Section("DAG runs", lines)
