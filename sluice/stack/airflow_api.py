"""A small client of Airflow's REST API (v2), as the demo and its tests need it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from sluice.stack.processes import StackError


class AirflowApi:
    """Airflow's REST API as one user sees it.

    Args:
        url: the API server, `http://127.0.0.1:8080`.
        user, password: whose permissions count; the token is fetched with the first request that needs it.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self.password = password
        self._token = ""

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET `/api/v2/<path>`."""
        return self._request("GET", path, query=query)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST `/api/v2/<path>`."""
        return self._request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCH `/api/v2/<path>`."""
        return self._request("PATCH", path, body)

    def health(self) -> dict[str, str]:
        """Status of each component by its name, empty while the server does not answer."""
        try:
            answer = self._request("GET", "monitor/health", authorized=False)
        except StackError:
            return {}
        return {name: str(part["status"]) for name, part in answer.items() if isinstance(part, dict)}

    def text(self, path: str) -> str:
        """GET `/<path>` of the server as text, e.g. a page of a plugin."""
        return self._send("GET", path, None, authorized=True).decode()

    def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
        authorized: bool = True,
    ) -> dict[str, Any]:
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        answer: dict[str, Any] = json.loads(self._send(method, "api/v2/" + path, body, authorized) or b"{}")
        return answer

    def _send(self, method: str, path: str, body: dict[str, Any] | None, authorized: bool) -> bytes:
        headers = {"Content-Type": "application/json"}
        if authorized:
            if not self._token:
                granted = self._send("POST", "auth/token", {"username": self.user, "password": self.password}, False)
                self._token = json.loads(granted)["access_token"]
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:500]
            raise StackError(f"Airflow answered {error.code} to {method} {path} as {self.user}: {detail}") from error
        except (OSError, http.client.HTTPException) as error:
            raise StackError(f"Airflow at {self.url} does not answer ({error}).") from error
