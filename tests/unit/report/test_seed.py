import pytest

from moestro.report.seed import AGREES, Table, tables


@pytest.fixture(scope="module")
def printed() -> dict[str, Table]:
    return {one.title: one for one in tables()}


def row(table: Table, what: str) -> tuple[str, ...]:
    return next(one for one in table.rows if one[0] == what)


def test_every_difference_is_explained(printed: dict[str, Table]) -> None:
    for table in printed.values():
        for cells in table.rows:
            assert len(cells) == len(table.headings)
            assert cells[-1].strip()
            assert not cells[-1].rstrip().endswith(":")


@pytest.mark.parametrize(
    ("title", "rows"),
    [
        ("The models", 20),
        ("Bytes per parameter", 4),
        ("Weights, GB", 15),
        ("Smallest GPU configuration at FP8", 5),
        ("Decision matrix", 4),
        ("GPU configurations", 24),
        ("GPU prices, USD an hour of one GPU", 11),
        ("What to watch", 6),
        ("Spot or on-demand", 2),
        ("Best conditions", 5),
        ("Production checklist", 8),
    ],
)
def test_no_row_of_the_seed_is_missing(printed: dict[str, Table], title: str, rows: int) -> None:
    assert len(printed[title].rows) == rows


def test_prices_and_their_arithmetic_agree_to_the_cent(printed: dict[str, Table]) -> None:
    batch = printed["A batch job, 8x B200 for 10 hours a day"]
    assert [cells[-1] for cells in batch.rows[:4]] == [AGREES] * 4
    costs = [cells for cells in printed["Cost per token"].rows if "USD" in cells[0]]
    assert {cells[-1] for cells in costs} == {AGREES}


def test_decision_matrix_is_followed(printed: dict[str, Table]) -> None:
    assert all(cells[-1].startswith(AGREES) for cells in printed["Decision matrix"].rows)


def test_what_cannot_be_is_said(printed: dict[str, Table]) -> None:
    maverick = row(printed["Smallest GPU configuration at FP8"], "Llama 4 Maverick (400B)")
    assert "does not fit" in maverick[-1]
    dense = row(printed["Cost per token"], "Llama 3 70B dense, 1x H100_PCIE: tokens/s")
    assert dense[2] == "does not fit"
    assert "dearer" in row(printed["GPU prices, USD an hour of one GPU"], "A100_80G_PCIE: spot saves")[-1]


def test_alerts_and_corrections_are_there(printed: dict[str, Table]) -> None:
    assert row(printed["What to watch"], "VRAM used")[1:3] == ("85-92%", ">95%")
    assert any("--dtype fp8" in cells[0] for cells in printed["Corrections"].rows)
    assert "batch inference" in row(printed["Spot or on-demand"], "spot")[1]
