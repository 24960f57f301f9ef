"""What a project wants done about pixels: the part `pixels` of its file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PixelPolicy(BaseModel):
    """How a project's pixels leave (docs/pixels.md).

    Attributes:
        text: `header`: nobody looks at the pixels, and what shows text by habit is held; `hold`: pixels are screened,
            and what shows text is held; `mask`: pixels are screened, and text is blanked in all frames.
        one_in: of the slices of a CT, MR or PET series one in so many is screened, and always the first, the middle one
            and the last. Everything else is screened one by one.
        heads: `hold`: CT, MR and PET that show a head, or may, are held, since a face can be made of them; `release`:
            they leave as they are, where the recipient's contract forbids to look.
        claim: say in each screened file that its pixels were cleaned (113101, Burned In Annotation NO). Only where a
            person approves the release: a screening that finds nothing proves nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Literal["header", "hold", "mask"] = "header"
    one_in: int = Field(default=25, ge=1, le=1000)
    heads: Literal["hold", "release"] = "hold"
    claim: bool = False

    @property
    def screens(self) -> bool:
        """Whether pixels have to be screened before anything leaves."""
        return self.text != "header"

    @model_validator(mode="after")
    def _claim_needs_screening(self) -> Self:
        if self.claim and not self.screens:
            raise ValueError("claim: true needs text: hold or text: mask; what nobody looked at was not cleaned")
        return self
