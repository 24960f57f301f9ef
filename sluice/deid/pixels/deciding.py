"""What happens to the pixels of an instance: by the project's policy, the rule for its device, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice.deid import gate
from sluice.deid.elements import PIXEL_DATA, File
from sluice.deid.held import Held
from sluice.deid.pixels.devices import DeviceRule, load_rules, masks_of, rule_for, rules_digest
from sluice.deid.pixels.heads import WITH_FACE, may_show_face
from sluice.deid.pixels.policy import PixelPolicy
from sluice.deid.pixels.reader import screener
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.screening import Screening
from sluice.deid.pixels.treatment import PixelTreatment

MARGIN = 4  # pixels around text that was found: boxes are drawn tightly


def treatment_for(
    file: File, policy: PixelPolicy, screened: Screening | None, rules: Sequence[DeviceRule] | None = None
) -> PixelTreatment:
    """What is done to the pixels of an instance.

    Args:
        screened: what is known of its pixels; None where nobody looked.
        rules: for devices; those that ship when None.

    Raises:
        Held: `held-class`, `held-device`, `held-text`, `held-face` or `held-unreadable`, with what was seen.
    """
    if PIXEL_DATA not in file.elements:
        return PixelTreatment()
    if policy.heads == "hold" and (why := may_show_face(file, screened.region_key if screened else None)):
        raise Held("held-face", why)
    if not policy.screens:
        return PixelTreatment()
    if screened is not None and screened.failed is not None:
        raise Held("held-unreadable", f"its pixels could not be looked at: {screened.failed}")
    if screened is None or not screened.is_complete:
        raise Held("held-text", "its pixels were not looked at yet; screen the release again")
    masks = _device_masks(file, load_rules() if rules is None else rules, gate.shows_text(file))
    text = tuple(box for box in screened.text if not any(mask.covers(box) for mask in masks))
    if text and policy.text == "hold":
        raise Held("held-text", f"text in its pixels, or in its series, at {len(text)} places")
    masks += tuple(box.grown(MARGIN) for box in text)
    return PixelTreatment(masks, cleaned=policy.claim, screened=True)


def is_decided_by_file(policy: PixelPolicy, screened: Screening | None) -> bool:
    """Whether the same file under the same policy is treated as in an earlier release, so that what was made of it
    may be named again. What is screened depends on its whole series, and people teach what a head is."""
    region_key = screened.region_key if screened else None
    return not policy.screens and (policy.heads == "release" or region_key not in WITH_FACE)


def described(policy: PixelPolicy, folder: Path | None) -> dict[str, Any]:
    """What decides about pixels, for a release that must not change under way: policy, rules, and what looks for text.

    Args:
        folder: of the hospital's rules for devices.

    Raises:
        DeviceRuleError: one of them cannot be used.
    """
    if not policy.screens:
        return policy.model_dump(include={"text", "heads"})
    load_rules(folder)
    return policy.model_dump() | {"device_rules": rules_digest(folder), "screener": screener()}


def _device_masks(file: File, rules: Sequence[DeviceRule], shows_text: str | None) -> tuple[Rectangle, ...]:
    rule = rule_for(file, rules)
    if rule is None:
        if shows_text:
            raise Held("held-device", f"no rule for its device. {shows_text}")
        return ()
    if rule.action == "hold":
        raise Held("held-device", f"rule {rule.rule}: {rule.why}")
    masks = masks_of(rule, file)
    if masks is None:
        raise Held("held-device", f"rule {rule.rule}: it has no ultrasound regions that can be used")
    return masks
