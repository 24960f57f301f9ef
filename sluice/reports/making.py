"""Making a study's report, once for the same answers, and sending reports to a PACS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from sluice.database import Database, copy_rows, named_query, select
from sluice.headers.blocks import NoHeaderError, header_of
from sluice.pacs.send import Outgoing, send
from sluice.reports.measurement_report import content_of, measurement_report, uid_of

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor
    from sluice.pacs.node import PacsNode


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
            raise ReportError(
                "No model in production has read an image of this study. Run infer_body_part for its window first."
            )
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
            header = Dataset.from_json(header_of(connection, images[0]["sop_instance_uid"]))
        except NoHeaderError as error:
            raise ReportError(str(error)) from None
        before = made[-1]["sop_instance_uid"] if made else None
        at = now or datetime.now(UTC)
        file = measurement_report(header, images, content, len(made) + 1, at, before)
        uid = uid_of("report", content)
        copy_rows(
            connection,
            "structured_report",
            ("study_instance_uid", "sop_instance_uid", "content_sha256", "file", "made_by", "made_at"),
            [(study_instance_uid, uid, content, f"\\x{file.hex()}", by, at)],
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
