"""Header blocks as extraction writes them, for tests of what is read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2.extras import Json

from tests.ledger_rows import CT_IMAGE, LedgerRows

Values = Sequence[Any] | None


def element(vr: str, values: Values) -> dict[str, Any] | None:
    """A DICOM JSON element; None where an instance lacks it."""
    return None if values is None else {"vr": vr, "Value": list(values)}


def block(
    rows: LedgerRows,
    series_uid: str,
    instances: Sequence[str],
    shared: Mapping[str, tuple[str, Values]],
    different: Mapping[str, tuple[str, Sequence[Values]]] | None = None,
) -> None:
    """Put indexed instances of a series into a block.

    Args:
        shared: tag -> VR and values.
        different: tag -> VR and the values of each instance.
    """
    with rows.connection.cursor() as cursor:
        cursor.execute(
            "insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid, "
            "transfer_syntax_uid, elements, content) values (%s, %s, %s, 1, %s, '1.2.840.10008.1.2.1', %s, '') "
            "returning block_id",
            (
                series_uid,
                series_uid.rsplit(".", 1)[0],
                len(instances),
                CT_IMAGE,
                Json({tag: element(*given) for tag, given in shared.items()}),
            ),
        )
        (block_id,) = cursor.fetchone()  # type: ignore[misc]
        for tag, (vr, each) in (different or {}).items():
            assert len(each) == len(instances)
            cursor.execute(
                "insert into header_difference values (%s, %s, %s)",
                (block_id, tag, Json([element(vr, values) for values in each])),
            )
        for position, uid in enumerate(instances):
            cursor.execute(
                "update instance set block_id = %s, block_position = %s where sop_instance_uid = %s",
                (block_id, position, uid),
            )
