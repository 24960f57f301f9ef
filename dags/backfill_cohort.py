"""# backfill_cohort

A researcher's cohort, from a list or a filter to a release: finds the studies in the PACS, moves what we lack,
extracts, checks, lets the models read, freezes who is in it, and exports that to one project. It uses the same steps as
the daily chain, so what is already here is not moved or read again.

**How to ask.** Best from the page *Cohorts*, which says beforehand what a filter takes, and takes lists of up to a
million rows. Or *Trigger*, choose the project, name the cohort, and give one of these: a short CSV (`accession_number`,
or `patient_id` and `study_date`, or `study_instance_uid`); a filter in YAML; a version of a frozen cohort, which is
released exactly as it is; or nothing more, for the list or the newest filter that stands under the name. The window is
`cohort/<project>/<name>`; the same name again asks for what is still missing.

**Normal.** `estimate` says how much it is and how long it takes; what is above the project's quota is refused. How far
it is stands on the page *Requests*. The output of `answers` has an answer for each row of a list, by its line: found,
several, not yet, not found, refused and why; the page Cohorts shows the same. Rows
that the PACS does not know are answers, not failures.
The PACS is asked by what it knows of a study (date, modality, description), so it may send more than a filter takes;
`members` freezes those that satisfy all of the filter, and only they are released. `pacs_was_asked` is false where a
filter names no first study date: then only what sweeps have listed before is fetched.

**Worry when** `find` is red: the form could not be understood, or the PACS refused; the last line of the log says
which field or what to do. Red tiles further on are the same as in the daily DAGs: see there.

**Privacy.** A list or filter that is typed into the form is kept by Sluice, and Airflow gets its number, before the
run begins; only a run that is triggered at a terminal keeps it in Airflow. A list itself is kept until `sluice cohort
list delete`, or the button on the page, forgets it.
"""

from __future__ import annotations

from airflow.sdk import dag

from operators import cohort, steps
from operators.policies import run_policy
from operators.releases import export_release
from operators.review import RUN_WAITS


@dag(
    schedule=None,
    **(run_policy(cohort.form(), governed=True) | RUN_WAITS),
    tags=["sluice", "cohort", "release"],
    doc_md=__doc__,
)
def backfill_cohort() -> None:
    """Estimate and find, then the steps of the daily chain, then release to the one project."""
    window = cohort.WINDOW
    found = cohort.find_cohort(after=cohort.estimate_cohort())
    moved = steps.retrieve(window, after=found)
    extracted = steps.extract_headers(window, after=moved)
    cohort.answer_rows(after=extracted)
    checked = steps.check_quality(window, after=extracted)
    read = steps.infer_body_part(window, after=steps.keep_pictures(window, after=extracted))
    steps.fuse_body_part(window, after=read)
    looked = steps.detect_ivc_filter(window, after=read)
    members = cohort.cohort_members(after=[checked, looked])
    export_release(window, project="{{ params.project }}", members=members)


backfill_cohort()
