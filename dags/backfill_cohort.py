"""# backfill_cohort

A researcher's cohort, from a list or a filter to a release: finds the studies in the PACS, moves what we lack,
extracts, checks, lets the models read, and exports to one project. It uses the same steps as the daily chain, so what
is already here is not moved or read again.

**How to ask.** *Trigger*, choose the project, name the cohort, and either paste a CSV (`accession_number`, or
`patient_id` and `study_date`, or `study_instance_uid`) or fill in the filter. The window is `cohort/<project>/<name>`;
the same name again asks for what is still missing.

**Normal.** The output of `find` has an answer for each row of the list, by its line: found, several, not-found,
refused and why. Rows that the PACS does not know are answers, not failures.

**Worry when** `find` is red: the form could not be understood, or the PACS refused; the last line of the log says
which field or what to do. Red tiles further on are the same as in the daily DAGs: see there.

**Privacy.** What is typed into the form stays in Airflow's database, visible to who may see this DAG's runs. Prefer
accession numbers to patient ids, and delete the run when the release is published.
"""

from __future__ import annotations

from airflow.sdk import dag

from operators import cohort, steps
from operators.policies import run_policy
from operators.releases import export_release


@dag(
    schedule=None,
    **run_policy(cohort.form(), governed=True),
    tags=["sluice", "cohort", "release"],
    doc_md=__doc__,
)
def backfill_cohort() -> None:
    """Find, then the steps of the daily chain, then release to the one project."""
    window = cohort.WINDOW
    found = cohort.find_cohort()
    moved = steps.retrieve(window, after=found)
    extracted = steps.extract_headers(window, after=moved)
    checked = steps.check_quality(window, after=extracted)
    read = steps.infer_body_part(window, after=extracted)
    steps.fuse_body_part(window, after=read)
    looked = steps.detect_ivc_filter(window, after=read)
    export_release(window, project="{{ params.project }}", after=[checked, looked])


backfill_cohort()
