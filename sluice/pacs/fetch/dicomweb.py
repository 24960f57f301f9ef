"""The one place where a DICOMweb service is spoken to (PS3.18): session, errors that a person can act on, QIDO-RS.

`dicomweb_client` makes the queries. Instances are not fetched through it (`sluice.pacs.fetch.wado`): it decodes them,
holds each in memory, and takes an answer that breaks off for one that is complete.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import requests
from pydicom.dataset import Dataset

from sluice.pacs.errors import (
    PacsAborted,
    PacsBusy,
    PacsError,
    PacsRefused,
    PacsStatusError,
    PacsTimedOut,
    PacsUnreachable,
)
from sluice.pacs.fetch.web_route import authorities_of, proxies_of
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor

# Both log addresses, which name studies.
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

PAGE = 200  # answers asked for at once: some services refuse more; where one gives fewer it has a limit of its own
MOST_PAGES = 10_000
LEVELS = {"STUDY": "search_for_studies", "SERIES": "search_for_series", "IMAGE": "search_for_instances"}
PERMANENT = ("401", "403", "405", "407", "501")
ADVICE = {
    "400": "It does not understand the request. Its conformance statement says what it does.",
    "401": "It does not know our login, password or token. Correct them in the connection.",
    "403": "It does not allow this to our login. Ask its administrator.",
    "404": "There is no DICOMweb service at this address. Correct dicomweb_url in the connection.",
    "405": "It does not offer this service.",
    "406": "It cannot send objects as they are stored (transfer-syntax=*). Use C-MOVE or C-GET for this PACS.",
    "407": "A proxy on the way wants a login. Put it into dicomweb_proxy, as in http://login:password@proxy:3128.",
    "409": "It says that this contradicts the state of the object. Retry later.",
    "413": "It finds the answer too large. Use C-MOVE or C-GET for this PACS.",
    "501": "It does not offer this service.",
}


class DicomwebAssociation:
    """An HTTP session with the DICOMweb service of a PACS; what an association is to DIMSE. Made by `open`."""

    def __init__(self, node: PacsNode, session: requests.Session, governor: Governor | None = None) -> None:
        from dicomweb_client import DICOMwebClient

        self.node = node
        self.url = (node.dicomweb_url or "").rstrip("/")
        self.governor = governor
        self._session = session
        self._client = DICOMwebClient(self.url, session=session, timeout=node.timeout_s, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # when to ask again is the governor's and the pass's business
        self.is_open = True

    @classmethod
    @contextmanager
    def open(cls, node: PacsNode, governor: Governor | None = None) -> Iterator[Self]:
        """A session with the service of `node`, closed at the end; nothing is asked yet."""
        with _held(governor), requests.Session() as session:
            session.trust_env = False  # what of the environment counts is said in `web_route`
            session.proxies = proxies_of(node)
            session.verify = authorities_of(node)
            if node.tls_certificate:
                session.cert = (node.tls_certificate, node.tls_key or node.tls_certificate)
            credentials = node.credentials
            if credentials.token:
                session.headers["Authorization"] = f"Bearer {credentials.token}"
            elif credentials.login:
                session.auth = (credentials.login, credentials.password)
            web = cls(node, session, governor)
            try:
                yield web
            finally:
                web.is_open = False

    def find(self, identifier: Dataset) -> Found:
        """QIDO-RS with the keys of a C-FIND identifier (PS3.18 10.6), page by page until a page is empty or short.

        Raises:
            PacsError: it did not answer, or with an HTTP failure; `partial` is what the pages before held.
        """
        found = Found()
        started = time.monotonic()
        try:
            self._pages(identifier, found)
        except PacsError as error:
            error.partial = found
            raise
        finally:
            found.duration_ms = round((time.monotonic() - started) * 1000)
        return found

    def _pages(self, identifier: Dataset, found: Found) -> None:
        level, fixed, filters, fields = _search(identifier)
        search: Callable[..., Any] = getattr(self._client, LEVELS[level])
        page = 0
        for _ in range(MOST_PAGES):
            offset = len(found.answers) + found.unreadable
            with self.governed("QIDO-RS") as request:
                with self.errors("QIDO-RS"):
                    answers = search(**fixed, search_filters=filters, fields=fields, limit=PAGE, offset=offset)
                request.answered("200", items=len(answers))
            for answer in answers:
                _read(answer, found)
            # fewer than asked for: all there is, or a limit of its own, which is as long as the page before
            if not answers or (page and len(answers) < page):
                break
            page = len(answers)

    @contextmanager
    def governed(self, service: str) -> Iterator[Request]:
        """One request to the service, past the governor where there is one."""
        if self.governor is None:
            yield _Ungoverned()
        else:
            with self.governor.request(service) as request:
                yield request

    def answers(self) -> None:
        """Ask for one study of any, to see whether the service is there and knows us.

        Raises:
            PacsError: it is not, or does not.
        """
        response = self.get("/studies?limit=1", "application/dicom+json")
        with response:
            if response.status_code not in (200, 204):
                raise http_error(self.node, "QIDO-RS", response)

    def get(self, path: str, accept: str) -> requests.Response:
        """GET below the base URL; the answer's body is still to be read, in pieces.

        Raises:
            PacsError: no answer.
        """
        with self.errors("WADO-RS"):
            return self._session.get(
                self.url + path, headers={"Accept": accept}, stream=True, timeout=self.node.timeout_s
            )

    @contextmanager
    def errors(self, service: str) -> Iterator[None]:
        """What goes wrong within, as the project's errors; their messages hold neither address nor credentials."""
        name, limit = self.node.name, self.node.timeout_s
        try:
            yield
        except requests.HTTPError as error:
            response = requests.Response() if error.response is None else error.response
            raise http_error(self.node, service, response) from None
        except requests.exceptions.InvalidJSONError:
            raise PacsStatusError(
                f"The DICOMweb service of PACS {name} answered {service} with something that is no DICOM JSON. "
                "Is dicomweb_url the base URL of the service, and not that of a login page?",
                "200",
            ) from None
        except requests.exceptions.ProxyError:
            raise PacsUnreachable(
                f"The proxy on the way to the DICOMweb service of PACS {name} does not answer, or does not let us "
                "through. Correct dicomweb_proxy in the connection (none: no proxy), or HTTPS_PROXY and NO_PROXY of "
                "the workers."
            ) from None
        except requests.exceptions.SSLError:
            raise PacsRefused(
                f"The certificate of the DICOMweb service of PACS {name} cannot be verified, or it refuses ours. "
                "Put the authority's PEM file into tls_ca of the connection, or into REQUESTS_CA_BUNDLE of the workers."
            ) from None
        except (requests.Timeout, TimeoutError):
            raise PacsTimedOut(
                f"The DICOMweb service of PACS {name} gave no sign of life for {limit:g} s during {service}. "
                "Retry outside busy hours, or raise the time limit of the connection."
            ) from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise self.broken_off(service) from None
        except requests.exceptions.ConnectionError as error:
            if "Read timed out" in str(error):  # in the middle of a body requests calls it a connection error
                raise PacsTimedOut(
                    f"The DICOMweb service of PACS {name} sent nothing for {limit:g} s during {service}. Retry later."
                ) from None
            raise PacsUnreachable(
                f"Nobody answers at the DICOMweb address of PACS {name}. Check dicomweb_url in the connection, the "
                "firewall between, and whether the service is up."
            ) from None
        except requests.RequestException as error:
            raise PacsAborted(
                f"{service} at PACS {name} failed ({type(error).__name__}). Check dicomweb_url in the connection."
            ) from None

    def broken_off(self, service: str) -> PacsAborted:
        """The error for an answer that ends in the middle."""
        return PacsAborted(
            f"The DICOMweb service of PACS {self.node.name} broke off in the middle of an answer to {service}. "
            "What had come whole is kept. Retry later."
        )


