"""The Sluice page in Airflow's navigation, and as a tab of every run.

Airflow loads plugins in each of its processes, every task among them. What costs seconds to import (FastAPI,
Airflow's API) is therefore imported by the first request, which only the API server gets.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from plugins.form_door import FormDoor

PREFIX = "/sluice"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class BuiltOnFirstRequest:
    """An ASGI application that is imported and built when it is first asked for something."""

    def __init__(self) -> None:
        self.application: Application | None = None
        self.lock = threading.Lock()

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer one request."""
        await self.built()(scope, receive, send)

    def built(self) -> Application:
        """The application behind Airflow's login."""
        with self.lock:
            if self.application is None:
                from plugins.app import behind_login

                self.application = behind_login()
            return self.application


def _href(path: str) -> str:
    """Path of a page, also where Airflow itself is served below a path."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + PREFIX + path


class SluicePlugin(AirflowPlugin):
    """What Airflow asks a plugin for. An invalid value makes all of it vanish silently: tests validate it."""

    name = "sluice"
    fastapi_apps = [{"app": BuiltOnFirstRequest(), "url_prefix": PREFIX, "name": "Sluice"}]
    fastapi_root_middlewares = [{"middleware": FormDoor, "name": "Lists and filters of backfill_cohort"}]
    external_views = [
        {
            "name": "Sluice",
            "href": _href("/"),
            "destination": "nav",
            "url_route": "sluice",
            "icon": _href("/static/icon.svg"),
            "icon_dark_mode": _href("/static/icon-dark.svg"),
            "nav_top_level": True,
        },
        {
            "name": "Sluice",
            "href": _href("/?dag_id={DAG_ID}&run_id={RUN_ID}"),
            "destination": "dag_run",
            "url_route": "sluice-run",
        },
    ]
