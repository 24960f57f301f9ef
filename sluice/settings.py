"""The one place for settings that are not Airflow connections.

Values come from environment variables (`SLUICE_HOME`, `SLUICE_DATABASE_URL`, …). What a site changes in
Airflow (PACS, S3, database of the DAGs) are Airflow connections; see `operators.connections`.
"""

from __future__ import annotations

import json
import os
from datetime import date, time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parents[1]
SECRETS = Path("/run/secrets")


def _listed(value: object) -> object:
    """A list in an environment variable: JSON, or items separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError("begins like a JSON list but is none; items separated by commas will do") from None
    return [item.strip() for item in value.split(",") if item.strip()]


def is_ae_title(value: str) -> bool:
    """Whether a text is a value of the VR AE (PS3.5 6.2), not only blanks."""
    return 0 < len(value.strip()) <= 16 and value.isascii() and value.isprintable() and "\\" not in value


def _ae_title(value: str) -> str:
    if not is_ae_title(value):
        raise ValueError("an AE title has 1 to 16 ASCII characters and no backslash")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ValueError("there is no such time zone; write for example Europe/Berlin") from None
    return value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
ListedNumbers = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_listed)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]


class SettingsError(RuntimeError):
    """A setting cannot be used; the message names it."""


class Settings(BaseSettings):
    """Settings of one Sluice installation.

    Attributes:
        home: folder of everything that is kept (archive, canonical images, keys, reports).
        database_url: libpq URL of Sluice's database; the services use it, the DAGs use the connection `sluice_db`.
        database_owner_url: of the user who owns that database, for `migrate` and `headers promote` only; the same as
            `database_url` when None, and then whoever reads the database reads who is who.
        projects: folder of the release projects, one YAML file each.
        receiver_ae_title, receiver_host, receiver_port: where our Storage SCP listens.
        receiver_min_free_bytes: below this much free disk the receiver refuses with A700.
        receiver_processes: how many processes serve the receiver's port; as many as there are cores, at most 8.
        receiver_max_associations: associations at once in each of them; more are rejected for now.
        receiver_idle_s: an association on which nothing comes for so long is aborted, seconds.
        receiver_allow: who may send to us, entries `AE@network` separated by commas (or a JSON list), e.g.
            `MR1@10.1.0.0/16,CT2@*,*@127.0.0.1`; empty: everybody. See `sluice.pacs.receiver.admission`.
        receiver_check_called_ae: reject associations that call another AE title than ours.
        receiver_also_called: more AE titles that we answer to beside `receiver_ae_title`, separated by commas, say of
            an archive that we took the place of. The receipt keeps which one was called.
        receiver_tls_certificate, receiver_tls_key: PEM files; with them the receiver speaks DICOM TLS only.
        receiver_tls_ca: PEM file of the authorities whose client certificates are accepted.
        receiver_tls_clients: whether a sender must show a certificate: `required`, `optional` or `none`.
        commitment_peers: where storage commitment is reported to, entries `AE@host:port` separated by commas; a
            sender that is not listed cannot ask for it. See `sluice.pacs.receiver.commitment`.
        move_source_ae_titles: calling AE titles whose instances count as moved rather than pushed.
        time_zone: IANA zone of the hospital; headers without an offset are read in it.
        first_night: the first night on which `sweep` runs by itself; None is the night before it is switched on.
            Earlier days come by backfill.
        opens_at, closes_at: opening hours that utilization is measured against.
        transfer_floor_s: what even the fastest transfer from a scanner is assumed to take, seconds; a clock's
            offset cannot be told from it (`sluice.scanners.clocks`). 15 is a guess between a direct send (2)
            and one that waits for a series to be checked (30 and more): a site that knows better sets it.
        retrieve_pause_s: pause before a PACS is asked a second time for what did not come, seconds; it grows
            before each further pass.
        recent_minutes: how far back `sweep_recent` asks for study times, minutes.
        audit_after_days: days after its end at which `sweep_again` asks for a day once more.
        audit_most: days that it asks each PACS for in one night, at most.
        quality_suites: folder of the hospital's own quality suites, beside those that ship; docs/quality.md.
        device_rules: folder of the hospital's own rules for devices that show text in their pixels, CSV files, beside
            those that ship; docs/pixels.md.
        screening_threads: processor threads that one task may use to look for text in pixels.
        device: where the models run: `auto` (a GPU where there is one), `cpu` or `cuda`.
        precision: what the models multiply in: `auto` (bfloat16 where the hardware does that, else float32), `float32`
            or `bfloat16`.
        header_decides: whether a header that is right with certainty spares the network a film's body part, but for a
            sample; what only the picture shows (visible regions, view, orientation) is then not known of it.
        header_reliability: how often headers of a station have to be right for that.
        header_audited: share of such films that the network reads nevertheless, to compare.
        gpu_queue: queue of the tasks that run models, where workers with a GPU listen to one of their own
            (CeleryExecutor: `airflow celery worker --queues gpu`); without it any worker takes them.
        decode_processes: processes that one task decodes films with; as many as it has cores.
        keys_file: mounted file with the projects' keys, where they are not in `keys`; docs/identities.md.
        gate_margin: by how much a model may be worse than the one that it replaces, on the same films;
            docs/models/registry.md.
        shadow_films: images that a model must have read beside production before it can be promoted.
        routing: file of the rules that say where studies go by what was predicted of them; docs/routing.md.
        ivc_filter_due_days: days after an IVC filter was first seen at which its retrieval is due; docs/ivc-filters.md.
        annotation_double_share: share of the films to annotate that two readers see; docs/annotation.md.
        annotation_single_reader: whether training takes what a single reader said, where nobody else has read it.
        training_data: folder of the films that train_models trains on and measures with.
    """

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        env_ignore_empty=True,  # `SLUICE_HOME=` means the default, not the folder we happen to be in
        extra="ignore",
        # docker compose and Kubernetes mount secrets as files: sluice_database_url, for one
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    home: Path = CHECKOUT / "var"
    database_url: str = "postgresql://sluice@127.0.0.1:5432/sluice"
    database_owner_url: str | None = None
    projects: Path = CHECKOUT / "projects"
    receiver_ae_title: AeTitle = "SLUICE"
    receiver_host: str = "127.0.0.1"
    receiver_port: int = Field(default=11112, ge=0, le=65535)
    receiver_min_free_bytes: int = Field(default=1 << 30, ge=0)
    receiver_processes: int = Field(default_factory=lambda: min(8, len(os.sched_getaffinity(0))), ge=1)
    receiver_max_associations: int = Field(default=100, ge=1)
    receiver_idle_s: float = Field(default=300.0, gt=0)
    receiver_allow: Listed = ()
    receiver_check_called_ae: bool = True
    receiver_also_called: Listed = ()
    receiver_tls_certificate: Path | None = None
    receiver_tls_key: Path | None = None
    receiver_tls_ca: Path | None = None
    receiver_tls_clients: Literal["required", "optional", "none"] = "required"
    commitment_peers: Listed = ()
    move_source_ae_titles: Listed = ("HOSPITAL_PACS",)
    time_zone: Annotated[str, AfterValidator(_zone)] = "Europe/Berlin"
    first_night: date | None = None
    opens_at: time = time(7, 0)
    closes_at: time = time(19, 0)
    transfer_floor_s: float = Field(default=15.0, ge=0)
    retrieve_pause_s: float = Field(default=20.0, ge=0)
    recent_minutes: int = Field(default=120, ge=1, le=1440)
    audit_after_days: ListedNumbers = (1, 7, 30, 180)
    audit_most: int = Field(default=40, ge=1)
    quality_suites: Path | None = None
    device_rules: Path | None = None
    screening_threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    header_decides: bool = False
    header_reliability: float = Field(default=0.99, ge=0.9, le=1)
    header_audited: float = Field(default=0.05, ge=0.01, le=1)
    gpu_queue: str | None = None
    decode_processes: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    keys_file: Path | None = None
    gate_margin: float = Field(default=0.02, ge=0, le=1)
    shadow_films: int = Field(default=100, ge=0)
    routing: Path | None = None
    ivc_filter_due_days: int = Field(default=54, ge=1)
    annotation_double_share: float = Field(default=0.2, ge=0, le=1)
    annotation_single_reader: bool = False
    training_data: Path = CHECKOUT.parent / "shared" / "data"

    @property
    def archive(self) -> Path:
        """Root of received DICOM files; `receipt.path` is relative to it."""
        return self.home / "archive"

    @property
    def canonical(self) -> Path:
        """Folder of the shards of canonical 512-pixel images."""
        return self.home / "canonical"

    @property
    def keys(self) -> Path:
        """Folder of the projects' secret keys, mode 0700; never in the database, never in a log."""
        return self.home / "keys"

    @property
    def reports(self) -> Path:
        """Folder of Data Docs and rendered reports."""
        return self.home / "reports"


