"""Fetch exactly what is missing, from one source or several in order, and say of what did not come why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sluice.database import Database, named_query
from sluice.pacs.errors import PacsError, ServiceNotOffered
from sluice.pacs.fetch.arrivals import count_of_studies, wait_for
from sluice.pacs.fetch.attempts import Attempt, AttemptLog
from sluice.pacs.fetch.learned import MOVES, learn, learned
from sluice.pacs.fetch.together import Together
from sluice.pacs.fetch.wanted import Request, alone, requests_for, rest_of
from sluice.pacs.fetch.ways import KINDS, Asker, MoveClosed, Mover, MustCarry, Source, open_way
from sluice.pacs.governor.stops import PacsClosed
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Moved

if TYPE_CHECKING:
    from sluice.archive.storing import Storing
    from sluice.pacs.governor import Governor

MOST_ASKED_ALONE = 200  # instances of one pass that are asked for one by one to tell their reasons apart


@dataclass(frozen=True)
class RetrieveSummary:
    """One pass over studies of a window.

    Attributes:
        window_key: the window.
        studies: how many lacked instances.
        requests: requests to all sources.
        wanted: instances missing before.
        arrived: of those, how many have a receipt now.
        failed, not_arrived, refused, aborted, timed_out, gone: the others, by what the last request for them showed;
            `gone` is no longer held.
        missing: the others together.
        sources_down: sources that could not be asked.
    """

    window_key: str
    studies: int
    requests: int
    wanted: int
    arrived: int
    failed: int
    not_arrived: int
    refused: int
    aborted: int
    timed_out: int
    gone: int
    missing: int
    sources_down: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def missing_studies(database: Database, window_key: str) -> list[str]:
    """Study Instance UIDs of a window with expected instances that have not been received."""
    return [row["study_instance_uid"] for row in database.rows("missing_studies", {"window_key": window_key})]


def retrieve_missing(
    database: Database,
    sources: Sequence[Source],
    window_key: str,
    study_uids: Sequence[str],
    storing: Storing | None = None,
) -> RetrieveSummary:
    """Ask once for what these studies lack: whole studies, whole series, or single instances (PS3.4 C.4.2).

    Each source is asked for what those before it did not deliver. A request that is refused, aborted or times out is
    noted and the next one goes on. One that the governor ends before its time leaves its rest to be asked for next.
    Two passes at once, or the same pass again, ask for what is missing then.

    Args:
        storing: takes what C-GET and WADO-RS bring; None where only C-MOVE may be used.

    Raises:
        MustCarry: a source is to be asked by C-GET or DICOMweb, and there is no `storing`.
        GovernorStop: the governor of a source lets us not ask it now, and something is still missing.
        PacsError: something is missing and no source could be asked to the end: no association, or no way that is
            open to us. Whatever was left is noted as not asked for that reason.
    """
    with AttemptLog(database, window_key) as log:
        return _Pass(database, log, storing).run(sources, study_uids)


def move_missing(
    database: Database,
    node: PacsNode,
    window_key: str,
    study_uids: Sequence[str],
    governor: Governor | None = None,
) -> RetrieveSummary:
    """`retrieve_missing` from one source by C-MOVE."""
    return retrieve_missing(database, [Source(node, governor)], window_key, study_uids)


def count_missing(database: Database, window_key: str, study_uids: Sequence[str]) -> int:
    """How many instances of these studies are expected in a window and have not been received."""
    return len(database.rows("missing_instances", {"window_key": window_key, "study_uids": list(study_uids)}))


def note_gaps(database: Database, window_key: str, study_uids: Sequence[str]) -> int:
    """After the last pass: note a reason for every instance that did not come; return how many are missing.

    The reason is the one of the newest attempt. Noted again only when it has changed.
    """
    database.execute(named_query("note_gaps"), {"window_key": window_key, "study_uids": list(study_uids)})
    return count_missing(database, window_key, study_uids)


class _Pass:
    """One pass over the sources."""

    def __init__(self, database: Database, log: AttemptLog, storing: Storing | None) -> None:
        self.database = database
        self.log = log
        self.storing = storing
        self.attempts: list[Attempt] = []
        self.requests = 0
        self._untried = False  # whether nobody knows yet that the source sends by C-MOVE
        self._together: Together

    def run(self, sources: Sequence[Source], study_uids: Sequence[str]) -> RetrieveSummary:
        wanted = self.log.missing(study_uids)
        rows, errors, closed = wanted, list[PacsError](), list[PacsClosed]()
        try:
            for source in sources:
                if not rows:
                    break
                try:
                    self._ask_source(source, requests_for(rows))
                except MustCarry:
                    raise
                except PacsError as error:
                    errors.append(error)
                except PacsClosed as stop:  # another source may be open; which is first does not change within minutes
                    closed.append(stop)
                rows = self.log.missing(study_uids)
        finally:
            self.log.finish(self.attempts)
        if rows and closed:
            raise min(closed, key=lambda stop: (stop.until is None, stop.until))
        if rows and errors and len(errors) == len(sources):
            raise next((error for error in errors if not error.permanent), errors[-1])
        return self._summary(wanted, errors)

    def _ask_source(self, source: Source, requests: list[Request]) -> None:
        """Ask one source by the best way that is open to us; what is found out about C-MOVE is kept."""
        ways = list(source.node.ways)
        pacs = source.node.name
        known = learned(self.database, pacs, MOVES) if len(ways) > 1 else None
        if known is False:
            ways.sort(key=lambda way: way == "C-MOVE")
        self._untried = known is None
        self._together = Together(self.database, pacs)
        doubted = False
        while ways:
            way = ways.pop(0)
            before = len(self.attempts)
            try:
                self._ask_by(way, source, requests)
            except MoveClosed as closed:
                doubted = not closed.certain
                ways = [other for other in ways if other != "C-GET" or closed.offers_get]
                if not ways:
                    self._note(source, way, requests, closed.error)
                    raise closed.error from None
                if known is not False and closed.certain:
                    learn(self.database, pacs, MOVES, False)
            except ServiceNotOffered as error:
                if not ways:
                    self._note(source, way, requests, error)
                    raise
            else:
                brought = any(len(one.missing) < len(one.request.wanted) for one in self.attempts[before:])
                if brought and way == "C-MOVE" and len(source.node.ways) > 1 and known is not True:
                    learn(self.database, pacs, MOVES, True)
                if brought and doubted:
                    learn(self.database, pacs, MOVES, False)
                return

    def _ask_by(self, way: str, source: Source, requests: list[Request]) -> None:
        """Every request, then once more those whose answer leaves open which instance failed and why."""
        done = self._ask_all(way, source, requests)
        unclear = self._unclear(way, done)
        if unclear:
            self._ask_all(way, source, unclear)

    def _ask_all(self, way: str, source: Source, requests: list[Request]) -> list[Attempt]:
        """Requests in turn over one association, opened again where the PACS breaks it off; then wait for arrivals.

        What was asked is taken off `requests`.
        """
        done: list[Attempt] = []
        try:
            while requests:
                with open_way(way, source, requests, self.storing) as asker:
                    asked = self._ask(way, source, asker, requests)
                    while requests and asker.is_open and asker.takes(requests[0]):
                        asked += self._ask(way, source, asker, requests)
                    self._look_up(asker, asked)
                done += asked
        except (ServiceNotOffered, MustCarry):
            raise  # another way may be open, or another process can
        except PacsError as error:
            self._note(source, way, requests, error)
            raise
        self._wait(done)
        return done

    def _ask(self, way: str, source: Source, asker: Asker, requests: list[Request]) -> list[Attempt]:
        """The first of the requests, or several at its front in one; what has been asked is taken off them."""
        some = self._together.first_of(requests) if isinstance(asker, Mover) else requests[:1]
        if len(some) > 1 and isinstance(asker, Mover):
            return self._ask_together(way, source, asker, requests, some)
        request, started = requests[0], datetime.now(UTC)
        self.requests += 1
        try:
            moved = asker.ask(request, lambda: count_of_studies(self.database, [request.study]))
        except MoveClosed as closed:
            self._begin(source, way, [(request, Moved(error=closed.error))], started)
            raise
        (attempt,) = self._begin(source, way, [(request, moved)], started)
        if moved.interrupted:
            self._cut_short([attempt], requests)
            return [attempt]
        if self._untried and isinstance(asker, Mover) and attempt.failed_whole:
            (series,) = self.log.series_of(request.wanted[:1]).values()
            asker.doubt(request.study, series, request.wanted[0], moved.status or "")
        self._untried = self._untried and attempt.failed_whole
        self._together.note(attempt)
        requests.pop(0)
        return [attempt]

    def _ask_together(
        self, way: str, source: Source, mover: Mover, requests: list[Request], some: Sequence[Request]
    ) -> list[Attempt]:
        """Some whole studies in one request. Those of which the answer leaves open what they lack are not taken off."""
        studies, started = [request.study for request in some], datetime.now(UTC)
        self.requests += 1
        moved = mover.ask_together(studies, lambda: count_of_studies(self.database, studies))
        shares = list(zip(some, self._together.shares(some, moved, self.log.arrived), strict=True))
        attempts = self._begin(source, way, [(one, share) for one, share in shares if share is not None], started)
        if moved.interrupted:
            self._cut_short(attempts, requests)
        else:
            requests[: len(some)] = [one for one, share in shares if share is None]
        return attempts

    def _cut_short(self, attempts: list[Attempt], requests: list[Request]) -> None:
        """The governor stops us when the rest of these, the first of the requests, is to be asked for, or has us give
        way first."""
        self._wait(attempts)
        self.log.finish(attempts)
        rows = self.log.missing([attempt.request.study for attempt in attempts])
        requests[: len(attempts)] = [one for attempt in attempts for one in rest_of(attempt.request, rows)]

    def _begin(
        self, source: Source, way: str, answered: Sequence[tuple[Request, Moved]], started: datetime
    ) -> list[Attempt]:
        attempts = self.log.begin(source.node.name, KINDS[way], answered, started)
        self.attempts += attempts
        return attempts

    def _note(self, source: Source, way: str, requests: Sequence[Request], error: PacsError) -> None:
        """Say of requests that could not be made why."""
        noted = {id(attempt.request) for attempt in self.attempts}
        left = [(request, Moved(error=error)) for request in requests if id(request) not in noted]
        self._begin(source, way, left, datetime.now(UTC))

    def _wait(self, attempts: Sequence[Attempt]) -> None:
        """Until what the PACS says it sent has arrived, or nothing comes any more."""
        coming = [attempt for attempt in attempts if attempt.missing and attempt.reported]
        missing = [uid for attempt in coming for uid in attempt.missing]
        enough = sum(
            max(0, attempt.reported - (len(attempt.request.wanted) - len(attempt.missing))) for attempt in coming
        )
        here = wait_for(self.log.arrived, missing, enough)
        for attempt in coming:
            attempt.missing = [uid for uid in attempt.missing if uid not in here]

    def _look_up(self, asker: Asker, attempts: Sequence[Attempt]) -> None:
        """Ask whether the source still names the instances of which its answer says nothing."""
        silent = [attempt for attempt in attempts if attempt.unexplained]
        if not silent or not asker.is_open:
            return
        self._wait(attempts)
        for attempt in silent:
            unexplained = attempt.unexplained
            if not unexplained:
                continue
            series_of = self.log.series_of(unexplained)
            for series in sorted(set(series_of.values())):
                members = [uid for uid in unexplained if series_of.get(uid) == series][:MOST_ASKED_ALONE]
                try:
                    held = asker.held(attempt.request.study, series, members)
                except PacsError:
                    return  # the reasons stay less exact; what comes next will show whether the PACS is well
                if held is not None:
                    gone = [uid for uid in members if uid not in held]
                    attempt.moved.instances |= dict.fromkeys(gone, ("no-longer-held", attempt.moved.status or ""))

    def _unclear(self, way: str, attempts: Sequence[Attempt]) -> list[Request]:
        """Single requests for instances of which some failed and some were reported but never came, and the PACS did
        not say which (Failed SOP Instance UID List is optional); by DICOMweb for all that an answer left out."""
        single: list[Request] = []
        for attempt in attempts:
            moved, request = attempt.moved, attempt.request
            if len(request.wanted) < 2 or moved.error is not None or moved.interrupted:
                continue
            missing = [uid for uid in attempt.missing if uid not in moved.instances]
            some_failed = 0 < moved.failed < len(missing) and not moved.failed_uids
            if missing and (some_failed or (way == "DICOMweb" and moved.status == "200")):
                single += alone(request, missing, self.log.series_of(missing))
        return single[:MOST_ASKED_ALONE]

    def _summary(self, wanted: Sequence[dict[str, Any]], errors: Sequence[PacsError]) -> RetrieveSummary:
        uids = [row["sop_instance_uid"] for row in wanted]
        here = self.log.arrived(uids)
        reasons: dict[str, str] = {}
        for attempt in self.attempts:
            reasons |= attempt.reasons
        by_reason = Counter(reasons.get(uid, "not-asked") for uid in uids if uid not in here)
        return RetrieveSummary(
            window_key=self.log.window_key,
            studies=len({row["study_instance_uid"] for row in wanted}),
            requests=self.requests,
            wanted=len(uids),
            arrived=len(here),
            failed=by_reason["failed-suboperation"],
            not_arrived=by_reason["reported-not-arrived"],
            refused=by_reason["refused"],
            aborted=by_reason["aborted"],
            timed_out=by_reason["timed-out"],
            gone=by_reason["no-longer-held"],
            missing=by_reason.total(),
            sources_down=len(errors),
        )
