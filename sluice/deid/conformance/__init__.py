"""Is a produced file still a conformant object of its SOP class? Only what the original was not guilty of counts.

`new_errors(original, produced)` judges both files by the same rules, of the class that Debian's `dciodvfy` checks:
attributes of the IOD's modules by their Type (PS3.3), value representations and the form of values (PS3.5 6.2),
multiplicity (PS3.6), order, private creators, and file meta against data set (PS3.10 7.1). What an original had
wrong before stays its own; what de-identification made wrong holds the object.
"""

from sluice.deid.conformance.judge import Fault, judge, new_errors, new_faults

__all__ = ["Fault", "judge", "new_errors", "new_faults"]
