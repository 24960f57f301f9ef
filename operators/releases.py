"""Releases as Airflow tasks: prepare each project, export and convert in parts, verify, review, publish. Same shape as
`operators.steps`.

A project that fails does not hold up the others: each task after `prepare` works on what there is, and nothing is
published that was not verified (`sluice.release` refuses it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule, task, task_group

from operators.counts import Counts
from operators.review import ReviewOperator
from operators.steps import Outlets, ReleaseOperator, SummaryOperator, require_window


def export_release(
    window: Any, project: Any = None, outlets: Outlets = (), after: Any = None, members: Any = None
) -> Any:
    """Release a window to one project, or to all that there are; `members`, the output of a task, may name a frozen
    cohort or a list whose members take the place of the window's."""
    with TaskGroup("export_release"):
        names = task(task_id="projects")(_projects)(window, project)
        prepared = task(task_id="prepare", map_index_template="{{ task.op_kwargs.project }}")(_prepare)
        plans = prepared.partial(window=window, members=members).expand(project=names)
        parts = task(task_id="parts", trigger_rule=TriggerRule.ALL_DONE)(_parts)(plans)
        releases = task(task_id="releases", trigger_rule=TriggerRule.ALL_DONE)(_releases)(plans)
        pieces = "{{ task.op_kwargs.piece.project }}, part {{ task.op_kwargs.piece.number }}"
        screened = task(task_id="screen", map_index_template=pieces)(_screen).expand(piece=parts)
        exported = task(
            task_id="export",
            trigger_rule=TriggerRule.ALL_DONE,  # a part whose pixels nobody looked at is refused by itself
            map_index_template=pieces,
        )(_export).expand(piece=parts)
        derived = task(
            task_id="derive",
            map_index_template=pieces,
            trigger_rule=TriggerRule.ALL_DONE,  # of one project's parts; a red export of another holds up nobody
            doc_md="Makes the project's other formats (PNG, NIfTI) of what was exported, and reads back all that the "
            "part has in the bucket.",
        )(_derive).expand(piece=parts)
        verified = task(
            task_id="verify",
            map_index_template="{{ task.op_kwargs.release.project }}",
            trigger_rule=TriggerRule.ALL_DONE,
            retries=1,  # what is missing comes by exporting again, not by looking again
        )(_verify).expand(release=releases)
        each = task_group(group_id="each")(_review_and_publish).expand(release=releases)
        published = each.get_child_by_label("publish").output
        summary = SummaryOperator(
            task_id="summary",
            python_callable=_summarise,
            op_kwargs={"window": window, "names": names, "releases": releases, "published": published},
            trigger_rule=TriggerRule.ALL_DONE,
            outlets=list(outlets),
            doc_md="What was released of this window. Runs even when a project failed.",
        )
        verdict = task(
            task_id="all_projects",
            trigger_rule=TriggerRule.NONE_FAILED,
            doc_md="Red when a project failed, or was prepared after the others had gone on. Repair what its log says "
            "and clear its red tile and what comes after it.",
        )(_all_projects)(plans, releases)
        screened >> exported >> derived >> verified >> each
        [plans, screened, exported, derived, verified, each, summary] >> verdict
    if after is not None:
        after >> names
    return summary.output


class LeftBehind(RuntimeError):  # noqa: N818
    """A release was prepared and not sent; the message says how it is."""

    permanent = True


def _review_and_publish(release: dict[str, Any]) -> None:
    """One release from its approval to its manifest: what one waits for holds up no other."""
    reviewed = ReviewOperator(
        task_id="review",
        release=release,
        map_index_template="{{ task.release.project }} v{{ task.release.version }}",
        trigger_rule=TriggerRule.ALL_DONE,
        retries=1,
        doc_md="Waits for the persons that the project asks for. They look at the page Review: docs/review.md.",
    )
    published = ReleaseOperator(
        task_id="publish",
        python_callable=_publish,
        op_kwargs={"release": release},
        map_index_template="{{ task.op_kwargs.release.project }}",
        trigger_rule=TriggerRule.ALL_DONE,
        retries=1,
        doc_md="Writes the manifest, which makes the release visible. Refuses what was not verified or approved.",
    )
    reviewed >> published


def _projects(window: str, project: str | None = None) -> list[str]:
    """The projects to release to."""
    from sluice.release.projects import project_names

    require_window(window)
    return [project] if project else project_names()


def _prepare(window: str, project: str, members: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, Any]:
    """Freeze who is in the release, and note a reason for everyone who is not."""
    from operators.connections import database, keys
    from sluice.release.export import prepare

    whose = {name: (members or {}).get(name) for name in ("version_id", "list_id", "formats", "profile")}
    person = getattr(dag_run, "triggering_user_name", None)
    return prepare(database(), project, require_window(window), keys=keys(), **whose, requested_by=person).as_dict()


