"""What the package tells Airflow about itself: a connection type for PACS nodes, and links on tasks.

The form of the connection is rendered from here; the hook is only imported when someone presses Test.
"""

from __future__ import annotations

from typing import Any

AE_TITLE = {"type": "string", "minLength": 1, "maxLength": 16}
OPTIONAL_TEXT = {"type": ["string", "null"]}


def get_provider_info() -> dict[str, Any]:
    """Metadata of this provider (entry point `apache_airflow_provider`)."""
    return {
        "package-name": "sluice",
        "name": "Sluice",
        "description": "Imaging studies from a hospital's PACS to researchers, with proof of what was moved.",
        "integrations": [
            {
                "integration-name": "DICOM",
                "external-doc-url": "https://www.dicomstandard.org/current",
                "tags": ["protocol"],
            }
        ],
        "hooks": [{"integration-name": "DICOM", "python-modules": ["operators.pacs_hook"]}],
        "triggers": [{"integration-name": "DICOM", "python-modules": ["operators.retrieve", "operators.governed"]}],
        "connection-types": [
            {
                "connection-type": "pacs",
                "hook-class-name": "operators.pacs_hook.PacsHook",
                "hook-name": "PACS (DICOM)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "PACS host",
                        "login": "Login for DICOMweb",
                        "password": "Password for DICOMweb",
                    },
                    "placeholders": {"host": "pacs.hospital.example", "port": "104"},
                },
                "conn-fields": {
                    "ae_title": {
                        "label": "AE title of the PACS",
                        "description": "Called AE title, at most 16 characters.",
                        "schema": AE_TITLE,
                    },
                    "calling_ae_title": {
                        "label": "Our AE title",
                        "description": "Calling AE title. The PACS administrator has to allow it.",
                        "schema": {**AE_TITLE, "default": "SLUICE"},
                    },
                    "move_destination": {
                        "label": "Move destination",
                        "description": "AE title of our receiver, which the PACS has to know with host and port.",
                        "schema": {**AE_TITLE, "default": "SLUICE"},
                    },
                    "max_associations": {
                        "label": "Associations at once",
                        "description": "What its first policy allows; afterwards the page PACS of Sluice says how "
                        "many, at which hours and how fast.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 64, "default": 2},
                    },
                    "timeout_s": {
                        "label": "Timeout (seconds)",
                        "description": "How long to wait for an answer of the PACS.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 3600, "default": 30},
                    },
                    "retrieve_by": {
                        "label": "Retrieve by",
                        "description": "auto: C-MOVE to our receiver if the PACS knows it, else C-GET, else DICOMweb.",
                        "schema": {
                            "type": "string",
                            "enum": ["auto", "C-MOVE", "C-GET", "DICOMweb"],
                            "default": "auto",
                        },
                    },
                    "sources": {
                        "label": "Sources",
                        "description": "Ids of the connections to fetch from, in order, separated by commas: the "
                        "archive first, then this PACS. Empty: only this one.",
                        "schema": OPTIONAL_TEXT,
                    },
                    "query_by": {
                        "label": "Query by",
                        "description": "QIDO-RS for a service that offers no C-FIND.",
                        "schema": {"type": "string", "enum": ["C-FIND", "QIDO-RS"], "default": "C-FIND"},
                    },
                    "dicomweb_url": {
                        "label": "DICOMweb: base URL",
                        "description": "Without /studies, such as https://pacs.hospital.example/dicom-web.",
                        "schema": OPTIONAL_TEXT,
                    },
                    "dicomweb_proxy": {
                        "label": "DICOMweb: proxy",
                        "description": "Such as http://proxy.hospital.example:3128; none: no proxy. Empty: what "
                        "HTTPS_PROXY and NO_PROXY of the workers say, for https.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "dicomweb_token": {
                        "label": "DICOMweb: bearer token",
                        "description": "Instead of login and password.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "tls": {
                        "label": "DICOM TLS",
                        "description": "The PACS speaks TLS on this port (PS3.15 B.12).",
                        "schema": {"type": "boolean", "default": False},
                    },
                    "tls_ca": {
                        "label": "TLS: its authority",
                        "description": "PEM file on the workers with the authority that signed the certificate of the "
                        "PACS. Empty: those that the system trusts.",
                        "schema": OPTIONAL_TEXT,
                    },
                    "tls_certificate": {
                        "label": "TLS: our certificate",
                        "description": "PEM file on the workers, for a PACS that wants to see one.",
                        "schema": OPTIONAL_TEXT,
                    },
                    "tls_key": {
                        "label": "TLS: our key",
                        "description": "PEM file on the workers, without a password.",
                        "schema": OPTIONAL_TEXT,
                    },
                    "tls_name": {
                        "label": "TLS: its name",
                        "description": "The name in the certificate of the PACS, where it is not the host above. "
                        "*: any name, only the authority counts.",
                        "schema": OPTIONAL_TEXT,
                    },
                },
            }
        ],
        "extra-links": [
            "operators.links.DataDocsLink",
            "operators.links.BucketLink",
            "operators.links.SluicePageLink",
        ],
    }
