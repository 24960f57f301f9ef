"""`make demo`: a simulated hospital's day through real Airflow, and a table that compares the result with the truth."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.hospital.truth import Truth
from sluice.stack.airflow_api import AirflowApi
from sluice.stack.approving import Approver
from sluice.stack.bucket_check import judge_bucket
from sluice.stack.chain import (
    COHORT_DAG,
    DAY_DAGS,
    Run,
    backfill_day,
    failed_tasks,
    newest_runs,
    request_cohort,
    switch_on,
    wait_for,
)
from sluice.stack.daily import build_hospital, sign
from sluice.stack.facts import STEPS, read_facts
from sluice.stack.memory import MemoryWatch
from sluice.stack.processes import StackError
from sluice.stack.stack import RECEIVER_AE_TITLE, Stack
from sluice.stack.table import render
from sluice.stack.verdict import Line, Section, all_hold, judge, judge_runs

MEMORY_BOUND_GIB = 8.0
DAY_DEADLINE_S = 1_800.0
COHORT_DEADLINE_S = 600.0
SHOW_EVERY_S = 5.0
COHORT_PROJECT = "radiographs"
COHORT_NAME = "first-request"


@dataclass
class Timeline:
    """What took how long, in the order it happened, seconds."""

    began: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)

    def measure(self, what: str, step: Callable[[], Any]) -> Any:
        """Run `step` and keep how long it took."""
        began = time.monotonic()
        try:
            return step()
        finally:
            self.stages[what] = time.monotonic() - began

    @property
    def elapsed_s(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self.began


def run(home: Path, once: bool, seed: int | None, scale: str | float, port: int | None) -> int:
    """Show the day; return 0 when every line of the table holds.

    Args:
        home: folder of all its data; a second run there goes on with what the first left.
        once: end by itself instead of staying up until Ctrl-C.
        seed, scale: of the hospital; None is the default seed.
        port: of Airflow's UI; a free one when None.
    """
    time_line = Timeline()
    say = _teller(time_line)
    say("A simulated hospital's day, through Airflow, to a bucket.")
    truth = time_line.measure("hospital", lambda: build_hospital(home / "hospital", seed, scale))
    _describe(truth, say)
    stack = Stack(home, home / "hospital", port, say=say)
    shown = False
    try:
        time_line.measure("starting the stack", stack.start)
        held = _show(stack, truth, time_line, say)
        shown = True
        if once:
            return 0 if held else 1
        say(sign(stack.airflow.url, stack.airflow.passwords))
        say("It stays up until Ctrl-C.")
        while True:
            stack.tend()
            time.sleep(2)
    except KeyboardInterrupt:
        say("Stopping …")
        return 0 if shown and not once else 130
    finally:
        stack.stop()


def _describe(truth: Truth, say: Callable[[str], None]) -> None:
    series = [series for study in truth.studies for series in study.series]
    pictures = {kind: sum(one.picture == kind for one in series) for kind in ("real", "rendered", "phantom", "file")}
    made_of = ", ".join(f"{count} {kind}" for kind, count in pictures.items() if count)
    say(
        f"The hospital on {truth.day}: {len(truth.scanners)} scanners, {len(truth.studies)} studies, "
        f"{len(series)} series ({made_of}), {sum(len(one.instances) for one in series)} instances."
    )


def _show(stack: Stack, truth: Truth, time_line: Timeline, say: Callable[[str], None]) -> bool:
    """Run the day in a running stack and print the table; whether all of it holds."""
    api = stack.airflow.api("admin")
    password = stack.airflow.passwords["admin"]
    say(f"Airflow is at {stack.airflow.url} (user admin, password {password}): look while it runs.")
    began = datetime.now(UTC)
    watch = MemoryWatch()
    window_key = truth.day.isoformat()
    switch_on(api, (*DAY_DAGS, COHORT_DAG))
    time_line.measure("live pushes", lambda: _push(stack, say))
    backfill_day(api, truth.day)
    say(f"Asked Airflow for a backfill of sweep for {truth.day}; the rest follows by itself.")
    progress = _Progress(stack, window_key, watch, say)
    say("Releases wait for a person. Here that is the user approver, who looks at the page Review and answers.")
    runs = time_line.measure(
        "day in Airflow",
        lambda: wait_for(
            lambda: newest_runs(api, DAY_DAGS, window_key, began), DAY_DAGS, progress.tick, DAY_DEADLINE_S
        ),
    )
    _name_failures(api, runs, say)
    sections = [judge_runs({dag_id: run.state for dag_id, run in runs.items()}, DAY_DAGS)]
    facts = read_facts(stack.database, window_key)
    sections += judge(truth, facts, _asked_for())
    sections.append(
        time_line.measure("reading the bucket", lambda: judge_bucket(stack.bucket, stack.database, truth, window_key))
    )
    sections.append(_cohort(stack, truth, began, progress, time_line, say))
    sections.append(_resources(watch, time_line, runs))
    print(render(sections, colour=sys.stdout.isatty()), flush=True)
    held = all_hold(sections)
    failing = sum(line.holds is False for section in sections for line in section.lines)
    say("Every line holds." if held else f"{failing} lines do not hold.")
    return held


def _asked_for() -> set[str]:
    """Modalities that at least one project releases."""
    from sluice.cohorts.expressions import FieldIs, walk
    from sluice.release.projects import load_project, project_names

    return {
        str(modality)
        for name in project_names()
        for part in walk(load_project(name).selection)
        if isinstance(part, FieldIs) and part.field.name == "modality"
        for criterion in part.criteria
        for modality in criterion.values
    }


def _push(stack: Stack, say: Callable[[str], None]) -> None:
    from sluice.hospital.scanners import push

    receiver = ("127.0.0.1", stack.ports.of_running("receiver"), RECEIVER_AE_TITLE)
    pushed = push(stack.home / "hospital", receiver)
    say(f"Scanners pushed {pushed} instances to the receiver by themselves.")


class _Progress:
    """One line every few seconds: the ledger's funnel and the DAGs that run."""

    def __init__(self, stack: Stack, window_key: str, watch: MemoryWatch, say: Callable[[str], None]) -> None:
        self.stack, self.window_key, self.watch, self.say = stack, window_key, watch, say
        self.approver = Approver(stack.airflow.api("approver"), say)
        self.shown_at, self.shown = 0.0, ""

    def tick(self, runs: dict[str, Run]) -> None:
        """Look after the stack and show where the day is."""
        self.stack.tend()
        self.approver.look()
        if time.monotonic() - self.shown_at < SHOW_EVERY_S:
            return
        self.shown_at = time.monotonic()
        self.watch.look()
        rows = self.stack.database.rows("window_funnel", {"window_key": self.window_key})
        funnel = "  ".join(f"{step} {rows[0][step] if rows else 0:>4}" for step in STEPS)
        running = ", ".join(run.dag_id for run in runs.values() if run.state == "running")
        line = f"{funnel}   {running}"
        if line != self.shown:
            self.shown = line
            self.say(line)


