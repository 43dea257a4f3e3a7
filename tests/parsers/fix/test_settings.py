"""What a run may set."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsers.fix.settings import PermanentError
from tests.parsers.fix.reading import SOH, message, order, read, sent


def test_tags_are_written_when_they_are_asked_for(tmp_path: Path) -> None:
    data = sent(order(1, "|5001=mine"))
    assert read(data, tmp_path).rows("fix_tags") == []
    rows = read(data, tmp_path, tags="true").rows("fix_tags")
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert (
        "|".join(f"{row['tag']}={row['value']}" for row in rows).replace("|", SOH) + SOH
        == message(order(1, "|5001=mine")).decode()
    )
    some = read(data, tmp_path, tags="11,5001").rows("fix_tags")
    assert [(row["tag"], row["value"]) for row in some] == [("11", "C1"), ("5001", "mine")]


@pytest.mark.parametrize(
    "settings", [{"tags": "yes"}, {"tags": "11,x"}, {"log_prefix_tz": "Mars/Base"}, {"FIX_TZ": "UTC"}]
)
def test_a_setting_without_sense_is_refused(tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(PermanentError) as refused:
        read(sent(order()), tmp_path, **settings)
    assert refused.value.kind == "bad_setting"
    assert refused.value.hint
