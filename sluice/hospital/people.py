"""The patients of the day: names in the character sets that European and Asian hospitals really send."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

LATIN, UTF8 = "ISO_IR 100", "ISO_IR 192"
JAPANESE, KOREAN = "\\ISO 2022 IR 87", "\\ISO 2022 IR 149"
CYRILLIC, GREEK, CHINESE = "ISO_IR 144", "ISO_IR 126", "GB18030"


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        charset: Specific Character Set (0008,0005) her studies are written in, backslash-separated.
        sex: `F`, `M` or `O`.
    """

    patient_id: str
    name: str
    charset: str
    born: date
    sex: str

    def age_on(self, day: date) -> int:
        """Completed years on `day`."""
        return day.year - self.born.year - ((day.month, day.day) < (self.born.month, self.born.day))


_NAMES: tuple[tuple[str, str, str], ...] = (
    (LATIN, "Müller^Jürgen", "M"),
    (LATIN, "Schröder^Anneliese^^Dr.", "F"),
    (LATIN, "Weiß^Günther", "M"),
    (LATIN, "García Núñez^José María", "M"),
    (LATIN, "Lefèvre^Chloé", "F"),
    (LATIN, "Åkerström^Björn", "M"),
    (UTF8, "Łukasiewicz^Żaneta", "F"),
    (UTF8, "Çelik^Gülşen", "F"),
    (UTF8, "Wang^Xiaodong=王^小东", "M"),
    (UTF8, "Nguyễn^Thị Hồng", "F"),
    (JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう", "M"),
    (JAPANESE, "Suzuki^Hanako=鈴木^花子=すずき^はなこ", "F"),
    (KOREAN, "Hong^Gildong=洪^吉洞=홍^길동", "M"),
    (KOREAN, "Kim^Heesook=金^喜淑=김^희숙", "F"),
    (CYRILLIC, "Люкceмбypг^Александр", "M"),
    (CYRILLIC, "Иванова^Наталья", "F"),
    (GREEK, "Διονυσιος^Παππας", "M"),
    (GREEK, "Παπαδοπουλου^Ελενη", "F"),
    (CHINESE, "Zhang^Wei=张^伟", "M"),
    (LATIN, "Van der Berg^Pieter", "M"),
    ("", "SMITH^JOHN", "M"),
    ("", "O'Brien^Siobhan", "F"),
    (LATIN, "MUELLER,HANS", "M"),
    (LATIN, "Groß^Käthe^Ida^Freifrau von^", "F"),
)
_FAMILIES = tuple(
    "Becker Vogel Richter König Jäger Lorenz Kühn Böhm Sauer Krämer Öztürk Hübner Fuß Götz Pohl Ritter".split()  # noqa: SIM905
)
_GIVEN = {
    "F": ("Anna", "Sofie", "Käthe", "Lena", "Ruth", "Zoë", "Inès", "Mia", "Elke", "Jördis"),
    "M": ("Paul", "Jörg", "Emil", "Noël", "Karl", "Götz", "André", "Finn", "Otto", "Rémi"),
}


def patients(seed: int, day: date, adults: int, children: int) -> tuple[list[Patient], list[Patient]]:
    """Adults and children (under 15), each with a patient id of his own."""
    chance = random.Random(f"{seed}/{day}/people")
    names = list(_NAMES)
    chance.shuffle(names)

    def one(number: int, child: bool) -> Patient:
        if names and not child:
            charset, name, sex = names.pop()
        else:
            sex = chance.choice("FM")
            charset, name = LATIN, f"{chance.choice(_FAMILIES)}^{chance.choice(_GIVEN[sex])}"
        years = chance.uniform(0.6, 13.5) if child else min(97.0, max(18.0, chance.gauss(58, 19)))
        born = day - timedelta(days=round(years * 365.25))
        # Two numbering schemes stand side by side since a merger, one of them with leading zeros.
        patient_id = f"{4_000_000 + number * 7_919 % 999_983:010d}" if number % 4 else f"KH-{20_000 + number * 613}"
        return Patient(patient_id, name, charset, born, sex)

    return (
        [one(number, child=False) for number in range(adults)],
        [one(1_000 + number, child=True) for number in range(children)],
    )