def _cohort(
    stack: Stack, truth: Truth, since: datetime, progress: _Progress, time_line: Timeline, say: Callable[[str], None]
) -> Section:
    """A researcher asks for a few studies by accession number, one of which does not exist."""
    api = stack.airflow.api("researcher")
    wanted = [study for study in truth.studies if study.in_pacs and study.accession_number][:3]
    rows = ["accession_number", *(study.accession_number for study in wanted), "NO-SUCH-STUDY"]
    conf = {"project": COHORT_PROJECT, "name": COHORT_NAME, "csv": "\n".join(rows)}
    say(f"A researcher asks for a cohort of {len(wanted)} studies and one that does not exist.")
    try:
        request_cohort(api, conf)
    except StackError as error:
        return Section("Cohort request", [Line(COHORT_DAG, "success", "refused", False, str(error))])
    runs = time_line.measure(
        "cohort",
        lambda: wait_for(
            lambda: newest_runs(api, (COHORT_DAG,), None, since), (COHORT_DAG,), progress.tick, COHORT_DEADLINE_S
        ),
    )
    _name_failures(api, runs, say)
    state = runs[COHORT_DAG].state if COHORT_DAG in runs else "no run"
    window_key = f"cohort/{COHORT_PROJECT}/{COHORT_NAME}"
    found = read_facts(stack.database, window_key)
    instances = {
        instance.sop_instance_uid
        for study in wanted
        for series in study.series
        for instance in series.instances
        if "received" not in instance.gaps
    }
    return Section(
        "Cohort request",
        [
            Line(COHORT_DAG, "success", state, state == "success", "see its red task"),
            Line(
                "its instances, received",
                str(len(instances)),
                str(len(found.at["received"])),
                instances == found.at["received"],
                "others than the three studies hold",
            ),
        ],
    )


def _name_failures(api: AirflowApi, runs: dict[str, Run], say: Callable[[str], None]) -> None:
    for run in runs.values():
        if run.state == "failed":
            for line in failed_tasks(api, run) or [f"{run.dag_id}: see {api.url}/dags/{run.dag_id}/runs/{run.run_id}"]:
                say(f"FAILED {line}")


def _resources(watch: MemoryWatch, time_line: Timeline, runs: dict[str, Run]) -> Section:
    watch.look()
    peak = watch.peak_bytes / 2**30
    lines = [
        Line(
            "memory of all processes, peak",
            f"under {MEMORY_BOUND_GIB:.0f} GiB",
            f"{peak:.1f} GiB in {watch.processes} processes",
            peak < MEMORY_BOUND_GIB,
            "lower the parallelism of Airflow",
        ),
        Line("time since the start", "", f"{time_line.elapsed_s:.0f} s", None),
    ]
    lines += [Line(f"  {what}", "", f"{seconds:.0f} s", None) for what, seconds in time_line.stages.items()]
    lines += [Line(f"    {run.dag_id}", "", f"{run.seconds:.0f} s", None) for run in runs.values()]
    return Section("Time and memory", lines)


def _teller(time_line: Timeline) -> Callable[[str], None]:
    def say(line: str) -> None:
        seconds = int(time_line.elapsed_s)
        with suppress(BrokenPipeError):
            print(f"{seconds // 60:>3}:{seconds % 60:02}  {line}", flush=True)

    return say
