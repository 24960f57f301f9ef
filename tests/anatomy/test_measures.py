"""A site's own labels: read, measured, kept, told; as the command does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.anatomy.measures import LabelsUnusable, measured, read_labels
from sluice.database import Database
from tests.anatomy.test_strategies import OLD, Films


@pytest.fixture
def site(database: Database, monkeypatch: pytest.MonkeyPatch) -> Films:
    """Knees and hands: one header is wrong, one film was never read."""
    from sluice.settings import settings

    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    films = Films(database)
    for header, examined in (("KNEE", "KNEE"),) * 12 + (("HAND", "HAND"),) * 8 + (("HAND", "KNEE"), ("KNEE", None)):
        films.film(header, examined)
    return films


def labels(path: Path, films: Films, separator: str = ",", bom: str = "") -> Path:
    uids = sorted((row["sop_instance_uid"] for row in films.answers()), key=lambda uid: int(uid.split(".")[-3]))
    truth = ["KNEE"] * 12 + ["HAND"] * 8 + ["KNEE", "knee"]
    lines = [separator.join(("Region", "SOP_Instance_UID", "remark"))]
    lines += [separator.join((region, uid, "")) for region, uid in zip(truth, uids, strict=True)]
    lines += [separator.join(("CHEST", "1.2.3.not.here", ""))]
    path.write_text(bom + "\r\n".join(lines), encoding="utf-8")
    return path


def test_the_command_measures_keeps_and_shows_again(
    site: Films, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.csv", site)
    assert main(["anatomy", "strategies"]) == 1
    assert "No strategy was measured here yet" in capsys.readouterr().err
    assert main(["anatomy", "strategies", "--truth", str(path)]) == 0
    told = capsys.readouterr().out
    assert f"On 22 films of 22 patients, model {OLD}\n1 labelled films are not in this database\n" in told
    assert "1 labelled films no model has read" in told
    assert "micro  header        0.955" in told
    rows = {(row["strategy"], row["region_key"]): row for row in measured(site.database)}
    header, seen, fused = rows["header", "KNEE"], rows["visible", "KNEE"], rows["fused", "micro"]
    assert (header["positives"], header["found"], header["hits"]) == (14, 13, 13)
    assert (seen["found"], seen["hits"], seen["precision"], seen["recall"]) == (13, 13, 1.0, pytest.approx(13 / 14))
    assert fused["recall"] == pytest.approx(21 / 22) or fused["recall"] == 1.0
    assert header["recall_ci"][0] < header["recall"] < header["recall_ci"][1]
    assert (header["truth_name"], header["films"], header["model_id"]) == ("labels.csv", 22, OLD)
    assert main(["anatomy", "strategies"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == told.splitlines()[4:]
    assert main(["anatomy", "fuse"]) == 0
    assert "21 films, by what 21 films taught" in capsys.readouterr().out
    with pytest.raises(SystemExit) as wrong:
        main(["anatomy", "fuse", "--truth", str(path)])
    assert wrong.value.code == 2


@pytest.mark.parametrize(("separator", "bom"), [(";", ""), ("\t", "\ufeff"), (",", "\ufeff")])
def test_labels_as_spreadsheets_write_them(tmp_path: Path, separator: str, bom: str) -> None:
    path = tmp_path / "l.csv"
    lines = ["sop_instance_uid,region", "1.2,KNEE", "1.2,patella", "1.3,", "", "1.4,CHEST"]
    path.write_text(bom + "\n".join(lines).replace(",", separator), encoding="utf-8")
    assert read_labels(path).regions == {
        "1.2": frozenset({"KNEE", "PATELLA"}),
        "1.3": frozenset(),
        "1.4": frozenset({"CHEST"}),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column sop_instance_uid and region"),
        ("uid,region\n1,KNEE", "lacks the column sop_instance_uid"),
        ("sop_instance_uid,region\n", "labels no instance"),
        ("sop_instance_uid,region\n1.2,KNEE\n1.3,KNEES", "line 3: 'KNEES' is no region"),
        ("sop_instance_uid,region\n1.2", "labels no instance|1.2"),
    ],
)
def test_what_is_no_file_of_labels_is_refused_with_its_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(text, encoding="utf-8")
    if text.endswith("1.2"):  # a line without its second column is a film without a region
        assert read_labels(path).regions == {"1.2": frozenset()}
        return
    with pytest.raises(LabelsUnusable, match=words):
        read_labels(path)


def test_labels_of_another_site_and_a_file_that_is_no_text(site: Films, tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("sop_instance_uid,region\n9.9,KNEE", encoding="utf-8")
    assert main(["anatomy", "strategies", "--truth", str(path)]) == 1
    assert measured(site.database) == []
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelsUnusable, match="no UTF-8"):
        read_labels(path)
