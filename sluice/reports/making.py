"""Making a study's report, once for the same answers, and sending reports to a PACS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from sluice.database import Database, copy_rows, named_query, select
from sluice.headers.blocks import NoHeaderError, header_of
from sluice.pacs.send import Outgoing, send
from sluice.reports.measurement_report import FROM_STUDY, content_of, measurement_report, uid_of

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor
    from sluice.pacs.node import PacsNode

ABOUT = tuple(f"{tag_for_keyword(keyword):08X}" for keyword in FROM_STUDY)

NOTHING_READ = "No model in production has read an image of this study. Run infer_body_part for its window first."


class ReportError(RuntimeError):
    """There is nothing to report of a study, or its report cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Report:
    """A structured report.

    Attributes:
        study_instance_uid, sop_instance_uid: of the study, of the report.
        file: the DICOM file.
        is_new: whether it was made just now; else the same answers had been reported before.
    """

    study_instance_uid: str
    sop_instance_uid: str
    file: bytes
    is_new: bool


@dataclass(frozen=True)
class SendSummary:
    """What came of sending.

    Attributes:
        objects: that were to be sent.
        sent: that the node has now.
        failed: that it has not; the details stand in `sent_object`.
    """

    objects: int
    sent: int
    failed: int

    def as_dict(self) -> dict[str, int]:
        """As XCom carries it."""
        return {"objects": self.objects, "sent": self.sent, "failed": self.failed}


def report_of(database: Database, study_instance_uid: str, by: str, now: datetime | None = None) -> Report:
    """The report of a study as the models in production see it now.

    The same answers are the same report, with its SOP Instance UID and all its bytes: a PACS that has it has nothing
    new to keep. Other answers are a new report, which names the one before as its predecessor.

    Args:
        by: who asks.
        now: what is written as its time.

    Raises:
        ReportError: no model in production read an image of the study, or its header is not here.
    """
    key = {"study_instance_uid": study_instance_uid}
    with database.transaction() as connection:
        with connection.cursor() as cursor:  # two who ask at once get one report
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 38))", (study_instance_uid,))
        images = select(connection, named_query("report_images"), key)
        if not images:
            raise ReportError(NOTHING_READ)
        content = content_of(study_instance_uid, images)
        made = select(
            connection,
            "select sop_instance_uid, content_sha256, file from structured_report where study_instance_uid = %s "
            "order by report_id",
            (study_instance_uid,),
        )
        for row in made:
            if row["content_sha256"] == content:
                return Report(study_instance_uid, row["sop_instance_uid"], bytes(row["file"]), False)
        try:
            header = header_of(connection, images[0]["sop_instance_uid"])
        except NoHeaderError as error:
            raise ReportError(str(error)) from None
        before = made[-1]["sop_instance_uid"] if made else None
        at = now or datetime.now(UTC)
        about = Dataset.from_json({tag: header[tag] for tag in ABOUT if tag in header})
        file = measurement_report(about, images, content, len(made) + 1, at, before)
        uid = uid_of("report", content)
        copy_rows(
            connection,
            "structured_report",
            ("study_instance_uid", "sop_instance_uid", "content_sha256", "file", "made_by", "made_at"),
            [(study_instance_uid, uid, content, file, by, at)],
        )
    return Report(study_instance_uid, uid, file, True)


def send_reports(
    database: Database, node: PacsNode, reports: Sequence[Report], governor: Governor | None = None
) -> SendSummary:
    """Send reports to a node by C-STORE, and keep what it answered.

    Raises:
        GovernorStop: the node must not be asked now; what was sent before is kept.
    """
    sent = failed = 0
    outgoing = [Outgoing(report.sop_instance_uid, report.file) for report in reports]
    for one in send(node, outgoing, governor):
        sent += one.is_there
        failed += not one.is_there
        database.execute(
            "insert into sent_object (sop_instance_uid, node, reason, status, detail) "
            "values (%s, %s, 'report', %s, %s)",
            (one.sop_instance_uid, node.name, one.status, one.detail),
        )
    return SendSummary(len(reports), sent, failed)


def ask(database: Database, study_instance_uid: str, node: str, by: str) -> None:
    """Ask for the report of a study at a node; the DAG send_reports sends it.

    Raises:
        ReportError: no model in production has read an image of the study.
    """
    if not database.rows("report_images", {"study_instance_uid": study_instance_uid}):
        raise ReportError(NOTHING_READ)
    database.execute(
        "insert into report_request (study_instance_uid, node, asked_by) values (%s, %s, %s)",
        (study_instance_uid, node, by),
    )


def ask_for_window(database: Database, window_key: str, node: str, by: str) -> int:
    """Ask for the reports of all studies of a window that a model read; how many."""
    studies = database.rows("routing_studies", {"window_key": window_key})
    with database.transaction() as connection:
        rows = [(row["study_instance_uid"], node, by) for row in studies]
        return copy_rows(connection, "report_request", ("study_instance_uid", "node", "asked_by"), rows)


def open_nodes(database: Database) -> list[str]:
    """Nodes that have not got all reports that were asked for."""
    with database.transaction() as connection:
        rows = select(connection, "select distinct node from report_request_open order by node")
    return [str(row["node"]) for row in rows]


def send_asked(database: Database, node: PacsNode, governor: Governor | None = None) -> SendSummary:
    """Make and send the reports that were asked for at a node and that it has not got.

    Raises:
        GovernorStop: the node must not be asked now; what was sent before is kept.
    """
    with database.transaction() as connection:
        rows = select(
            connection,
            "select study_instance_uid, min(asked_by) as by from report_request_open where node = %s "
            "group by 1 order by 1",
            (node.name,),
        )
    reports, impossible = [], 0
    for row in rows:
        try:
            reports.append(report_of(database, row["study_instance_uid"], row["by"]))
        except ReportError:
            impossible += 1  # its model was taken out of production since
    done = send_reports(database, node, reports, governor)
    return SendSummary(len(rows), done.sent, done.failed + impossible)
