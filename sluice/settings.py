"""The one place for settings that are not Airflow connections.

Values come from environment variables (`SLUICE_HOME`, `SLUICE_DATABASE_URL`, …). What a site changes in
Airflow (PACS, S3, database of the DAGs) are Airflow connections; see `operators.connections`.
"""

from __future__ import annotations

from datetime import time
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parents[1]
SECRETS = Path("/run/secrets")


class Settings(BaseSettings):
    """Settings of one Sluice installation.

    Attributes:
        home: folder of everything that is kept (archive, canonical images, keys, reports).
        database_url: libpq URL of Sluice's database; the services use it, the DAGs use the connection `sluice_db`.
        projects: folder of the release projects, one YAML file each.
        receiver_ae_title, receiver_host, receiver_port: where our Storage SCP listens.
        receiver_min_free_bytes: below this much free disk the receiver refuses with A700.
        move_source_ae_titles: calling AE titles whose instances count as moved rather than pushed.
        time_zone: IANA zone of the hospital; headers without an offset are read in it.
        opens_at, closes_at: opening hours that utilization is measured against.
    """

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        extra="ignore",
        # docker compose and Kubernetes mount secrets as files: sluice_database_url, for one
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    home: Path = CHECKOUT / "var"
    database_url: str = "postgresql://sluice@127.0.0.1:5432/sluice"
    projects: Path = CHECKOUT / "projects"
    receiver_ae_title: str = Field(default="SLUICE", max_length=16)
    receiver_host: str = "127.0.0.1"
    receiver_port: int = 11112
    receiver_min_free_bytes: int = 1 << 30
    move_source_ae_titles: tuple[str, ...] = ("HOSPITAL_PACS",)
    time_zone: str = "Europe/Berlin"
    opens_at: time = time(7, 0)
    closes_at: time = time(19, 0)

    @property
    def archive(self) -> Path:
        """Root of received DICOM files; `receipt.path` is relative to it."""
        return self.home / "archive"

    @property
    def canonical(self) -> Path:
        """Root of canonical 512-pixel images; `canonical_image.path` is relative to it."""
        return self.home / "canonical"

    @property
    def keys(self) -> Path:
        """Folder of the projects' secret keys, mode 0700; never in the database, never in a log."""
        return self.home / "keys"

    @property
    def reports(self) -> Path:
        """Folder of Data Docs and rendered reports."""
        return self.home / "reports"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
