"""The one place where an association with a PACS is opened.

Everything that is asked of a PACS goes through `associate`: presentation contexts, time limits, PDU size,
TCP_NODELAY (Nagle's algorithm adds 40 ms to each small request), a clean release, and errors that a person
can act on. C-ECHO, C-FIND, C-MOVE and C-STORE go over our own requestor; where we serve something ourselves on the
association (C-GET, the report of a storage commitment) it is pynetdicom's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from sluice.pacs.connecting import connect
from sluice.pacs.errors import PacsStatusError, ServiceNotOffered, broke_off, status_advice
from sluice.pacs.governor.stops import GovernorStop
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found, Moved
from sluice.pacs.proposal import SYNTAXES
from sluice.pacs.requestor import Requestor
from sluice.pacs.serving import Serving, ServingLink, connect_serving

if TYPE_CHECKING:
    from sluice.pacs.fetch.get import Fetching
    from sluice.pacs.governor import Governor

Link = Requestor | ServingLink

FIND = (StudyRootQueryRetrieveInformationModelFind,)
MOVE = (StudyRootQueryRetrieveInformationModelMove,)
GET = (StudyRootQueryRetrieveInformationModelGet,)
ECHO = (Verification,)

# pynetdicom logs identifiers of patients, pydicom warns with values; neither may reach a log of ours.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# A UID or AE title that breaks the rules must reach our own check, which answers with a status.
_config.VALIDATORS["UI"] = lambda value: (True, "")


class PacsAssociation:
    """An established association with a PACS; made by `associate`."""

    def __init__(self, node: PacsNode, link: Link) -> None:
        self.node = node
        self._link = link

    @property
    def is_open(self) -> bool:
        """Whether more can be asked on it."""
        return self._link.is_open

    def release(self) -> None:
        """End it in order."""
        self._link.release()

    def abort(self) -> None:
        """End it at once."""
        self._link.abort()

    def echo(self) -> str:
        """C-ECHO; the status in four hex digits.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the response.
        """
        return self._requestor.echo(self._offered(ECHO[0], "C-ECHO"))

    def find(self, identifier: Dataset) -> Found:
        """C-FIND; a failure status is returned, not raised, because a split may still get an answer.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the final response; `partial` is what came before.
        """
        return self._link.find(self._offered(FIND[0], "C-FIND"), identifier)

    def move(
        self,
        identifier: Dataset,
        progress: Callable[[], object] | None = None,
        has_to_end: Callable[[], bool] | None = None,
    ) -> Moved:
        """C-MOVE to the node's move destination; always returns, with `error` set when it broke off, or `interrupted`
        when we ended it.

        Args:
            progress: any value that changes while instances arrive. A PACS may stay silent during a move (pending
                responses are optional), so the time limit runs only while neither it nor a response changes.
            has_to_end: whether the request has to end before its time. Then the PACS is sent a C-CANCEL-RQ, and the
                association is aborted where that does not end it within `sluice.pacs.interruption.GRACE_S`.
        """
        if not self.is_open:
            return Moved(error=broke_off(self.node, "C-MOVE"))
        return self._requestor.move(self._offered(MOVE[0], "C-MOVE"), identifier, progress, has_to_end)

    def store(self, sop_class: UID, sop_instance: UID, encoded: Callable[[UID], bytes]) -> str:
        """C-STORE of one object; the status in four hex digits.

        Args:
            encoded: gives the dataset in the transfer syntax that the PACS accepted for the SOP class.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the response.
            ServiceNotOffered: the PACS does not take this SOP class in a transfer syntax that was proposed.
        """
        if not self.is_open:
            raise broke_off(self.node, "C-STORE")
        if not self.offers(sop_class):
            raise ServiceNotOffered(
                f"The PACS {self.node.address} does not take {sop_class.name} in the transfer syntax that we have. "
                "Ask its administrator to allow it to our AE title."
            )
        return self._requestor.store(sop_class, sop_instance, encoded)

    def get(self, identifier: Dataset, fetching: Fetching, has_to_end: Callable[[], bool] | None = None) -> Moved:
        """C-GET over this association, which was opened with `fetching`; always returns, with `error` set when it
        broke off, or `interrupted` when we ended it. The time limit runs only while nothing at all arrives.

        Args:
            has_to_end: see `move`.
        """
        if not self.is_open:
            return Moved(error=broke_off(self.node, "C-GET"))
        return self._serving.get(self._offered(GET[0], "C-GET"), identifier, fetching, has_to_end)

    def event_report(self, sop_class: UID, sop_instance: UID, event_type: int, information: Dataset) -> str:
        """N-EVENT-REPORT (PS3.7 10.1.1); the status in four hex digits.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the response.
            ValueError: the context was not accepted.
        """
        if not self.is_open:
            raise broke_off(self.node, "N-EVENT-REPORT")
        return self._serving.event_report(sop_class, sop_instance, event_type, information)

    def offers(self, model: UID) -> bool:
        """Whether the PACS accepted a context for this query/retrieve model."""
        return model in self._link.accepted

    @property
    def _requestor(self) -> Requestor:
        if not isinstance(self._link, Requestor):
            raise TypeError("An association that was opened with `fetching` can neither C-ECHO nor C-MOVE.")
        return self._link

    @property
    def _serving(self) -> ServingLink:
        if not isinstance(self._link, ServingLink):
            raise TypeError("C-GET and N-EVENT-REPORT need an association that was opened with `fetching`.")
        return self._link

    def _offered(self, model: UID, service: str) -> UID:
        if not self.is_open:
            raise broke_off(self.node, service)
        if not self.offers(model):
            raise ServiceNotOffered(
                f"The PACS {self.node.address} does not offer {service} in Study Root. "
                "Ask its administrator to allow it to our AE title."
            )
        return model


@contextmanager
def associate(
    node: PacsNode,
    contexts: tuple[UID, ...],
    fetching: Serving | None = None,
    governor: Governor | None = None,
    syntaxes: Sequence[UID] = SYNTAXES,
) -> Iterator[PacsAssociation]:
    """An association with `node` for the abstract syntaxes `contexts`, released at the end.

    Args:
        fetching: what we serve ourselves on it: `Fetching` for C-GET, or the report of a storage commitment.
        governor: what every request has to pass; None for tests and the Test button of the connection.
        syntaxes: transfer syntaxes that are proposed; other than the default ones for C-STORE only.

    Raises:
        PacsUnreachable, PacsRefused, PacsTimedOut, PacsAborted, TlsError: it was not established.
        GovernorStop: the PACS must not be asked now.
    """
    with ExitStack() as stack:
        connect = partial(_connect, node, contexts, fetching, syntaxes)
        if governor is None:
            association = PacsAssociation(node, connect())
        else:
            from sluice.pacs.governor.governed import GovernedAssociation

            association = GovernedAssociation(node, connect, stack.enter_context(governor.association()))
        try:
            yield association
        except GovernorStop:
            association.release()  # nothing is wrong with it
            raise
        except BaseException:
            association.abort()
            raise
        else:
            association.release()


def _connect(
    node: PacsNode, contexts: tuple[UID, ...], fetching: Serving | None, syntaxes: Sequence[UID] = SYNTAXES
) -> Link:
    return connect(node, contexts, syntaxes) if fetching is None else connect_serving(node, contexts, fetching)


def identifier_of(level: str, keys: Mapping[str, str | list[str]], return_keys: tuple[str, ...] = ()) -> Dataset:
    """An identifier for C-FIND or C-MOVE: matching keys with values, return keys empty (PS3.4 C.2.2)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in return_keys:
        setattr(identifier, keyword, None)
    if any(not "".join(value).isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def status_error(node: PacsNode, service: str, status: str) -> PacsStatusError:
    """The error for a failure status."""
    advice = status_advice(status, node.calling_ae_title, node.move_destination)
    return PacsStatusError(f"The PACS {node.address} answered {service} with status {status}. {advice}", status)
