"""Data Docs: Great Expectations' own pages of a window, made safe to show, behind an index by rule.

What Great Expectations renders holds samples of unexpected values and row keys, and loads scripts and styles
from the internet. Here the values are dropped before it renders, and the pages are cut down to HTML and one
style sheet of ours: they can be read in a hospital network and show counts, never a patient.
"""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from sluice.quality.suites import LEVELS, SEVERITIES, Level, QualityError, Suites

HERE = Path(__file__).parent
WINDOW_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
COUNTS = frozenset({
    "element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent",
    "unexpected_percent_total", "unexpected_percent_nonmissing",
})  # fmt: skip
OUTSIDE = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<img\b[^>]*>"
    r"|<nav class=\"navbar navbar-expand.*?</nav>\s*</div>\s*</nav>",
    re.S,
)
OTHER_PAGES = re.compile(r"<a href=\"\.\./[^\"]*\"\s*>(.*?)</a>", re.S)
FOOTER = re.compile(r"<footer\b.*?</footer>", re.S)
HANDLER = re.compile(r"\son[a-z]+=\"[^\"]*\"")
NO_ICON = '<link rel="icon" href="data:,">'  # else browsers ask the server for one


def folder(docs: Path, window_key: str) -> Path:
    """Where a window's Data Docs stand below the root `docs`.

    Raises:
        QualityError: the key cannot be a folder's name.
    """
    if not WINDOW_KEY.fullmatch(window_key):
        raise QualityError(f"Window key {window_key!r} cannot name a folder: use letters, digits, '.', '_' and '-'.")
    return docs / window_key


def publish(
    docs: Path,
    window_key: str,
    rules: Suites,
    results: Mapping[Level, Any],
    rows: Mapping[Level, int],
    counts: Mapping[str, int],
) -> Path:
    """Write a window's pages, replacing earlier ones at once, and return the index page.

    Args:
        results: Great Expectations' validation result of each level that had rows.
        rows: how many rows each level had.
        counts: findings by rule.
    """
    target = folder(docs, window_key)
    target.parent.mkdir(parents=True, exist_ok=True)
    counts = Counter(counts)
    style = _style()
    index = _template("index.html.jinja").render(
        window_key=window_key,
        up="../" * (window_key.count("/") + 1),
        checked_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=rules.version,
        rows=rows,
        levels=[level for level in LEVELS if level in results],
        severities={s: sum(counts[r.name] for r in rules.rules if r.severity == s) for s in SEVERITIES},
        rules=sorted(
            rules.rules,
            key=lambda rule: (not counts[rule.name], -SEVERITIES.index(rule.severity), -counts[rule.name], rule.name),
        ),
        counts=counts,
        style=style,
    )
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=docs))
    try:
        scratch.chmod(0o755)
        (scratch / "index.html").write_text(index, encoding="utf-8")
        for level, result in results.items():
            (scratch / f"{level}.html").write_text(_page(result, level, window_key, style), encoding="utf-8")
        _swap(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target / "index.html"


def publish_overview(docs: Path, windows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page that lists the windows, and return it.

    Args:
        windows: rows of the query `quality_windows`.
    """
    rows = [
        dict(window) | {"page": page if (docs / (page := f"{window['window_key']}/index.html")).is_file() else None}
        for window in windows
        if WINDOW_KEY.fullmatch(window["window_key"])
    ]
    scratch, target = docs / f".index-{uuid.uuid4().hex}.html", docs / "index.html"
    scratch.write_text(_template("overview.html.jinja").render(windows=rows, style=_style()), encoding="utf-8")
    scratch.replace(target)
    return target


def _style() -> str:
    return (HERE / "style.css").read_text(encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((HERE / name).read_text(encoding="utf-8"))


def _swap(scratch: Path, target: Path) -> None:
    """Put the new pages in place of the old. A cohort's folder may hold other windows' folders: files only."""
    target.mkdir(parents=True, exist_ok=True)
    fresh = {path.name for path in scratch.iterdir()}
    for path in scratch.iterdir():
        path.replace(target / path.name)
    for old in target.glob("*.html"):
        if old.name not in fresh:
            old.unlink()


def _page(result: Any, level: Level, window_key: str, style: str) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    shown = copy.deepcopy(result)
    for outcome in shown.results:
        outcome.result = {name: value for name, value in outcome.result.items() if name in COUNTS}
    content = ValidationResultsPageRenderer(run_info_at_end=True).render(shown)
    page: str = DefaultJinjaPageView().render(content)  # type: ignore[no-untyped-call]
    page = OTHER_PAGES.sub(r"\1", HANDLER.sub("", FOOTER.sub("", OUTSIDE.sub("", page))))
    heading = (
        f'<p class="back"><a href="index.html">All rules of {window_key}</a></p><h1>{level.capitalize()} rules</h1>'
    )
    page = re.sub(r"<title>.*?</title>", f"<title>Quality of {window_key}: {level}</title>", page, count=1, flags=re.S)
    page = page.replace("</head>", f"{NO_ICON}<style>{style}</style></head>", 1)
    return page.replace("<body>", f'<body class="data-docs">{heading}', 1)
