"""Made-up texts that stand near every threshold of the quality filters; the same ones on every
machine."""

from __future__ import annotations

import random

WORDS = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "that",
    "is",
    "was",
    "it",
    "for",
    "on",
    "with",
    "as",
    "be",
    "at",
    "by",
    "this",
    "had",
    "not",
    "are",
    "but",
    "from",
    "or",
    "have",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "her",
    "all",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "more",
    "no",
    "if",
    "out",
    "so",
    "said",
    "what",
    "up",
    "its",
    "about",
    "into",
    "than",
    "them",
    "can",
    "only",
    "other",
    "new",
    "some",
    "could",
    "time",
    "these",
    "two",
    "may",
    "then",
    "do",
    "first",
    "any",
    "my",
    "now",
    "such",
    "like",
    "our",
    "over",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
    "also",
    "did",
    "many",
    "before",
    "must",
    "through",
    "back",
    "years",
    "where",
    "much",
    "your",
    "way",
    "well",
    "down",
    "should",
    "because",
    "each",
    "just",
    "those",
    "people",
    "mister",
    "how",
    "too",
    "little",
    "state",
    "good",
    "very",
    "make",
    "world",
    "still",
    "own",
    "see",
    "men",
    "work",
    "long",
    "get",
    "here",
    "between",
    "both",
    "life",
    "being",
    "under",
    "never",
    "day",
    "same",
    "another",
    "know",
    "while",
    "last",
    "might",
    "us",
    "great",
    "old",
    "year",
    "off",
    "come",
    "since",
    "against",
    "go",
    "came",
    "right",
    "used",
    "take",
    "three",
    "house",
    "river",
    "mountain",
    "keyboard",
    "analysis",
    "temperature",
    "government",
    "international",
    "development",
    "understanding",
    "characteristic",
    "responsibilities",
]


def sentence(dice: random.Random, least: int = 4, most: int = 18) -> str:
    words = [dice.choice(WORDS) for _ in range(dice.randint(least, most))]
    if dice.random() < 0.2 and len(words) > 5:
        words[3] += ","
    if dice.random() < 0.05:
        words.insert(2, str(dice.randint(1, 9999)))
    if dice.random() < 0.05:
        words.insert(
            2,
            dice.choice(
                ["don't", "it's", "we'll", "well-known", "U.S.", "(sic)", '"so"', "3.14", "a/b"]
            ),
        )
    return " ".join(words).capitalize() + dice.choice([".", ".", ".", "!", "?"])


def paragraph(dice: random.Random, sentences: int) -> str:
    return " ".join(sentence(dice) for _ in range(sentences))


def prose(dice: random.Random) -> list[str]:
    return [paragraph(dice, dice.randint(2, 6)) for _ in range(dice.randint(2, 9))]


def _bullets(dice: random.Random) -> str:
    marks = dice.choice(["- ", "• "])
    lines = [marks + sentence(dice, 3, 8) for _ in range(dice.randint(5, 30))]
    lines += [sentence(dice) for _ in range(dice.randint(0, 4))]
    return "\n".join(lines)


def _cut_lines(dice: random.Random) -> str:
    return "\n".join(
        sentence(dice)[:-1] + dice.choice(["...", "…", ".", "."])
        for _ in range(dice.randint(8, 30))
    )


def _repeated(dice: random.Random) -> str:
    lines = [sentence(dice) for _ in range(dice.randint(5, 20))]
    lines += [dice.choice(lines) for _ in range(dice.randint(0, 12))]
    dice.shuffle(lines)
    return dice.choice(["\n", "\n\n"]).join(lines)


def _phrases(dice: random.Random) -> str:
    phrase = " ".join(dice.choice(WORDS) for _ in range(dice.randint(2, 10)))
    parts = prose(dice)
    return " ".join(
        p + " " + phrase.capitalize() + "." * dice.randint(0, 1)
        for p in parts
        for _ in range(dice.randint(1, 3))
    )


def _symbols(dice: random.Random) -> str:
    words = paragraph(dice, 12).split()
    for _ in range(dice.randint(0, 40)):
        words.insert(
            dice.randrange(len(words)), dice.choice(["#", "...", "12", "&", "=", "--", "#tag"])
        )
    return " ".join(words)


def _short(dice: random.Random) -> str:
    return " ".join(sentence(dice) for _ in range(dice.randint(2, 9)))


def _list(dice: random.Random) -> str:
    return "\n".join(
        " ".join(dice.choice(WORDS) for _ in range(dice.randint(1, 6)))
        for _ in range(dice.randint(10, 60))
    )


def _web(dice: random.Random) -> str:
    extra = [
        "Please enable JavaScript.",
        "We use cookies on this site.",
        "Lorem ipsum dolor sit amet.",
        "a { color: red; }",
        "Read our privacy policy here.",
        "Home",
        "Menu",
        "Contact us",
    ]
    parts = prose(dice)
    for _ in range(dice.randint(0, 4)):
        parts.insert(dice.randrange(len(parts) + 1), dice.choice(extra))
    return "\n".join(parts)


def _odd_words(dice: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    size = dice.choice([2, 3, 9, 10, 11])
    return " ".join(
        "".join(dice.choices(letters, k=max(1, round(dice.gauss(size, 1)))))
        for _ in range(dice.randint(40, 120))
    )


KINDS = (_bullets, _cut_lines, _repeated, _phrases, _symbols, _short, _list, _web, _odd_words)


def texts(number: int = 600) -> list[str]:
    """Texts of every kind in turn, and plain prose."""
    made = []
    for i in range(number):
        dice = random.Random(i)
        kind = i % (len(KINDS) + 1)
        made.append("\n\n".join(prose(dice)) if kind == len(KINDS) else KINDS[kind](dice))
    return made
