"""Filters over ten million instances: previews, pages of members, freezing, and the plans of a day's reports.

The hospital is that of `ten_million.sql`, made in a Postgres of this benchmark's own (15 GB, some ten minutes), or one
that was made before: its URL in SLUICE_BENCH_COHORT. Limits are those of a page: a preview has to be there within a
second, a page of a list within 0.3 s, at the 95th percentile of the mix in `cohort_filters.yaml`. Wall times count; the
load of the machine is printed beside them, since other work on it makes them longer.

Beside it: the same counts over a table with one JSONB a header, a million of them, scaled to as many instances; and a
promoted element beside the same one read from the headers. The heads of the plans of a day's reports are written to
`cohort_plans.txt`; none may read a large table from end to end.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from benchmarks._ten_million import LAST_DAY, load
from benchmarks.run import Row, results_folder
from sluice.cohorts.fields import Registry
from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse
from sluice.cohorts.preview import preview, tune
from sluice.cohorts.promoted import registry_of
from sluice.cohorts.versions import members, studies
from sluice.database import Database, migrate, named_query, select
from sluice.headers.promotion import promote
from sluice.stack.postgres import EmbeddedPostgres

FILTERS = Path(__file__).with_name("cohort_filters.yaml")
TODAY = date.fromisoformat(LAST_DAY)
PREVIEW_S, PAGE_S = 1.0, 0.3
PAGES = 200
PEER_HEADERS = 1_000_000
LARGE = ("instance", "receipt", "expectation", "quality_check", "header_block", "cohort_block", "found_study")
# What the day's reports and pages ask of a window; each has to touch that day alone.
OF_A_DAY = (
    "window_funnel", "page_funnel", "gaps_by_reason", "window_gaps", "missing_studies", "page_quality", "page_exams",
    "page_utilization", "page_clocks", "scanner_acquisitions", "quality_instance", "quality_series", "quality_study",
)  # fmt: skip
ASKED = {"modalities": ["CT", "MR"], "time_zone": "Europe/Berlin", "damaged": []}


def run(work: Path) -> list[Row]:
    """The rows of the table."""
    with _hospital(work) as database:
        asked = yaml.safe_load(FILTERS.read_text(encoding="utf-8"))
        rows: list[Row] = []
        for kind, expressions in asked.items():
            rows += _previews(database, kind, expressions)
        rows += _pages(database)
        rows += _promotion(database)
        rows.append(_peer(database))
        rows.append(_plans(database))
    return rows


@contextmanager
def _hospital(work: Path) -> Iterator[Database]:
    made = os.environ.get("SLUICE_BENCH_COHORT")
    if made:
        yield Database(made)
        return
    with EmbeddedPostgres(work / "postgres", durable=False) as server:
        database = Database(server.url("sluice"))
        migrate(database.url)
        started = time.monotonic()
        load(database)
        with database.transaction() as connection:
            (size,) = select(connection, "select pg_size_pretty(pg_database_size(current_database())) as text")
        print(f"  loaded in {time.monotonic() - started:.0f} s, {size['text']}", flush=True)
        yield database


def _within(name: str, seconds: float, limit_s: float) -> Row:
    """A line that holds a limit: the ratio says how many times it is kept."""
    ratio = limit_s / seconds
    return Row(name, 1000 * seconds, 1000 * limit_s, "limit", "ms", ratio, 1.0, ratio >= 1)


def _informs(name: str, ours_s: float, peer_s: float, peer: str) -> Row:
    return Row(name, 1000 * ours_s, 1000 * peer_s, peer, "ms", peer_s / ours_s, None, True)


def _at(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def _previews(database: Database, kind: str, expressions: list[dict[str, Any]]) -> list[Row]:
    times = []
    for asked in expressions:
        started = time.monotonic()
        seen = preview(database, parse(asked), TODAY, limit_s=120)
        times.append(time.monotonic() - started)
        print(f"  {times[-1]:6.2f} s  {seen.here.instances:>10,}  {json.dumps(asked, default=str)[:110]}", flush=True)
    words = f"preview, {kind.replace('_', ' ')}, {len(times)} filters"
    print(f"  {words}: load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    if kind == "typed":
        return [_within(f"{words}, p{share}", _at(times, share / 100), PREVIEW_S) for share in (50, 95)]
    return [_informs(f"{words}, median", statistics.median(times), PREVIEW_S, "limit of typed ones")]


def _pages(database: Database) -> list[Row]:
    started = time.monotonic()
    asked = {"modality": "CT", "study_date": {"year": 2026}, "slice_thickness": {"max": 1}, "sex": "F"}
    made = freeze(database, f"bench-{time.time_ns()}", parse(asked), "bench", "benchmark", today=TODAY)
    frozen_s = time.monotonic() - started
    everything = freeze(database, f"bench-all-{time.time_ns()}", parse({}), "bench", "benchmark", today=TODAY)
    rows = [_informs(f"freeze {made.instances:,} instances", frozen_s, PREVIEW_S, "a second")]
    lists: tuple[tuple[str, Callable[..., Any]], ...] = (("instances", members), ("studies", studies))
    for name, list_page in lists:
        times, after = [], None
        for number in range(PAGES):
            if name == "instances":  # from the middle on, where an offset would be slow
                after = after if number else (105_000, 0)
            started = time.monotonic()
            page = list_page(database, everything.version_id, after, 100)
            times.append(time.monotonic() - started)
            after = page.after
            if after is None:
                break
        words = f"page of 100 {name} among {everything.instances:,}, p95 of {len(times)}"
        rows.append(_within(words, _at(times, 0.95), PAGE_S))
    return rows


def _promotion(database: Database) -> list[Row]:
    """An element read from the headers, and as the column that people made of it."""
    name = "bench_echo_time"
    promote(database, "0018,0081", name, "real")
    with database.transaction() as connection, connection.cursor() as cursor:
        tune(connection, 900)
        cursor.execute(
            f"update instance i set {name} = json_number(e.element #> '{{Value,0}}') from header_elements('00180081', "
            "(select array_agg(b.block_id) from header_block b join series s using (series_key) "
            "where s.modality = 'MR' and s.series_date >= '2026-06-01')) e where i.block_id = e.block_id "
            f"and i.block_position = coalesce(e.block_position, i.block_position) and i.{name} is null"
        )
        cursor.execute(f"select note_promoted(array['{name}'], array(select block_id from cohort_block))")
    registry = registry_of(database)
    around = {"modality": "MR", "study_date": {"from": date(2026, 6, 1)}}
    header = _median(database, {"EchoTime": {"max": 30}} | around, registry)
    column = _median(database, {name: {"max": 30}} | around, registry)
    return [_informs("an element promoted to a column, MR of five months", column, header, "read from the headers")]


def _median(database: Database, asked: Mapping[str, Any], registry: Registry) -> float:
    times = []
    for _ in range(3):
        started = time.monotonic()
        preview(database, parse(asked, registry), TODAY, limit_s=300)
        times.append(time.monotonic() - started)
    return statistics.median(times)


def _peer(database: Database) -> Row:
    """The counts of one filter by blocks, and by one JSONB a header."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("drop table if exists bench_jsonb")
        cursor.execute(
            "create table bench_jsonb as select i.sop_instance_uid, b.shared - array(select k from jsonb_object_keys("
            "b.shared) k limit 60) || jsonb_build_object('00180050', jsonb_build_object('vr', 'DS', 'Value', "
            "jsonb_build_array(b.slice_thickness)), '00100020', jsonb_build_object('vr', 'LO', 'Value', "
            "jsonb_build_array(i.patient_id)), '0020000D', jsonb_build_object('vr', 'UI', 'Value', "
            "jsonb_build_array(i.study_instance_uid))) as header from header_block b join instance i using (block_id) "
            f"where b.block_id % 10 = 0 limit {PEER_HEADERS}"
        )
        (held,) = select(
            connection, "select count(*) as peer, (select sum(instances) from header_block) as ours from bench_jsonb"
        )
    asked = parse({"modality": "CT", "slice_thickness": {"max": 1.5}})
    ours, peers = [], []
    for _ in range(3):
        started = time.monotonic()
        preview(database, asked, TODAY, limit_s=300)
        ours.append(time.monotonic() - started)
        started = time.monotonic()
        with database.transaction() as connection:
            tune(connection, 600)
            select(
                connection,
                "select count(*), count(distinct header #>> '{0020000D,Value,0}'), "
                "count(distinct header #>> '{00100020,Value,0}') from bench_jsonb "
                "where header #>> '{00080060,Value,0}' = 'CT' and (header #>> '{00180050,Value,0}')::float8 <= 1.5",
            )
        peers.append((time.monotonic() - started) * float(held["ours"]) / held["peer"])
    database.execute("drop table bench_jsonb")
    return _informs("preview of thin CT, every count", statistics.median(ours), statistics.median(peers),
                    "3 counts, one JSONB a header, scaled")  # fmt: skip


