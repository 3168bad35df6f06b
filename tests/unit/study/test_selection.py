"""Laws and the training budgets they have."""

from vlmscale.study.selection import Selection, group_budgets


def test_laws_of_several_budgets_are_grouped():
    packed = [Selection(("tokenpacker", "mlp"), budget) for budget in ("full", "short", "tiny")]
    alone = Selection(("quecc",))
    laws = {
        "packed_short": packed[1],
        "packed": packed[0],
        "alone": alone,
        "packed_tiny": packed[2],
    }
    samples = {"full": 9.0, "short": 3.0, "tiny": 1.0}
    assert group_budgets(laws, samples) == {"packed": (packed[1], packed[0], packed[2])}


def test_one_length_is_no_group():
    assert group_budgets({"ours_short": Selection(("quecc",), "short")}, {"short": 3.0}) == {}
    assert group_budgets({}, {}) == {}
    laws = {"ours": Selection(("quecc",)), "ours_hot": Selection(("quecc",), "hot")}
    assert group_budgets(laws, {"full": 9.0, "hot": 9.0}) == {}
