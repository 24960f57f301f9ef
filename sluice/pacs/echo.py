"""C-ECHO, or its like over DICOMweb: can we talk to this PACS at all?"""

from __future__ import annotations

import time

from sluice.pacs.association import ECHO, associate, status_error
from sluice.pacs.node import PacsNode


def echo(node: PacsNode) -> str:
    """Verify the connection (PS3.4 Annex A) and say so in a sentence; of a service that offers no C-FIND by QIDO-RS.

    Raises:
        PacsError: it does not work; the message says what to do.
    """
    started = time.monotonic()
    if node.query_by == "QIDO-RS":
        from sluice.pacs.fetch.dicomweb import DicomwebAssociation

        with DicomwebAssociation.open(node) as web:
            web.answers()
        return f"The DICOMweb service of {node.name} answers in {(time.monotonic() - started) * 1000:.0f} ms."
    with associate(node, ECHO) as association:
        status = association.echo()
    if status != "0000":
        raise status_error(node, "C-ECHO", status)
    return f"{node.address} answers to {node.calling_ae_title} in {(time.monotonic() - started) * 1000:.0f} ms."
