"""What Airflow reads about our package: the connection form, the Test button, the links."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import Any

import pytest

from operators.provider import get_provider_info

pytestmark = pytest.mark.airflow


@pytest.fixture
def pacs(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a pacs connection into the environment."""

    def write(**changes: Any) -> None:
        fields: dict[str, Any] = {
            "conn_type": "pacs",
            "host": "127.0.0.1",
            "port": 1,
            "password": "never-shown",
            "extra": {"ae_title": "ARCHIVE", "timeout_s": 3, "note": "also-never-shown"},
        } | changes
        monkeypatch.setenv("AIRFLOW_CONN_PACS_MAIN", json.dumps(fields))

    return write


def test_the_entry_point_names_this_distribution() -> None:
    (found,) = [point for point in entry_points(group="apache_airflow_provider") if point.value.startswith("operators")]
    assert found.load() is get_provider_info
    assert get_provider_info()["package-name"] == found.dist.name == "sluice"


def test_the_form_is_what_airflow_renders(airflow: Any) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = [hook for hook in HookMetaService.hook_meta_data() if hook.connection_type == "pacs"]
    assert form.hook_name == "PACS (DICOM)"
    assert set(form.extra_fields) == {
        "ae_title",
        "calling_ae_title",
        "move_destination",
        "max_associations",
        "timeout_s",
        "retrieve_by",
        "sources",
        "query_by",
        "dicomweb_url",
        "dicomweb_proxy",
        "dicomweb_token",
        "tls",
        "tls_ca",
        "tls_certificate",
        "tls_key",
        "tls_name",
    }
    assert form.extra_fields["ae_title"]["schema"]["maxLength"] == 16
    assert form.extra_fields["dicomweb_token"]["schema"]["format"] == "password"
    assert form.standard_fields.url_schema.hidden
    assert form.standard_fields.host.title == "PACS host"


def test_the_links_are_registered_and_importable(airflow: Any) -> None:
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.module_loading import import_string

    ours = get_provider_info()["extra-links"]
    assert set(ours) <= set(ProvidersManager().extra_links_class_names)
    assert [import_string(path)().name for path in ours] == ["Data Docs", "Bucket", "Sluice page"]


def test_the_test_button_says_what_is_wrong_and_nothing_secret(pacs: Any) -> None:
    from operators.pacs_hook import PacsHook

    pacs()
    works, message = PacsHook().test_connection()
    assert not works
    assert "127.0.0.1:1" in message
    assert "never-shown" not in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": None}, "PACS host"),
        ({"port": None}, "Port"),
        ({"extra": {}}, "AE title of the PACS"),
        ({"extra": {"ae_title": "LONGER THAN SIXTEEN"}}, "AE title"),
        ({"extra": {"ae_title": "A", "timeout_s": "soon"}}, "timeout_s"),
    ],
)
def test_an_incomplete_connection_says_what_lacks(pacs: Any, changes: dict[str, Any], words: str) -> None:
    from operators.pacs_hook import PacsHook

    pacs(**changes)
    works, message = PacsHook().test_connection()
    assert not works
    assert words in message
    assert "Admin, Connections" in message


def test_a_connection_becomes_a_node(pacs: Any) -> None:
    from operators.connections import pacs_node

    pacs(extra={"ae_title": "ARCHIVE", "calling_ae_title": "US", "max_associations": "4", "timeout_s": 12})
    node = pacs_node()
    assert (node.name, node.ae_title, node.calling_ae_title) == ("pacs_main", "ARCHIVE", "US")
    assert (node.move_destination, node.max_associations, node.timeout_s) == ("US", 4, 12)


def test_a_connection_may_ask_for_tls(pacs: Any) -> None:
    from operators.connections import pacs_node

    pacs(extra={"ae_title": "ARCHIVE", "tls": True, "tls_ca": "/etc/sluice/ca.pem", "tls_name": "*"})
    assert (pacs_node().tls, pacs_node().tls_ca, pacs_node().tls_name) == (True, "/etc/sluice/ca.pem", "*")
    pacs(extra={"ae_title": "ARCHIVE", "tls": "false"})
    assert not pacs_node().tls


def test_the_test_button_is_a_c_echo(pacs: Any) -> None:
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import Verification

    from operators.pacs_hook import PacsHook
    from sluice.stack.processes import free_port

    heard: list[str] = []

    def echoed(event: Any) -> int:
        heard.append(event.assoc.requestor.ae_title)
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(Verification)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_ECHO, echoed)])
    try:
        pacs(port=port, extra={"ae_title": "ARCHIVE", "calling_ae_title": "US"})
        works, message = PacsHook().test_connection()
    finally:
        server.shutdown()
    assert works, message
    assert heard == ["US"]