def _parts(plans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All parts of all releases that are not published yet."""
    return [
        {"project": plan["project"], "bucket": plan["bucket"], "number": number, "part": part}
        for plan in plans or ()
        if not plan["published"]
        for number, part in enumerate(plan["batches"], start=1)
    ]


def _releases(plans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The releases that have members."""
    kept = ("release_id", "project", "version", "bucket", "prefix", "members", "window_key")
    return [{name: plan[name] for name in kept} for plan in plans or () if plan["members"]]


def _all_projects(plans: Iterable[dict[str, Any]], releases: list[dict[str, Any]] | None) -> None:
    """Whether every release that was prepared went on.

    What comes after `prepare` runs even where a project failed. Who then clears only what is red prepares that project,
    and what had run before for the others would stay as it is: green, with a release that never left.
    """
    went_on = {release["release_id"] for release in releases or ()}
    left = [plan["project"] for plan in plans or () if plan["members"] and plan["release_id"] not in went_on]
    if left:
        raise LeftBehind(
            f"The release of {', '.join(left)} is prepared and was not sent, because what comes after `prepare` had "
            "run before. Clear the tasks `parts` and `releases` of this run with Downstream."
        )


def _screen(piece: dict[str, Any]) -> Counts:
    """Look for text in the pixels of one part, where its project wants that; each instance once."""
    from operators.connections import archive, database
    from sluice.deid.pixels.screen import screen
    from sluice.release.projects import load_project
    from sluice.settings import settings

    part, policy = piece["part"], load_project(piece["project"]).pixels
    members = (part["release_id"], part["first"], part["last"])
    return screen(database(), archive(), *members, policy, settings().screening_threads).as_dict()


def _export(piece: dict[str, Any]) -> Counts:
    """De-identify, re-read and upload one part."""
    from operators.connections import archive, bucket, database, keys
    from sluice.release.export import export_batch

    part, store = piece["part"], bucket(piece["bucket"])
    return export_batch(database(), archive(), store, piece["project"], part["release_id"], part, keys=keys()).as_dict()


def _derive(piece: dict[str, Any]) -> Counts:
    """Convert one part, then read back what it has in the bucket; that may stay until verify, but there one worker
    reads it all."""
    from operators.connections import bucket, database
    from sluice.release.export import read_back
    from sluice.release.formats.derive import derive

    store, part = bucket(piece["bucket"]), piece["part"]
    done = derive(database(), store, part["release_id"], part).as_dict()
    return done | {"read_back": read_back(database(), store, part["release_id"], part).as_dict()}


def _verify(release: dict[str, Any]) -> Counts:
    """Take out what was opted out meanwhile, then read the bucket and compare it with the ledger, object by object."""
    from operators.connections import bucket, database
    from sluice.release.export import verify
    from sluice.release.recall.recalls import carry_out

    carry_out(database(), bucket, "the release itself", release["release_id"])
    return verify(database(), bucket(release["bucket"]), release["release_id"], _logs_of_this_run()).as_dict()


def _logs_of_this_run() -> list[Path]:
    """The folder of this run's task logs, where tasks write them to a disk that this worker sees."""
    from airflow.configuration import conf
    from airflow.sdk import get_current_context

    run = get_current_context()["dag_run"]
    folder = Path(conf.get("logging", "base_log_folder")) / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
    return [folder] if folder.is_dir() else []


def _publish(release: dict[str, Any]) -> Counts:
    from airflow.sdk.exceptions import AirflowSkipException

    from operators.connections import bucket, database
    from sluice.release.export import publish
    from sluice.release.review import standing

    with database().transaction() as connection:
        review = standing(connection, release["release_id"])
    if review.state == "rejected":
        raise AirflowSkipException(f"Not published: rejected by {review.rejected_by}. {review.reason}")
    done = publish(database(), bucket(release["bucket"]), release["release_id"]).as_dict()
    return {"window_key": release["window_key"], "bucket": release["bucket"], "prefix": release["prefix"], **done}


def _summarise(
    window: str,
    names: list[str] | None,
    releases: list[dict[str, Any]] | None,
    published: dict[str, Any] | Iterable[dict[str, Any]] | None,
) -> Counts:
    # of a mapped group Airflow hands over the only output as it is, several as a list
    told = [published] if isinstance(published, Mapping) else published or ()
    done = [release for release in told if release]
    return {
        "window_key": require_window(window),
        "projects": len(names or ()),
        "releases": len(releases or ()),
        "published": len(done),
        "objects": sum(release["objects"] for release in done),
        "prefixes": [f"{release['bucket']}/{release['prefix']}" for release in done],
    }
