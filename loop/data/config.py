"""The `[data]` section of a recipe: limits on the training data."""

from __future__ import annotations

from pydantic import Field

from infra.config import Section


class DataConfig(Section):
    """Limits that the training data of every generation must keep."""

    earlier_share: float = Field(default=0.25, ge=0, lt=1)
    """Share of the token budget that is filled with data of earlier generations, as far as there is
    any."""
    min_real_share: float = Field(default=0.5, ge=0, le=1)
    """Smallest share of tokens of text that no model wrote."""
    max_made_share: float = Field(default=0.5, ge=0, le=1)
    """Largest share of tokens of text that a model wrote."""
    max_domain_share: float = Field(default=1.0, gt=0, le=1)
    """Largest share of tokens from one domain; `judge.selection.max_domain_share` also limits
    passages when they are drawn."""
    min_band_share: float = Field(default=0.0, ge=0, lt=0.33)
    """Smallest share of the trained passages in each third by the champion's bits per byte."""
    max_held_out_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of tokens in texts that overlap with held-out text by more than
    `judge.max_held_out_share`."""
    canaries: list[str] = []
    """Strings that no training text may contain, such as the canary string of a benchmark."""
    min_parse_rate: float = Field(default=0.5, ge=0, le=1)
    """Smallest share of the labeler's answers that could be read."""
    min_keep_rate: float = Field(default=0.0, ge=0, le=1)
    """Smallest share of a crawl's documents that were kept."""
    max_keep_rate: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a crawl's documents that were kept; 1 sets no limit."""