class Request(Protocol):
    """What a request is told: `sluice.pacs.governor.hold.Request`."""

    def answered(self, status: str | None, size: int = 0, items: int = 0) -> None:
        """A final answer."""

    def broke(self, error: BaseException) -> None:
        """It ended by an error."""

    def has_to_end(self) -> bool:
        """Whether it has to end before its time."""


class _Ungoverned:
    def answered(self, status: str | None, size: int = 0, items: int = 0) -> None:
        pass

    def broke(self, error: BaseException) -> None:
        pass

    def has_to_end(self) -> bool:
        return False


def http_error(node: PacsNode, service: str, response: requests.Response) -> PacsError:
    """The error for an HTTP failure status."""
    status = str(response.status_code)
    answered = f"The DICOMweb service of PACS {node.name} answered {service} with status {status}."
    if status in ("429", "503"):
        wait_s = _retry_after(response)
        advice = f"It asks us to wait {wait_s:g} s." if wait_s else "It is busy. Retry later."
        return PacsBusy(f"{answered} {advice}", wait_s, status)
    advice = ADVICE.get(status, "Look into its log for this moment; retry later.")
    error = PacsStatusError(f"{answered} {advice}", status)
    error.permanent = status in PERMANENT
    return error


def _retry_after(response: requests.Response) -> float:
    """Seconds of a Retry-After header, which may be a date (RFC 9110 10.2.3); 0 where there is none."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(min(int(value), 86_400))
    try:
        return max(0.0, min(parsedate_to_datetime(value).timestamp() - time.time(), 86_400.0))
    except (TypeError, ValueError):
        return 0.0


def _search(identifier: Dataset) -> tuple[str, dict[str, str], dict[str, str], list[str]]:
    """Level, UIDs of the resource above, matching keys and return keys of an identifier."""
    level = str(identifier.QueryRetrieveLevel)
    fixed: dict[str, str] = {}
    filters: dict[str, str] = {}
    fields: list[str] = []
    above = {"SERIES": ("StudyInstanceUID",), "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID")}.get(level, ())
    for element in identifier:
        keyword, value = element.keyword, element.value
        if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet"):
            continue
        fields.append(keyword)
        if value in (None, ""):
            continue
        text = ",".join(map(str, value)) if element.VM > 1 else str(value)
        if keyword in above:
            fixed[{"StudyInstanceUID": "study_instance_uid", "SeriesInstanceUID": "series_instance_uid"}[keyword]] = (
                text
            )
        else:
            filters[keyword] = text
    return level, fixed, filters, fields


def _read(answer: Mapping[str, Any], found: Found) -> None:
    """DICOM JSON of one match (PS3.18 F.2), each element by itself: one that is odd does not spoil the others."""
    dataset = Dataset()
    for tag, value in answer.items():
        try:
            dataset.update(Dataset.from_json({tag: value}))
        except Exception:  # whatever a service writes into an element, we can do without it
            continue
    if len(dataset):
        found.answers.append(dataset)
    else:
        found.unreadable += 1


@contextmanager
def _held(governor: Governor | None) -> Iterator[None]:
    if governor is None:
        yield
    else:
        with governor.association():
            yield
