"""One slot at a PACS: waiting for it, holding it, asking over it, giving it up to somebody more urgent.

A request that is under way is told to end where people or the hours say so (`Request.has_to_end`).
"""

from __future__ import annotations

import logging
import select as io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select
from sluice.pacs.errors import PacsAborted, PacsBusy, PacsTimedOut
from sluice.pacs.governor import leases
from sluice.pacs.governor.leases import Use
from sluice.pacs.governor.pace import (
    Clock,
    Sample,
    ensure_pace,
    note_complaint,
    note_good,
    pay_bytes,
    wait_for_pace,
)
from sluice.pacs.governor.policy import Policy
from sluice.pacs.governor.pressure import Tempo, complaint
from sluice.pacs.governor.situation import Situation, look
from sluice.pacs.governor.stops import GovernorLost, PacsClosed, PacsOccupied

log = logging.getLogger(__name__)

TICK_S = 1.0  # how soon an order, a changed policy or somebody more urgent is seen
QUIET_S = 10.0  # without a tick for so long (a stopped process) the slot is checked before anything is asked
IDLE_S = 10.0  # longer waits are not spent with an open association
# Nothing is cut short for somebody more urgent before this. Most studies are here by then, and cutting one costs
# an association and a request for each 50 of its instances; somebody urgent waits no longer for it than that.
UNDISTURBED_S = 20.0
LOST_S = leases.STALLED_S / 2  # without a look for so long the slot may soon be another's: what is under way ends
RETURN_PATIENCE_S = 1200.0  # how long work that gave its slot up waits for another; ageing brings one within that
ERRORS = {
    PacsBusy: "the PACS rejected an association: too many are open",
    PacsTimedOut: "no answer within the time limit",
    PacsAborted: "the PACS broke an association off",
}


@dataclass
class Request:
    """One request to the PACS; say what came of it by `answered` or `broke`."""

    hold: Hold
    service: str
    started: float
    done: bool = False

    def answered(self, status: str | None, size: int = 0, items: int = 0, may_be_cap: bool = False) -> None:
        """A final answer.

        Args:
            status: four hex digits of DIMSE or three of HTTP; None when none came.
            size: bytes that it brought.
            items: answers or instances, so that long answers do not look slow.
            may_be_cap: the PACS may have cut a long list off rather than complain.
        """
        if not self.done:
            self.done = True
            self.hold._note(self, status, size, items, may_be_cap)

    def broke(self, error: BaseException) -> None:
        """It ended by an error; counts as a complaint where the PACS aborted, timed out or was busy."""
        if not self.done:
            self.done = True
            self.hold.failed(error, self.took_s)

    def has_to_end(self) -> bool:
        """Whether it has to end before its time; may be asked by any thread, and costs nothing."""
        return self.hold._interrupts(self.took_s)

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return self.hold.clock.monotonic() - self.started


