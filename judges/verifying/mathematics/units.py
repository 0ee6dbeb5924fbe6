"""Units of answers: what they are worth, by the exact factors of sympy.physics.units.

Only the names in `units.toml` are units, alone or as products, quotients and powers ("km/h", "m^2",
"meters per second"). Any other word behind a number is a noun, and no unit.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

MAX_UNIT_CHARS = 40
_FACTOR = re.compile(r"([^\s*/^]+?)(?:\^?\{?(-?[1-9])\}?)?")
_BETWEEN = re.compile(r"\s*([*/ ])\s*")


@dataclass(frozen=True)
class Unit:
    """The size of a unit in base units, and the powers of its dimensions."""

    size: Fraction
    dimensions: frozenset[tuple[str, int]]

    def __mul__(self, other: Unit) -> Unit:
        powers = Counter(dict(self.dimensions))
        for name, power in other.dimensions:
            powers[name] += power
        kept = frozenset((name, power) for name, power in powers.items() if power)
        return Unit(self.size * other.size, kept)

    def __pow__(self, power: int) -> Unit:
        return Unit(self.size**power, frozenset((n, p * power) for n, p in self.dimensions))


ONE = Unit(Fraction(1), frozenset())


@cache
def unit_names() -> dict[str, Unit]:
    """Return name -> unit, for all names in `units.toml`."""
    text = (Path(__file__).parent / "units.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["unit"]
    names: dict[str, Unit] = {}
    for row in rows:
        unit = _unit(row)
        for name in row["names"]:
            assert name not in names, f"two units are named {name}"
            names[name] = unit
    return names


def _unit(row: dict[str, Any]) -> Unit:
    factor = Unit(Fraction(str(row.get("factor", 1))), frozenset())
    if "base" in row:
        power: int = row.get("power", 1)
        return factor * _base(row["base"]) ** power
    return Unit(factor.size, frozenset({(row["kind"], 1)})) if "kind" in row else factor


def _base(name: str) -> Unit:
    """Return a unit of sympy by its name."""
    # Imported here, because it takes half a second.
    from sympy.physics import units
    from sympy.physics.units.systems.si import dimsys_SI

    quantity = getattr(units, name)
    powers = dimsys_SI.get_dimensional_dependencies(quantity.dimension)
    size = quantity.scale_factor
    return Unit(
        Fraction(int(size.p), int(size.q)),
        frozenset((str(dimension.name), int(power)) for dimension, power in powers.items()),
    )


def read_unit(text: str) -> Unit | None:
    """Return the unit that a text names as a whole, or None."""
    text = re.sub(r"\s+per\s+|\s+pro\s+|每", "/", " ".join(text.split()))
    if not 0 < len(text) <= MAX_UNIT_CHARS:
        return None
    if text in unit_names():
        return unit_names()[text]
    parts = _BETWEEN.split(text)
    unit: Unit | None = _factor(parts[0])
    for between, part in zip(parts[1::2], parts[2::2], strict=True):
        factor = _factor(part)
        if unit is None or factor is None:
            return None
        unit = unit * factor ** (-1 if between == "/" else 1)
    return unit


def _factor(text: str) -> Unit | None:
    match = _FACTOR.fullmatch(text)
    if match is None or match[1] not in unit_names():
        return unit_names().get(text)
    return unit_names()[match[1]] ** int(match[2] or 1)
