"""What faults cost, as their tests measure it: the rows of docs/drills.csv, which docs/hooks.py shows.

A test of a fault says by the fixture `cost_of` what was lost and which commands it ran until the undisturbed
result was there. It fails where that is not the row of the table. Write the rows anew:

    WRITE_DRILLS=1 pytest -n 0 -m drill
"""

import csv
import os
from dataclasses import asdict, dataclass, fields

from tests.support.paths import ROOT

TABLE = ROOT / "docs/drills.csv"
SAME = "the same command"
_written = set()  # faults of this session, whose rows grow with each instance


@dataclass
class Cost:
    """What a fault cost."""

    fault: str
    lost: int = 0
    bound: str = ""  # "at most": the loss depends on the moment of the fault
    unit: str = ""
    first: str = ""  # what a person changes on the machine
    commands: int = 0
    cure: str = ""

    def lose(self, amount, unit, *, at_most=None):
        """Note how much is made again; where the moment of the fault decides, its bound, which is tested."""
        if at_most is not None:
            assert 0 <= amount <= at_most, f"{amount} {unit} lost, at most {at_most} may be"
            amount, self.bound = at_most, "at most"
        self.lost, self.unit = int(amount), unit if amount else ""

    def change(self, what):
        """Note what a person has to change before a command can help."""
        self.first = what

    def run(self, command, function, *arguments, **named):
        """Call `function`, which does what `command` does for a user, and count it."""
        self.commands += 1
        self.cure = ", ".join([*filter(None, [self.cure]), command])
        return function(*arguments, **named)


def read_rows():
    """Return {fault: Cost} of the table."""
    with TABLE.open(newline="") as file:
        rows = [Cost(**row) for row in csv.DictReader(file)]
    for row in rows:
        row.lost, row.commands = int(row.lost), int(row.commands)
    return {row.fault: row for row in rows}


def check(cost):
    """Compare what a test has measured with the table, or write it there."""
    rows = read_rows() if TABLE.exists() else {}
    if not os.environ.get("WRITE_DRILLS"):
        assert asdict(cost) == asdict(rows.get(cost.fault, Cost("no row"))), (
            "see tests/support/drills.py"
        )
        return
    known = rows.get(cost.fault) if cost.fault in _written else None
    assert known in (None, cost), f"instances of one fault cost different things: {known}, {cost}"
    _written.add(cost.fault)
    rows[cost.fault] = cost
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cost)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(rows[fault]) for fault in sorted(rows))
