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
    assert group_budgets(laws) == {"packed": (packed[1], packed[0], packed[2])}


def test_one_budget_is_no_group():
    assert group_budgets({"ours_short": Selection(("quecc",), "short")}) == {}
    assert group_budgets({}) == {}
