"""docs/theory/information.md: its table follows from the recorded runs."""

import re

from docs._build.information import PAGE, TABLES, read_run
from docs._build.tables import fill_tables, list_tables

TEXT = PAGE.read_text()


def test_the_table_is_up_to_date():
    assert list_tables(TEXT, "information") == ["measured"]
    assert fill_tables(TEXT, "information", TABLES) == TEXT


def test_the_number_of_layers_where_pit_has_more_variance_is_correct():
    larger, layers = 0, 0
    for data in ("digits", "fashion_mnist", "dvs_digits"):
        pairs = zip(
            read_run(data, "pit")["variance"], read_run(data, "ilif")["variance"], strict=True
        )
        won = [pit > ilif for pit, ilif in pairs]
        larger, layers = larger + sum(won), layers + len(won)
    assert f"in {larger} of the {layers} layers" in TEXT


def test_all_pictures_exist():
    for file in re.findall(r"\]\((images/.*?)\)", TEXT):
        assert (PAGE.parent / file).is_file()
