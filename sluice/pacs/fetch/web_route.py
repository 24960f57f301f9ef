"""By which way a DICOMweb service is reached: through a proxy or straight, and whose certificates count.

What the connection says goes first, then the variables that every program on a hospital's machine is given:
`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE`. A proxy of the environment is there for the internet,
so it is used for https only, where it passes on what it cannot read (CONNECT, RFC 9110 9.3.6); patients' data in plain
http go through none but the one that the connection names. A `.netrc` is never read.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from sluice.pacs.node import NO_PROXY, PacsNode

AUTHORITIES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def proxies_of(node: PacsNode) -> dict[str, str]:
    """Proxies as `requests.Session.proxies` has them; empty where the service is reached straight."""
    url, named = node.dicomweb_url or "", node.dicomweb_proxy
    if named == NO_PROXY:
        return {}
    if named:
        return {"http": named, "https": named}
    if urlsplit(url).scheme != "https":
        return {}
    proxy = select_proxy(url, get_environ_proxies(url))
    return {"https": proxy} if proxy else {}


def authorities_of(node: PacsNode) -> str | bool:
    """PEM file, or folder, of the authorities that count, as `requests.Session.verify` has it."""
    return node.tls_ca or next((path for name in AUTHORITIES if (path := os.environ.get(name))), True)
