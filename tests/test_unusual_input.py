"""The page on unusual input is what the tests try."""

from __future__ import annotations

from unusual_input import PAGE, page


def test_the_page_is_made_of_the_tables_of_the_tests():
    assert PAGE.read_text(encoding="utf-8") == page(), "make it again: python tests/unusual_input.py"
