"""Judging files of your own, and computing earlier results again."""
