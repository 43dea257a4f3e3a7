"""Sizes as people write them."""

from __future__ import annotations

import pytest
import typer

from cli.options import parse_size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("4GB", 4_000_000_000), ("4GiB", 4 * 1024**3), ("512 mib", 512 * 1024**2), ("1.5k", 1500), ("100", 100)],
)
def test_a_size_is_read_in_units_of_a_thousand_or_with_an_i_of_1024(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4XB", "0", "0.1", "٤GB", "1e9", "4iB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="4GB"):
        parse_size(text)
