"""What pixels show of who the patient is: text burned into them, and faces. The doors of this room.

screen(database, archive, release_id, part, policy)     # looks at pixels, once for each instance
known = store.screenings(connection, uids, policy)
treatment = treatment_for(file, policy, known[uid])      # or Held
"""

from __future__ import annotations

from sluice.deid.pixels.deciding import treatment_for
from sluice.deid.pixels.policy import PixelPolicy
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.screening import Screening
from sluice.deid.pixels.treatment import PixelTreatment

__all__ = ["PixelPolicy", "PixelTreatment", "Rectangle", "Screening", "treatment_for"]
