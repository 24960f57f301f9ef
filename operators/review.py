"""The task that waits for a person: nothing is published before the release is approved as its project asks.

It waits in Airflow's state *awaiting input*: without a worker and without a trigger. It goes on when somebody answers
its request in Airflow, when the page Review tells it to, and by itself every `LOOK_EVERY` to see whether an approval
stands that nobody told it of. Each time it first does what was decided meanwhile (produces objects again, reads the
bucket back), counts, and asks again where something is lacking. `sluice.release.review.decide` is the one way in for
an answer, wherever it was given.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperatorLink, Param

from operators.links import SluicePageLink, page_link

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from sluice.release.review import Opened, Standing

APPROVE, REJECT, LOOK = "Approve", "Reject", "Look again"
VERDICTS = {APPROVE: "approved", REJECT: "rejected"}
LOOK_EVERY = timedelta(minutes=15)
LONGEST = timedelta(days=30)  # after that the task fails, and says how to ask again
# Runs that wait for a person must not keep the next days from beginning, and end after the task itself gave up.
RUN_WAITS = {"max_active_runs": 32, "dagrun_timeout": LONGEST + timedelta(days=1)}

BODY = """**[Open the page Review]({link})**: every string that it keeps, pictures, counts, and what is new since the
last version. Approve there with one button. To answer here instead, copy the digest from that page.

{standing}
"""


class NotApproved(RuntimeError):  # noqa: N818
    """Nobody approved the release in time; the message says how to ask again."""

    permanent = True


class ReviewLink(BaseOperatorLink):
    """The page Review of this release."""

    name = "Review"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """URL of the page; before the task has ended, of the list of all releases."""
        from operators.links import returned

        try:
            release_id = returned(ti_key).get("release_id")
        except Exception:  # it still waits
            release_id = None
        return page_link("/review", {"release": release_id} if release_id else {})


class ReviewOperator(HITLOperator):
    """Wait until a release is approved or rejected.

    Args:
        release: as `operators.releases` hands it from task to task.
    """

    template_fields = (*HITLOperator.template_fields, "release")
    operator_extra_links = (ReviewLink(), SluicePageLink())
    ui_color = "#f6ead2"

    def __init__(self, *, release: dict[str, Any], **kwargs: Any) -> None:
        kwargs.pop("params", None)  # a mapped task is made with those of its DAG, which are no part of this form
        super().__init__(
            subject="A release waits for approval",
            options=[APPROVE, REJECT, LOOK],
            defaults=LOOK,
            response_timeout=LOOK_EVERY,
            params={
                "digest": Param("", type="string", title="Digest", description="As the page Review shows it."),
                "reason": Param(None, type=["null", "string"], title="Reason", description="Needed to reject."),
            },
            **kwargs,
        )
        self.release = release
        self.refused = ""  # why the answer before this question did not count

    def execute(self, context: Any) -> Any:
        """Open the review; wait where an approval is lacking."""
        return self._look(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take an answer, if it is one, and look again."""
        if "error" in event:
            self.process_trigger_event_error(event)
        self.refused = ""
        chosen, person = event["chosen_options"][0], event.get("responded_by_user")
        if chosen in VERDICTS and person:
            self._answered(VERDICTS[chosen], person["name"], event.get("params_input") or {})
        return self._look(context)

    def _answered(self, verdict: str, person: str, said: dict[str, Any]) -> None:
        from operators.connections import database
        from sluice.release.review import ReviewError, decide

        try:
            decide(
                database(),
                self.release["release_id"],
                person,
                verdict,
                str(said.get("digest") or ""),
                str(said.get("reason") or ""),
            )
        except ReviewError as refused:
            self.log.warning("The answer of %s does not count: %s", person, refused)
            self.refused = f" The answer of {person} did not count: {refused}"

    def _look(self, context: Any) -> dict[str, Any]:
        from operators.connections import database
        from sluice.release.review import ask, open_review, stop_asking
        from sluice.release.review.approval import standing

        store, release_id = database(), self.release["release_id"]
        self._produce_again()
        opened = open_review(store, release_id)
        with store.transaction() as connection:
            now = standing(connection, release_id)
        if now.state != "waiting":
            stop_asking(store, release_id)
            self.log.info("Release %s: %s", release_id, now.state)
            return {**self.release, **opened.as_dict(), "state": now.state, "approved_by": list(now.approved_by)}
        ti = context["ti"]
        since = ask(store, release_id, ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        if datetime.now(UTC) - since > LONGEST:
            stop_asking(store, release_id)
            raise NotApproved(f"Nobody approved within {LONGEST.days} days. Clear this task to ask again.")
        self._word(opened, now)
        return super().execute(context)  # type: ignore[no-any-return]  # it raises, and so waits

    def _word(self, opened: Opened, now: Standing) -> None:
        release = self.release
        self.subject = f"Release {release['project']} v{release['version']} of {release['window_key']}?"
        self.body = BODY.format(
            link=page_link("/review", {"release": release["release_id"]}),
            standing=f"{opened.strings} distinct strings, {opened.new} of them new. {now.lacks}{self.refused}",
        )

    def _produce_again(self) -> None:
        """Do what decisions and re-reads left open: export those members again, and read the bucket back."""
        from operators.connections import archive, bucket, database, keys
        from sluice.database import named_query, select
        from sluice.release.export import export_batch, verify
        from sluice.release.formats.derive import derive
        from sluice.release.plan import parts_of

        store, release = database(), self.release
        with store.transaction() as connection:
            ready = select(connection, named_query("review_ready"), {"release_id": release["release_id"]})[0]
        if ready["published"] or (ready["verified"] and not ready["open"] and not ready["redo"]):
            return
        objects = bucket(release["bucket"])
        for part in parts_of(store, release["release_id"]) if ready["open"] or ready["redo"] else ():
            done = export_batch(store, archive(), objects, release["project"], release["release_id"], part, keys=keys())
            self.log.info(
                "Produced again: %s, %s", done.as_dict(), derive(store, objects, part.release_id, part).as_dict()
            )
        verify(store, objects, release["release_id"])
