"""Arithmetic in texts: equations that pages state, and final answers that models give, compared as
exact numbers.

Expressions are evaluated in the sandbox, over fractions, with bounded powers; here only plain
numbers are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from judges.verifying.sandbox import Sandbox

MAX_EXPRESSION_CHARS = 80
MAX_EXPRESSIONS = 500
"""Expressions to a run of the sandbox."""
MAX_EQUATIONS_PER_DOCUMENT = 20
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,2})?")
_OPERAND = r"\(*\d[\d.,]*\)*"
_EXPRESSION = re.compile(
    rf"(?<![\w.)\]])((?:[-+]?{_OPERAND}\s*(?:[-+*/×÷·^]|\*\*)\s*)+{_OPERAND})\s*$"
)
_STATED = re.compile(r"=[^\S\n]*(-?\d[\d.,]{0,30})(?![\w(])")
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_SAID = re.compile(r"(?:answer|result)\s*(?:is|:|=)\s*\**\s*([^\n]+)", re.IGNORECASE)
_FRACTION = re.compile(r"\\d?frac\{([^{}]+)\}\{([^{}]+)\}")
_SYMBOLS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "^": "**", "−": "-", "$": "", "\\": "", "{": "(", "}": ")"}
)

_PROGRAM = r"""
import ast, json, sys
from fractions import Fraction

def value(node):
    if isinstance(node, ast.Expression):
        return value(node.body)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        return value(node.operand) * (1 if isinstance(node.op, ast.UAdd) else -1)
    if isinstance(node, ast.BinOp):
        a, b = value(node.left), value(node.right)
        if isinstance(node.op, ast.Add): return a + b
        if isinstance(node.op, ast.Sub): return a - b
        if isinstance(node.op, ast.Mult): return a * b
        if isinstance(node.op, ast.Div): return a / b
        if isinstance(node.op, ast.Pow) and b.denominator == 1 and abs(b) <= 64: return a ** int(b)
    raise ValueError("not arithmetic")

for text in json.loads(sys.argv[1]):
    try:
        print(json.dumps(str(value(ast.parse(text.strip(), mode="eval")))))
    except Exception:
        print("null")
"""


@dataclass(frozen=True)
class Equation:
    """What a page states: `expression` = `stated`. `position` is where it begins in the text."""

    expression: str
    stated: str
    position: int


def number_in(text: str) -> Fraction | None:
    """The number that a text is, as a fraction of whole numbers or a decimal, or None."""
    if len(text) > MAX_EXPRESSION_CHARS:
        return None
    plain = text.strip().rstrip(".").replace("$", "").replace("€", "").strip()
    percent = plain.endswith("%")
    plain = plain.rstrip("%\\").strip()
    above, slash, below = plain.partition("/")
    parts = [above, below] if slash else [above]
    if not all(_NUMBER.fullmatch(part.strip()) for part in parts):
        return None
    numbers = [Fraction(part.strip().replace(",", "")) for part in parts]
    if len(numbers) == 2 and numbers[1] == 0:
        return None
    value = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    return value / 100 if percent else value


def final_answer(text: str) -> str:
    """The part of a text that is its answer: what is boxed, else what "the answer is", else its
    last number.
    """
    text = _FRACTION.sub(r"((\1)/(\2))", text)
    boxed, said = _BOXED.findall(text), _SAID.findall(text)
    if boxed:
        return str(boxed[-1])
    if said:
        line = str(said[-1]).strip().rstrip(".*$ ")
        found = [m.group() for m in _NUMBER.finditer(line)]
        return (
            line if number_in(line) is not None or _is_expression(line) or not found else found[-1]
        )
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and (number_in(lines[0]) is not None or _is_expression(lines[0])):
        return lines[0]
    numbers = [m.group() for m in _NUMBER.finditer(text)]
    return numbers[-1] if numbers else ""


def _is_expression(text: str) -> bool:
    return (
        len(text) <= MAX_EXPRESSION_CHARS
        and re.fullmatch(r"[\d\s.,+\-*/×÷·^()−]+", text) is not None
    )


def find_equations(text: str) -> list[Equation]:
    """Equations between an expression of numbers and a number, in order.

    Looked for behind each equals sign and a little before it, so that no text takes more than
    linear time.
    """
    found: list[Equation] = []
    for match in _STATED.finditer(text):
        start = max(0, match.start() - MAX_EXPRESSION_CHARS)
        expression = _EXPRESSION.search(text[start : match.start()])
        if expression is not None and len(found) < MAX_EQUATIONS_PER_DOCUMENT:
            stated = match.group(1).rstrip(".,")
            found.append(Equation(expression.group(1).strip(), stated, start + expression.start(1)))
    return found


def evaluate(texts: Sequence[str], sandbox: Sandbox) -> list[Fraction | None]:
    """The value of each expression, None for what is none. Plain numbers are read here, all else in
    the sandbox.
    """
    values: list[Fraction | None] = [number_in(text) for text in texts]
    rest = [
        i for i, v in enumerate(values) if v is None and 0 < len(texts[i]) <= MAX_EXPRESSION_CHARS
    ]
    for start in range(0, len(rest), MAX_EXPRESSIONS):
        part = rest[start : start + MAX_EXPRESSIONS]
        lines = sandbox.run(
            _PROGRAM, json.dumps([_as_python(texts[i]) for i in part])
        ).stdout.splitlines()
        for i, line in zip(
            part, lines, strict=False
        ):  # a run that ends early leaves the rest without a value
            said = json.loads(line)
            values[i] = Fraction(said) if isinstance(said, str) else None
    return values


def _as_python(text: str) -> str:
    return text.replace("\\cdot", "*").replace("\\times", "*").replace(",", "").translate(_SYMBOLS)


def is_stated_right(stated: str, value: Fraction) -> bool:
    """Whether a stated number is the value, or the value rounded to the places that are stated."""
    number = number_in(stated)
    if number is None:
        return False
    places = len(stated.partition(".")[2])
    return number == value or (places > 0 and abs(number - value) <= Fraction(1, 2 * 10**places))
