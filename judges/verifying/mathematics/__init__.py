"""Mathematics in answers: how it is written, what it is worth, and where it is in a text."""
