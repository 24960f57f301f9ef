"""How the PACS answers C-FIND, with the faults it has been told to have."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from pydicom import Dataset

from sluice.hospital.faults import Faults
from sluice.hospital.index import Index, QueryError

LOGGER = logging.getLogger(__name__)
PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00
ABORT = -1  # no status: the association is to be aborted
COUNTS = ("NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances", "NumberOfPatientRelatedInstances")


def replies(
    index: Index, faults: Faults, root: str, identifier: Dataset, relational: bool, retrieve_ae_title: str
) -> Iterator[tuple[int, Dataset | None]]:
    """Status and identifier of each C-FIND response; pynetdicom adds the final success by itself.

    Args:
        root: `PATIENT` or `STUDY`, the information model.
        relational: answer although unique keys of higher levels are missing.
        retrieve_ae_title: value of (0008,0054) in each answer.
    """
    if faults.refuse_find is not None:
        yield faults.refuse_find, None
        return
    try:
        answers = index.find(root, identifier, relational)
    except QueryError as problem:
        LOGGER.warning("C-FIND refused: %s", problem)
        yield problem.status, None
        return
    level = str(identifier.QueryRetrieveLevel)
    if level == "STUDY" and faults.rows_a_study > 1:
        answers = [answer for answer in answers for _ in range(faults.rows_a_study)]
    cap = faults.cap_at.get(level, faults.answer_cap)
    for number, answer in enumerate(answers):
        if faults.find_error_after is not None and number >= faults.find_error_after:
            yield ABORT, None
            return
        if cap is not None and number >= cap:
            if faults.cap_status != SUCCESS:
                yield faults.cap_status, None
            return
        answer.RetrieveAETitle = retrieve_ae_title
        yield PENDING, _spoiled(answer, faults)


def _spoiled(answer: Dataset, faults: Faults) -> Dataset:
    for keyword in COUNTS:
        if faults.counts_off and answer.get(keyword) not in (None, ""):
            setattr(answer, keyword, str(max(0, int(answer[keyword].value) + faults.counts_off)))
    for keyword in faults.omit_keys:
        if keyword in answer:
            delattr(answer, keyword)
    return answer
