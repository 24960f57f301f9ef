"""The arrows between the DAGs: one asset for what each step leaves behind, partitioned by window."""

from __future__ import annotations

from airflow.sdk import Asset


def _asset(name: str) -> Asset:
    return Asset(name=name, uri=f"x-sluice://ledger/{name}", group="sluice")


INVENTORY = _asset("inventory")
ARCHIVE = _asset("archive")
HEADERS = _asset("headers")
QUALITY = _asset("quality")
PREDICTIONS_BODY_PART = _asset("predictions_body_part")
PREDICTIONS_IVC_FILTER = _asset("predictions_ivc_filter")
SCANNER_UTILIZATION = _asset("scanner_utilization")
CLOCK_OFFSETS = _asset("clock_offsets")
RELEASES = _asset("releases")