def _plans(database: Database) -> Row:
    """Reports of the last day: how many read a large table from end to end."""
    said, scanning = [], []
    for name in OF_A_DAY:
        with database.transaction() as connection:
            tune(connection, 120)
            started = time.monotonic()
            params = ASKED | {"window_key": LAST_DAY}
            if name.startswith("quality_"):  # as sluice.quality.frames does before
                connection.cursor().execute(named_query("quality_members"), params)
            (row,) = select(connection, f"explain (analyze, buffers, format json) {named_query(name)}", params)
        plan = row["QUERY PLAN"][0]
        whole = sorted(
            {node["Relation Name"] for node in _nodes(plan["Plan"]) if node["Node Type"] == "Seq Scan"} & set(LARGE)
        )
        scanning += [name] if whole else []
        blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        head = f"{name}: {1000 * (time.monotonic() - started):.0f} ms, {blocks:,} pages"
        said.append(f"{head}{', reads all of ' + ', '.join(whole) if whole else ''}")
        said += [f"    {line}" for line in _heads(plan["Plan"])]
    path = results_folder() / "cohort_plans.txt"
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    print("\n".join(f"  {line}" for line in said if not line.startswith(" ")), flush=True)
    count = float(len(scanning))
    return Row(
        f"reports of a day that read a large table whole, of {len(OF_A_DAY)} ({path.name})",
        count, 0.0, "goal", "reports", 1.0 if not count else 0.0, 1.0, not count,
    )  # fmt: skip


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _heads(plan: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The nodes of a plan that read a table, indented by depth."""
    if "Relation Name" in plan or "Function Name" in plan:
        by = f" by {plan['Index Name']}" if "Index Name" in plan else ""
        of = plan.get("Relation Name") or plan.get("Function Name")
        rows = f"{plan['Actual Rows']:.0f} rows x {plan['Actual Loops']}"
        yield f"{'  ' * min(depth, 8)}{plan['Node Type']} {of}{by}, {rows}"
    for part in plan.get("Plans", ()):
        yield from _heads(part, depth + 1)
