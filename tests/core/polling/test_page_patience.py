"""Pages in place of answers: gaps grow, and only a whole account that gets nothing else runs out of patience."""

from anycap.core.polling.page_patience import PagePatience, page_stretch


def test_patience_is_counted_from_the_first_page() -> None:
    patience = PagePatience(60.0)
    assert not patience.page_came(100.0)
    assert not patience.page_came(159.9)
    assert patience.page_came(160.0)


def test_one_answer_of_the_vendor_begins_it_anew() -> None:
    patience = PagePatience(60.0)
    patience.page_came(100.0)
    patience.vendor_answered()
    assert not patience.page_came(170.0)
    assert patience.page_came(230.0)


def test_without_patience_the_first_page_is_too_much() -> None:
    assert PagePatience(0.0).page_came(100.0)


def test_gaps_double_up_to_sixteen_times() -> None:
    assert [page_stretch(pages) for pages in (0, 1, 2, 3, 4, 5, 100)] == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]
