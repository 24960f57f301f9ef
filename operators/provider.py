"""What the package tells Airflow about itself: a connection type for PACS nodes, and links on tasks.

The form of the connection is rendered from here; the hook is only imported when someone presses Test.
"""

from __future__ import annotations

from typing import Any

AE_TITLE = {"type": "string", "minLength": 1, "maxLength": 16}


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
        "triggers": [{"integration-name": "DICOM", "python-modules": ["operators.retrieve"]}],
        "connection-types": [
            {
                "connection-type": "pacs",
                "hook-class-name": "operators.pacs_hook.PacsHook",
                "hook-name": "PACS (DICOM)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "password"],
                    "relabeling": {"host": "PACS host"},
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
                        "description": "As many as the PACS bears. The pool of the same name limits tasks to it; "
                        "change both (python -m operators.bootstrap does).",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 64, "default": 2},
                    },
                    "timeout_s": {
                        "label": "Timeout (seconds)",
                        "description": "How long to wait for an answer of the PACS.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 3600, "default": 30},
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
