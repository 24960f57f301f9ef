"""The demo as its user runs it: a tiny hospital's day through real Airflow, from the first process to the last."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.airflow, pytest.mark.timeout(900)]


def test_the_day_holds_and_nothing_is_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sluice", "demo", "--once", "--scale", "tiny", "--home", str(tmp_path)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "AIRFLOW"))}
    seen: dict[int, psutil.Process] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=kept) as demo:

        def watch() -> None:
            while demo.poll() is None:
                try:
                    seen.update((one.pid, one) for one in psutil.Process(demo.pid).children(recursive=True))
                except psutil.NoSuchProcess:
                    return
                time.sleep(0.5)

        watcher = threading.Thread(target=watch)
        watcher.start()
        said, _ = demo.communicate()
        watcher.join()
    assert demo.returncode == 0, said
    assert "Every line holds." in said
    assert "✗" not in said
    assert len(seen) > 10
    assert [one for one in seen.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
