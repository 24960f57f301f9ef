"""Free text keeps words of the list and measures, and no name, not even one that is a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.deid.elements import Element
from sluice.deid.profile import DESCRIPTOR_TERMS
from sluice.deid.tables import table
from sluice.deid.text import clean_report, coded_triplet, known_code_strings, known_terms

CODE_STRINGS = [
    (b"ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", b"ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI"),
    (b"DERIVED\\SECONDARY\\DIS2D\\ND\\M_FFE", b"DERIVED\\SECONDARY\\DIS2D\\ND\\M_FFE"),
    (b"ORIGINAL\\QUILLFEATHER", b"ORIGINAL\\"), (b"BROWN", None), (b"AXIAL SMITH", None), (b"A1234567", None),
    (b"HAS OBS CONTEXT", b"HAS OBS CONTEXT"), (b"HFS ", b"HFS"), (b"", b""), (b"original", None), (b"DCMR", b"DCMR"),
]  # fmt: skip
NAMED = sorted({row["term"] for row in table("terms") if row["name"] and row["kind"] in ("anatomy", "report")})


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("CT Chest 55F Dr. Gravelbottom", "CT Chest"), ("CT Chest Dr. Hand", "CT Chest"),
        ("XR Hand links Frau Kopf", "XR Hand links"), ("MR HAND", "MR HAND"), ("MR Kopf nativ", "MR Kopf nativ"),
        ("DR CHEST PA", "CHEST PA"), ("CT CHEST DR HAND", "CT CHEST"), ("MR. HEAD", ""), ("Mr. Brown Hand", ""),
        ("Hand^John CT", "CT"), ("CT Hand, John", "CT"), ("CT Abdomen J. Kopf", "CT Abdomen"), ("Hand, MD", ""),
        ("XRAY FOOT SMITH", "XRAY"), ("ref by Head", ""), ("T2 TSE AX", "T2 TSE AX"), ("Hüfte bds", "Hüfte bds"),
        ("HEAD", "HEAD"), ("Kopf CT", "Kopf CT"), ("MRT Knie rechts Dr.Fuss", "MRT Knie rechts"),
        ("Prof. Dr. med. Anna von Bein CT Thorax", "CT Thorax"), ("Thorax 19490317", "Thorax"),
    ],
)  # fmt: skip
def test_descriptions(given_text: str, kept: str) -> None:
    assert known_terms(given_text, "LO", DESCRIPTOR_TERMS) == kept


@pytest.mark.parametrize(("given_value", "kept"), CODE_STRINGS)
def test_code_strings_are_words_of_the_standard(given_value: bytes, kept: bytes | None) -> None:
    assert known_code_strings(given_value) == kept


def test_an_english_report() -> None:
    report = (
        "CHEST X-RAY: PA and lateral views. Comparison 12/03/2021. No pneumothorax. There is a small right pleural "
        "effusion measuring 3 x 4.5 cm. White matter. Heart size normal.\nDictated by Dr. Hand, MD. Brown reviewed the "
        "images. Discussed with Mr. Brown at 10:30, MRN 4711-77, phone 0171-5557788. J. P. Long agrees."
    )
    cleaned = clean_report(report)
    for kept in ("No pneumothorax", "small right pleural effusion measuring 3 x 4.5 cm", "Heart size normal"):
        assert kept in cleaned
    for gone in ("2021", "12/03", "Hand", "Brown", "White", "Long", "10:30", "4711", "5557788", "MD", "Dr"):
        assert gone not in cleaned


def test_a_german_report() -> None:
    report = (
        "Frau Kopf, geb. 12.03.1949. CT Kopf nativ: Kein Nachweis einer Blutung. Die Leber ist unauffällig. "
        "Höhenminderung LWK 3, L4/L5 Spondylose. Mit freundlichen Grüßen Prof. Dr. med. Anna von Stein, Oberarzt Fuß"
    )
    cleaned = clean_report(report)
    assert "CT Kopf nativ: Kein Nachweis einer Blutung. Die Leber ist unauffällig." in cleaned
    assert "Höhenminderung LWK 3" in cleaned
    assert cleaned.count("Kopf") == 1
    for gone in ("1949", "Anna", "Stein", "Fuß", "Frau", "geb"):
        assert gone not in cleaned


TITLED = ["Dr. {}", "Mr. {}", "Frau {}", "Herrn {}", "Prof. Dr. {}", "Miss {}", "J. {}", "{}, MD", "Dr. Anna {}",
          "Dr. von {}", "reported by {}", "Herr Dr. Xaver {}"]  # fmt: skip
WORDS = ["Dr.", "Hand", "Kopf", "No", "fracture", "Smith", "3", "mm", "x", "Mr", "MR", "J.", "normal", ",", ".", "von",
         "LWK", "Grade", "x-ray", "CT", "[...]", "White", "T", "A", "by", ":", "MD"]  # fmt: skip


@pytest.mark.parametrize("title", TITLED)
def test_no_name_that_is_a_word_survives_its_title(title: str) -> None:
    for name in NAMED:
        for written in (name.title(), name):
            text = "No fracture. " + title.format(written) + ". Normal."
            assert written not in clean_report(text).replace("Normal", ""), text
            assert written.upper() not in known_terms(f"CT {title.format(written)}", "LO", DESCRIPTOR_TERMS).upper()


@given(st.text(alphabet=st.sampled_from(list("aDrHKopf. ,;:-x3L5\nmT^[]ü日")), max_size=60) | st.text(max_size=40))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_report(text)
    assert clean_report(once) == once


@given(st.lists(st.sampled_from(WORDS)))
def test_cleaning_sentences_twice_changes_nothing(words: list[str]) -> None:
    once = clean_report(" ".join(words))
    assert clean_report(once) == once
    assert "Smith" not in once


@pytest.mark.parametrize(
    ("value", "stays"),
    [("72704001", True), ("491715550199", False), ("8675309", False), ("19490317", False), ("72704002", False)],
)
def test_a_number_under_a_known_scheme_is_no_code_for_that(value: str, stays: bool) -> None:
    """Hospital and telephone numbers look like codes of SNOMED CT, but for the check digit."""
    item = {tag: Element(tag, "SH", part) for tag, part in ((0x00080100, value.encode()), (0x00080102, b"SCT"))}
    assert bool(coded_triplet(item)) is stays