class FirstConnections(BaseSettings):
    """What `operators.bootstrap` writes into Airflow's connections at first; afterwards Airflow's own forms rule.

    Attributes:
        pacs_host, pacs_port, pacs_ae_title: where the PACS listens and the AE title it answers to.
        pacs_calling_ae_title, pacs_move_destination: who we are to it, and where it sends; our receiver by default.
        pacs_max_associations: associations at once that the PACS bears; also the size of its pool.
        pacs_timeout_s: how long to wait for a sign of life, seconds.
        s3_endpoint: URL of an S3 server of one's own; None for AWS.
        s3_access_key, s3_secret_key: None where a role of the machine grants access.
        s3_bucket: bucket of the releases.
    """

    model_config = Settings.model_config

    pacs_host: str | None = None
    pacs_port: int = Field(default=104, ge=1, le=65535)
    pacs_ae_title: str = "PACS"
    pacs_calling_ae_title: str | None = None
    pacs_move_destination: str | None = None
    pacs_max_associations: int = Field(default=2, ge=1)
    pacs_timeout_s: int = Field(default=30, ge=1)
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str | None = None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: one of them is malformed.
    """
    try:
        return Settings()
    except ValidationError as error:
        # the values stay out of the message: one of them is the database's URL with its password
        wrong = "; ".join(
            f"SLUICE_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"The environment holds settings that cannot be used. {wrong}.") from None