@dataclass
class Hold:
    """One slot at one PACS, over a database connection of its own; made by `Governor.association`.

    Attributes:
        close: closes the association with the PACS when the slot is given up for a while; whoever has one sets it.
    """

    connection: Connection
    pacs: str
    use: Use
    fallback: Policy
    tempo: Tempo
    clock: Clock
    close: Callable[[], None] = lambda: None
    lease_id: int = 0
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _done: threading.Event = field(default_factory=threading.Event)
    _ticker: threading.Thread | None = None
    _seen: Situation | None = None
    _seen_at: float = 0.0
    _lost: GovernorLost | None = None
    _requests: int = 0
    _bytes: int = 0
    _samples: list[Sample] = field(default_factory=list)

    def take(self, patience_s: float) -> None:
        """Wait for a slot.

        Raises:
            PacsClosed, RetrievalPaused, RetrievalCancelled: nothing may be asked now.
            PacsOccupied: none became free within `patience_s`.
        """
        with self._database():
            with self.connection.cursor() as cursor:
                # heartbeats and pace need not survive a crash of Postgres; turns and events do (leases.turn)
                cursor.execute("set synchronous_commit to off; listen sluice_pacs")
            ensure_pace(self.connection, self.pacs)
            self.lease_id = leases.enqueue(self.connection, self.pacs, self.use)
            deadline = time.monotonic() + patience_s
            while not self._try():
                left = deadline - time.monotonic()
                if left <= 0:
                    self._end("gave-up")
                    raise PacsOccupied(
                        f"All associations that {self.pacs} bears now are in use, for {patience_s:.0f} s and longer. "
                        "Work goes on when one is free; the page PACS shows who has them."
                    )
                if io.select([self.connection], [], [], min(TICK_S, left))[0]:
                    self.connection.poll()
                    self.connection.notifies.clear()
        self._done = threading.Event()
        self._ticker = threading.Thread(target=self._tick_on, args=(self._done,), daemon=True, name="pacs-lease")
        self._ticker.start()

    def leave(self) -> None:
        """Give the slot back; never raises, because Postgres frees it anyway when the connection closes."""
        self._rest()
        try:
            with self._guard:
                self._learn()
                self._end("released")
        except psycopg2.Error:
            log.warning("The slot at %s could not be given back in order; it ends with the connection.", self.pacs)
        finally:
            self.connection.close()

    @contextmanager
    def request(self, service: str = "C-FIND") -> Iterator[Request]:
        """Ask one thing: waits for pace, gives way to somebody more urgent first, and stops where people said so.

        Raises:
            GovernorStop: nothing may be asked now; the message says why.
        """
        self._between()
        request = Request(self, service, self.clock.monotonic())
        try:
            yield request
        except BaseException as error:
            request.broke(error)
            raise
        request.answered(None)

    def failed(self, error: BaseException, took_s: float = 0.0) -> None:
        """An association could not be made, or a request broke off."""
        with self._guard:
            self._requests += 1
        for kind, reason in ERRORS.items():
            if isinstance(error, kind):
                self._complain(reason, took_s)
                return

    def newest_receipt(self) -> int:
        """The highest receipt id there is; what a request brings has higher ones, whatever anybody's clock says."""
        with self._database():
            (row,) = select(self.connection, "select coalesce(max(receipt_id), 0) as newest from receipt")
        return int(row["newest"])

    def bytes_after(self, receipt_id: int, study_uids: Sequence[str]) -> int:
        """Bytes of studies that were received after a receipt."""
        with self._database():
            (row,) = select(
                self.connection,
                "select coalesce(sum(bytes), 0) as bytes from receipt "
                "where study_instance_uid = any (%s) and receipt_id > %s",
                (list(study_uids), receipt_id),
            )
        return int(row["bytes"])

    def _between(self) -> None:
        """What has to be settled before the next request."""
        self._look()
        if self._seen is not None and not self._seen.is_our_turn:
            self._give_way()
        wait_s = self._seen.bearing.pause_s if self._seen else 0.0
        limits = self._seen.limits if self._seen else None
        if limits is not None and (limits.bytes_per_s or limits.queries_per_s):
            with self._database():
                wait_s = max(wait_s, wait_for_pace(self.connection, self.pacs, limits, self.clock.now()))
        if wait_s > IDLE_S:
            self.close()
        while wait_s > 0:
            step = min(wait_s, TICK_S / 2)
            self.clock.sleep(step)
            wait_s -= step
            self._look()

    def _look(self) -> None:
        """Raise what the newest look says; look anew where it is old, because a stopped process may have lost all."""
        if time.monotonic() - self._seen_at > QUIET_S:
            self._tick()
        if self._lost is not None:
            raise self._lost
        if self._seen is not None and self._seen.stop is not None:
            raise self._seen.stop

    def _interrupts(self, took_s: float) -> bool:
        """Whether a request that has run so long has to end, as the thread that looks each second last saw it."""
        if self._lost is not None or time.monotonic() - self._seen_at > LOST_S:
            return True
        seen = self._seen
        return seen is not None and (seen.stop is not None or (seen.is_outranked and took_s >= UNDISTURBED_S))

    def _give_way(self) -> None:
        """Let somebody more urgent have the slot, and wait for the next."""
        self._rest()
        self.close()
        with self._database():
            self._learn()
            self._end("gave-way")
        self.take(RETURN_PATIENCE_S)

    def _try(self) -> bool:
        """Look, and take the slot if it is our turn."""
        seen = self._situation()
        if seen.stop is None and seen.is_our_turn and seen.in_use < seen.slots:
            with leases.turn(self.connection, self.pacs):
                leases.bury(self.connection, leases.live_rows(self.connection, self.pacs))
                seen = self._situation()
                if seen.stop is None and seen.is_our_turn and seen.in_use < seen.slots:
                    leases.grant(self.connection, self.lease_id, seen.rank)
                    self._seen, self._seen_at = seen, time.monotonic()
                    return True
        if seen.stop is not None:
            self._end("closed" if isinstance(seen.stop, PacsClosed) else "ordered")
            raise seen.stop
        leases.beat(self.connection, self.lease_id)
        return False

    def _tick_on(self, done: threading.Event) -> None:
        while not done.wait(TICK_S):
            self._tick()

    def _tick(self) -> None:
        try:
            with self._guard:
                self._learn()
                seen = self._situation()
                alive = leases.beat(self.connection, self.lease_id)
            self._seen, self._seen_at = seen, time.monotonic()
        except psycopg2.Error:
            self._lost = _away()
            return
        if not alive:
            self._lost = GovernorLost(
                f"The slot at {self.pacs} was taken away, because this process stood still for a while. Run it again."
            )

    def _situation(self) -> Situation:
        return look(self.connection, self.pacs, self.use, self.lease_id, self.fallback)

    def _note(self, request: Request, status: str | None, size: int, items: int, may_be_cap: bool) -> None:
        took_s = request.took_s
        limits = self._seen.limits if self._seen else None
        with self._guard:
            self._requests += 1
            self._bytes += size
            if status is not None and (status in ("0000", "200", "206") or status.startswith("B")):
                self._samples.append(Sample(request.service, took_s * 1000 / (1 + items)))
        if size and limits is not None and limits.bytes_per_s:
            with self._database():
                pay_bytes(self.connection, self.pacs, size, took_s, limits.bytes_per_s, self.clock.now())
        reason = complaint(request.service, status, may_be_cap)
        if reason:
            self._complain(reason, took_s)

    def _complain(self, reason: str, took_s: float) -> None:
        with self._database():
            with leases.turn(self.connection, self.pacs):
                seen = self._situation()
                # what others learned within the last tick did not reach us before we asked
                took_s += TICK_S
                if note_complaint(self.connection, self.pacs, reason, took_s, seen.in_use, seen.now, self.tempo):
                    log.warning("Slowing down at %s: %s.", self.pacs, reason)
            self._seen, self._seen_at = self._situation(), time.monotonic()

    def _learn(self) -> None:
        """Hand over what was counted since the last time; `_guard` is held."""
        requests, size, samples = self._requests, self._bytes, self._samples
        self._requests, self._bytes, self._samples = 0, 0, []
        if requests:
            leases.beat(self.connection, self.lease_id, requests, size)
        if samples and self._seen is not None and self._seen.limits is not None:
            with leases.turn(self.connection, self.pacs):
                seen = self._situation()
                most = seen.limits.concurrency if seen.limits else self._seen.limits.concurrency
                note_good(self.connection, self.pacs, samples, seen.in_use, most, seen.now, self.tempo)

    def _end(self, ended_by: str) -> None:
        leases.end(self.connection, self.pacs, self.lease_id, ended_by)

    def _rest(self) -> None:
        """Stop the thread that keeps the lease alive."""
        self._done.set()
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()
        self._ticker = None

    @contextmanager
    def _database(self) -> Iterator[None]:
        """The connection for ourselves; what Postgres says becomes an error that stops the work."""
        with self._guard:
            try:
                yield
            except psycopg2.Error as error:
                self._lost = _away()
                raise self._lost from error


def _away() -> GovernorLost:
    return GovernorLost(
        "Sluice's database, which keeps the slots of the PACS, does not answer; nothing is asked without it. "
        "Check SLUICE_DATABASE_URL or the connection sluice_db, then run it again."
    )
