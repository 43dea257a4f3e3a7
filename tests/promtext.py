"""A reader of the text format of Prometheus, strict enough to find what its own parser would refuse."""

from __future__ import annotations

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")
ENDINGS = {"counter": {""}, "gauge": {""}, "summary": {"_sum", "_count"}}
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read_text(text: str) -> Samples:
    """Return every sample by name and labels. Raises AssertionError for text that is not of the format."""
    assert text.endswith("\n"), "the last line must end"
    samples: Samples = {}
    kinds: dict[str, str] = {}
    family = ""
    helped: set[str] = set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert re.fullmatch(NAME, family) and family not in helped, line
            helped.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and name not in kinds and kind in ENDINGS, line
            kinds[name] = kind
        else:
            _read_sample(line, family, kinds, samples)
    assert helped == kinds.keys()
    return samples


def _read_sample(line: str, family: str, kinds: dict[str, str], samples: Samples) -> None:
    found = SAMPLE.fullmatch(line)
    assert found, f"not a sample: {line!r}"
    name, labels, value = found[1], found[2] or "", found[found.lastindex or 0]
    kind = kinds[family]
    assert name.removeprefix(family) in ENDINGS[kind], f"{name} stands among the samples of {family}"
    assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
    pairs = frozenset((each[1], _unescaped(each[2])) for each in re.finditer(LABEL, labels))
    assert (name, pairs) not in samples, f"twice: {line}"
    samples[name, pairs] = float(value)


def _unescaped(text: str) -> str:
    return re.sub(r'\\\\|\\"|\\n', lambda found: ESCAPES[found[0]], text)
