"""Arithmetic in texts: equations in pages and final answers of models, compared as exact numbers.

Expressions are evaluated in the sandbox over fractions with bounded powers. Here only plain numbers
are parsed.
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
"""Expressions per run of the sandbox."""
MAX_EQUATIONS_PER_DOCUMENT = 20
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d+(?:[.,]\d+)?)"
    r"(?:[eE][-+]?\d{1,2})?"
)
"""1,234.5 and 1.234,5 and 3,14: a comma before three digits separates thousands, another one is the
decimal sign of German and many other languages."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_COMMA_DECIMAL = re.compile(r"(?<![\d,])(\d{1,3}(?:\.\d{3})+|\d+),(\d+)(?![\d,])")
_DENIED = re.compile(
    r"(?i)(?:\bnot|n['’]t(?:\s+be)?|\bnever|\bnicht|\bkein\w*|\bneither|\bnor|不是|不为|不等于|并非|≠|!=)"
    r"[\s*:=$]*$"
)
_OPERAND = r"\(*\d[\d.,]*\)*"
_EXPRESSION = re.compile(
    rf"(?<![\w.)\]])((?:[-+]?{_OPERAND}\s*(?:[-+*/×÷·^]|\*\*)\s*)+{_OPERAND})\s*$"
)
_STATED = re.compile(r"=[^\S\n]*(-?\d[\d.,]{0,30})(?![\w(])")
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_NAMED = re.compile(r"(?:answer|result)\s*(?:is|:|=)\s*\**\s*([^\n]+)", re.IGNORECASE)
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
    """A statement `expression` = `stated` in a page. `position` is where it begins in the text."""

    expression: str
    stated: str
    position: int


def number_in(text: str) -> Fraction | None:
    """Return the number that a text consists of (a decimal or a fraction of integers), or None."""
    if len(text) > MAX_EXPRESSION_CHARS:
        return None
    plain = text.strip().rstrip(".").replace("$", "").replace("€", "").strip()
    percent = plain.endswith("%")
    plain = plain.rstrip("%\\").strip()
    above, slash, below = plain.partition("/")
    parts = [above, below] if slash else [above]
    if not all(_NUMBER.fullmatch(part.strip()) for part in parts):
        return None
    numbers = [Fraction(_with_points(part.strip())) for part in parts]
    if len(numbers) == 2 and numbers[1] == 0:
        return None
    value = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    return value / 100 if percent else value


def _with_points(text: str) -> str:
    """Return the text with its numbers written with a decimal point and no separators."""
    if _THOUSANDS.search(text) and not re.search(r"\d\.\d{3},\d", text):
        return _THOUSANDS.sub("", text)
    return _COMMA_DECIMAL.sub(lambda m: f"{m.group(1).replace('.', '')}.{m.group(2)}", text)


def final_answer(text: str) -> str:
    """Return the part of a text that is its answer: the last boxed one, else what follows "the
    answer is", else the first line if it is a number or an expression, else the last number.
    """
    text = _FRACTION.sub(r"((\1)/(\2))", text)
    boxed = _BOXED.findall(text)
    if boxed:
        return str(boxed[-1])
    named = _NAMED.findall(text)
    if named:
        return _named_answer(str(named[-1]))
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and _is_answer(lines[0]):
        return lines[0]
    return _last_number(text)


def _named_answer(line: str) -> str:
    """Return the answer in what follows "the answer is"."""
    line = line.strip().rstrip(".*$ ")
    return line if _is_answer(line) else _last_number(line) or line


def _is_answer(line: str) -> bool:
    return number_in(line) is not None or _is_expression(line)


def _last_number(text: str) -> str:
    """Return the last number of a text, or "" if the text denies it ("not 42")."""
    numbers = list(_NUMBER.finditer(text))
    if not numbers or _DENIED.search(text[max(0, numbers[-1].start() - 20) : numbers[-1].start()]):
        return ""
    return numbers[-1].group()


def _is_expression(text: str) -> bool:
    return (
        len(text) <= MAX_EXPRESSION_CHARS
        and re.fullmatch(r"[\d\s.,+\-*/×÷·^()−]+", text) is not None
    )


def find_equations(text: str) -> list[Equation]:
    """Return equations between an expression of numbers and a number, in order.

    Only a bounded part of the text before each equals sign is searched, so the time is linear.
    """
    equations: list[Equation] = []
    for match in _STATED.finditer(text):
        start = max(0, match.start() - MAX_EXPRESSION_CHARS)
        expression = _EXPRESSION.search(text[start : match.start()])
        if expression is not None and len(equations) < MAX_EQUATIONS_PER_DOCUMENT:
            stated = match.group(1).rstrip(".,")
            position = start + expression.start(1)
            equations.append(Equation(expression.group(1).strip(), stated, position))
    return equations


def evaluate(texts: Sequence[str], sandbox: Sandbox) -> list[Fraction | None]:
    """Return the value of each expression, or None if it is not a valid one.

    Plain numbers are parsed here, everything else is evaluated in the sandbox.
    """
    values: list[Fraction | None] = [number_in(text) for text in texts]
    rest = [
        i for i, v in enumerate(values) if v is None and 0 < len(texts[i]) <= MAX_EXPRESSION_CHARS
    ]
    for start in range(0, len(rest), MAX_EXPRESSIONS):
        part = rest[start : start + MAX_EXPRESSIONS]
        argument = json.dumps([_as_python(texts[i]) for i in part])
        lines = sandbox.run(_PROGRAM, argument).stdout.splitlines()
        # A run that ends early leaves the rest without a value.
        for i, line in zip(part, lines, strict=False):
            result = json.loads(line)
            values[i] = Fraction(result) if isinstance(result, str) else None
    return values


def _as_python(text: str) -> str:
    plain = text.replace("\\cdot", "*").replace("\\times", "*")
    return _with_points(plain).translate(_SYMBOLS)


def is_stated_right(stated: str, value: Fraction) -> bool:
    """Whether a stated number equals the value, or the value rounded to the stated decimals."""
    number = number_in(stated)
    if number is None:
        return False
    decimals = len(stated.partition(".")[2])
    if number == value:
        return True
    return decimals > 0 and abs(number - value) <= Fraction(1, 2 * 10**decimals)
