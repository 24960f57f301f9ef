"""Model cards: the measured figures as JSON beside the weights, and as a page for people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from models.confusions import svg
from models.weights_files import card_path, digest

NUMBERS = re.compile(r"\[\s+([-\d.e+,\s]+?)\s+\]")

LIMITS = {
    "body_part": [
        "UNIFESP, the only source of real spines, abdomens and limbs in training, is licensed CC BY-NC-SA 4.0 by a "
        "second-hand statement: research only.",
        "Training has 49 real abdomens, 78 real spines and a few films of most limbs; renderings from two CT volumes "
        "and collages of training films fill up. Regions without data (`trained_regions` lists those with) are never "
        "named.",
        "CADMA, Hannover and the shoulder implants are wholly unseen in training; theirs are the external figures. "
        "CADMA was not unseen by the developers: six of its films were looked at and its figures were known when the "
        "collages of whole spines were made like such films. Averaging the weights with those begun "
        "with, a film better on validation, was left out with its figures in view.",
        "`visible36` is scored against what the sources annotate, mostly the examined part alone.",
        "Nearly all children's chests come from one hospital and none of its films shows an adult: childhood read "
        "from the picture may be that hospital's style. Pass the patient's age, which decides where known.",
        "Views of UNIFESP films were read in thumbnails by the developers, not by radiologists: lateral or frontal. AP "
        "and PA are known of NIH films alone, AP of the children's.",
        "There is no laterality head: no source names a side, and what the pictures show of it, letters aside, a "
        "mirrored film shows as well. `mirrored` says whether a frontal chest has its heart on the right.",
        "Orientation is learnt by turning films of regions that are shown upright by custom; hands and feet have none.",
        "Temperatures and thresholds come from a twin of the same recipe that never saw the validation films.",
    ],
    "ivc_filter": [
        "No real radiograph with an IVC filter is in training or test data. Every sensitivity here is on rendered "
        "filters, put on real films or on rendered films; real sensitivity is unknown.",
        "The detector reads pictures of {side} pixels. The films behind the scenes have 512 at most: how sharp anatomy "
        "is beside a filter on more pixels, it has not seen.",
        "Not for clinical use: a screening aid that proposes films to a person.",
        "Backgrounds are partly UNIFESP films (CC BY-NC-SA 4.0 by a second-hand statement): research use only.",
    ],
}

PUBLISHED = {
    "body_part": "VinDr DICOM Imaging Router 2021: router5 macro F1 0.981 on its own test set. SNOMED body-part paper: "
    "examined 0.889, visible 0.853. Other data, so no direct comparison.",
    "ivc_filter": "Mongan 2022, real radiographs: sensitivity 96.2 %, specificity 98.9 %; external 97.9 / 99.6. "
    "Not comparable with figures on synthetic filters.",
}

HEADS = {"router5": "Router class", "examined36": "Examined region", "ivc_filter": "IVC filter"}
"""What confusion matrices are of, in words."""

TRAINING = {
    "body_part": "In two parts. From random weights on one GPU: two ResNets at three quarters of the width, 3.4 "
    "minutes, then this network, 5.3 minutes, learning from the labels and from both ResNets, on the films of training "
    "alone. Then on one CPU core beside its twin, 55 minutes: on the films of training and validation, with collages "
    "made like films of whole spines, the first four parts of the trunk kept. The twin never saw the validation films: "
    "the side at which the weights read was chosen by it, and they are calibrated by it.",
    "ivc_filter": "8.6 minutes beside other work on one H100-class GPU, from random initial weights; seven processes "
    "composed the scenes.",
}
"""How the weights that ship were trained, in words."""


def write_card(
    weights: Path,
    docs: Path,
    model_id: str,
    settings: dict[str, Any],
    figures: dict[str, Any],
    sources: list[dict[str, str]],
) -> None:
    """Write `<name>.card.json` beside the weights; `<name>.md` and its confusion matrices as SVG into the docs."""
    name = weights.stem
    card = write_card_file(weights, name, model_id, settings, figures, sources, TRAINING[name])
    docs.mkdir(parents=True, exist_ok=True)
    (docs / f"{name}.md").write_text(page(name, card), encoding="utf-8")
    for head, matrices in card["figures"]["confusions"].items():
        picture = svg(f"{HEADS[head]} of {model_id}", matrices)
        (docs / _picture_of(name, head)).write_text(picture, encoding="utf-8")


def write_card_file(
    weights: Path,
    task: str,
    model_id: str,
    settings: dict[str, Any],
    figures: dict[str, Any],
    sources: list[dict[str, str]],
    training: str,
) -> dict[str, Any]:
    """Write the card beside the weights, and return it.

    Args:
        training: how they were trained, in words.
    """
    card = {
        "model_id": model_id,
        "weights_sha256": digest(weights),
        "weights_bytes": weights.stat().st_size,
        "settings": settings,
        "training": training,
        "figures": _rounded(figures),
        "published": PUBLISHED[task],
        "sources": sources,
        "limits": [line.format(side=settings.get("side", 512)) for line in LIMITS[task]],
    }
    # Numbers of a list on one line: a row of a confusion matrix is then one to read, too.
    text = re.sub(NUMBERS, lambda found: f"[{' '.join(found[1].split())}]", json.dumps(card, indent=1))
    card_path(weights).write_text(text + "\n", encoding="utf-8")
    return card


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def page(name: str, card: dict[str, Any]) -> str:
    """The card as Markdown."""
    head = {"body_part": "Body-part network", "ivc_filter": "IVC-filter detector"}[name]
    recipe = ", ".join(f"{key} {value}" for key, value in card["settings"].get("recipe", {}).items())
    steps = card["settings"].get("steps_taken", "?")
    lines = [
        f"# {head}",
        "",
        f"Model `{card['model_id']}`, {card['weights_bytes'] / 1e6:.1f} MB,",
        f"weights SHA-256 `{card['weights_sha256']}`.",
        f"Written by `python -m models.evaluate` from `models/weights/{name}.card.json`; do not edit.",
        "Beside goals, published figures and trivial answers: [accuracy](accuracy.md).",
        "",
        f"Recipe: {recipe}; {steps} steps taken. {card.get('training', '')}".rstrip(),
        "",
        *(_body_part(card["figures"]) if name == "body_part" else _filter(card["figures"])),
        "",
        f"Published, for orientation: {card['published']}",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card["limits"]),
        "",
        "## Sources",
        "",
        *(f"- {s['name']}: {s['licence']}" + (f" ({s['use']})" if "use" in s else "") for s in card["sources"]),
        "",
    ]
    return "\n".join(lines)


def _picture_of(name: str, head: str) -> str:
    return f"{name}-confusion-{head.replace('_', '-')}.svg"


def _pictures(name: str, figures: dict[str, Any], head: str) -> list[str]:
    """The confusion matrices of a head as the page shows them."""
    if head not in figures.get("confusions", {}):
        return []
    return ["", f"![Confusion matrices: {HEADS[head].lower()}]({_picture_of(name, head)})"]


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.3f}–{interval[1]:.3f}"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _header(*cells: str) -> list[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def _body_part(figures: dict[str, Any]) -> list[str]:
    router, examined, visible = figures["router5"], figures["examined36"], figures["visible36"]
    lines = [
        "Films of patients that training never saw. *Internal*: sources of which other patients were trained on;",
        "*external*: sources wholly unseen. The simulated hospital shows films of these patients alone.",
        "Intervals: 95 %, patients resampled.",
        "",
        "## Router classes (from the picture alone)",
        "",
        *_header("films of", "n", "accuracy", "macro P", "macro R", "macro F1", "95 % CI"),
    ]
    rows = {**router["by_subset"], "all, age used where known": router["with_age_where_known"]}
    rows["all, majority class (baseline)"] = router["majority_baseline"]
    for name, s in rows.items():
        numbers = (f"{s[key]:.3f}" for key in ("accuracy", "macro_precision", "macro_recall", "macro_f1"))
        lines.append(_row(name.replace("_", " "), s["films"], *numbers, _span(s["macro_f1_ci95"])))
    lines += ["", *_header("class", "n", "precision", "recall", "F1")]
    for name, s in router["per_class"].items():
        lines.append(_row(name, int(s["support"]), *(f"{s[key]:.3f}" for key in ("precision", "recall", "f1"))))
    lines += _pictures("body_part", figures, "router5")
    sure = "; ".join(
        f"{name} {s['share']:.1%} of the films, {s['accuracy']:.1%} of them right"
        for name, s in router["confident"].items()
    )
    lines += [
        "",
        f"Confident readings: {sure}; the others are labelled `unknown`. "
        f"Expected calibration error {router['calibration_error']:.3f}. "
        f"The router class is the one that the examined region implies on {router['agrees_with_examined']:.1%}. "
        f"{figures['speed']['images_per_cpu_second']:.0f} images a second of CPU time, from the canonical image on.",
        "",
        "## Examined region",
        "",
        *_header(
            "films of", "n", "accuracy", "95 % CI", "top-2", "reasonable", "macro F1", "confident", "of them right"
        ),
    ]
    for name, s in examined["by_subset"].items():
        lines.append(
            _row(
                name.replace("_", " "),
                s["films"],
                f"{s['accuracy']:.3f}",
                _span(s["accuracy_ci95"]),
                f"{s['top2_accuracy']:.3f}",
                f"{s['reasonable']:.3f}",
                f"{s['macro_f1']:.3f}",
                f"{s['confident_share']:.3f}",
                "" if s["confident_accuracy"] is None else f"{s['confident_accuracy']:.3f}",
            )
        )
    lines += [
        "",
        "*Reasonable*: right, or a region that the same film shows (a wrist for a hand). Majority class (baseline): "
        f"{examined['majority_baseline_accuracy']:.3f}. "
        f"Expected calibration error {examined['calibration_error']:.3f}.",
        "",
    ]
    lines += _header("region", "n", "precision", "recall", "F1")
    for name, s in examined["per_class"].items():
        lines.append(_row(name, int(s["support"]), *(f"{s[key]:.3f}" for key in ("precision", "recall", "f1"))))
    lines += _pictures("body_part", figures, "examined36")
    lines += ["", "## Visible regions", ""]
    lines += _header("films of", "n", "all regions right", "95 % CI", "micro F1")
    for name, s in visible.items():
        interval = _span(s["subset_accuracy_ci95"])
        lines.append(_row(name, s["films"], f"{s['subset_accuracy']:.3f}", interval, f"{s['micro_f1']:.3f}"))
    lines += [
        "",
        "## View, orientation, inversion, mirroring, childhood",
        "",
        "*On changed films*: a third of the simulated hospital's, each turned by a random number of quarters, or half",
        "of them inverted or mirrored. *Baseline*: the likeliest answer for all.",
        "",
        *_header("question", "n", "accuracy", "95 % CI", "macro F1", "baseline"),
    ]
    for name, s in figures["side_heads"].items():
        numbers = (f"{s['accuracy']:.3f}", _span(s["accuracy_ci95"]), f"{s['macro_f1']:.3f}", f"{s['chance']:.3f}")
        lines.append(_row(name, s["films"], *numbers))
    return lines


def _filter(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"A film is positive from a score of {figures['threshold']:.3f} on: 99 % specificity on validation films.",
        "",
        "## Sensitivity, on synthetic filters only",
        "",
        *_header("pictures", "n", "sensitivity", "95 % CI", "box on the filter"),
    ]
    for name, s in figures["sensitivity_synthetic"].items():
        lines.append(
            _row(
                name.replace("_", " "),
                s["films"],
                f"{s['sensitivity']:.3f}",
                _span(s["sensitivity_ci95"]),
                f"{s['located']:.3f}",
            )
        )
    read_off = figures["at_99_specificity"]
    lines += [
        "",
        f"With the threshold read off the {read_off['films_without']} real films below instead "
        f"(score above {read_off['above_score']:.3f}, specificity {read_off['specificity']:.4f}):",
        "",
        *_header("pictures", "n", "sensitivity", "95 % CI"),
    ]
    for name, s in read_off["sensitivity"].items():
        span = _span(s["sensitivity_ci95"])
        lines.append(_row(name.replace("_", " "), s["films"], f"{s['sensitivity']:.3f}", span))
    lines += _pictures("ivc_filter", figures, "ivc_filter")
    lines += ["", "## False positives, on real films without a filter", ""]
    lines += _header("films of", "n", "false positives", "per 1,000", "specificity", "95 % CI")
    for name, s in figures["false_positives_real_films"].items():
        lines.append(
            _row(
                name.replace("_", " "),
                s["films"],
                s["false_positives"],
                f"{s['per_1000']:.1f}",
                f"{s['specificity']:.4f}",
                _span(s["specificity_ci95"]),
            )
        )
    return lines
