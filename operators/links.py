"""Links that tasks show in the Airflow UI: the Sluice page of the window, its Data Docs, the release's bucket.

A link is computed when the task ends, from the small dict the task returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGE = "/sluice"


class SluicePageLink(BaseOperatorLink):
    """The Sluice page of the run's window: funnel, gaps, reports."""

    name = "Sluice page"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """URL of the page, on this Airflow."""
        return page_url("/", ti_key)  # without the slash Airflow takes the path for one of its own pages


class DataDocsLink(BaseOperatorLink):
    """Great Expectations' Data Docs of the run's window."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """URL of the rendered validation results, behind Airflow's login."""
        return page_url("/quality", ti_key)


class BucketLink(BaseOperatorLink):
    """Where the release stands in object storage."""

    name = "Bucket"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """URL of the prefix in the bucket."""
        from airflow.sdk import BaseHook

        from operators.connections import bucket_name
        from operators.policies import BUCKET

        connection = BaseHook.get_connection(BUCKET)
        release = returned(ti_key)
        name = str(release.get("bucket") or bucket_name(connection))
        return bucket_url(name, str(release.get("prefix", "")), connection.extra_dejson.get("endpoint_url"))


def bucket_url(name: str, prefix: str, endpoint_url: str | None) -> str:
    """URL of a prefix: the AWS console, or the listing of a server of one's own."""
    if not endpoint_url:
        return f"https://s3.console.aws.amazon.com/s3/buckets/{quote(name)}?{urlencode({'prefix': prefix})}"
    return f"{endpoint_url.rstrip('/')}/{quote(name)}/?{urlencode({'list-type': 2, 'prefix': prefix})}"


def page_url(path: str, ti_key: TaskInstanceKey) -> str:
    """Path of a page below the Sluice plugin for the window that the task worked on."""
    base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    window = returned(ti_key).get("window_key")
    return f"{base}{PAGE}{path}" + (f"?{urlencode({'window': window})}" if window else "")


def returned(ti_key: TaskInstanceKey) -> dict[str, Any]:
    """What the task returned, or nothing when it failed."""
    from airflow.sdk.execution_time.xcom import XCom

    value = XCom.get_value(ti_key=ti_key, key="return_value")
    return value if isinstance(value, dict) else {}


def page_link(path: str, query: dict[str, Any]) -> str:
    """Path of a page below the Sluice plugin."""
    base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return f"{base}{PAGE}{path}" + (f"?{urlencode(query)}" if query else "")
