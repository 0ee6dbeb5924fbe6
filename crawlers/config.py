"""The `[crawl]` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.config import Section


class CrawlConfig(Section):
    """What to crawl, how politely, and how text is split between training and judging the result."""

    seeds: list[str] = Field(min_length=1)
    """URLs to start from, or `builtin:pydoc` for the built-in site."""
    allow_other_hosts: bool = False
    """Follow links to hosts that no seed names."""
    max_depth: int = Field(default=8, ge=0)
    user_agent: str = "RatchetBot/0.1"
    contact: str = ""
    """A URL or e-mail address for site owners; mandatory for anything but loopback."""
    delay_s: float = Field(default=1.0, ge=0)
    """Seconds between two requests to one host; loopback hosts are not delayed."""
    timeout_s: float = Field(default=30.0, gt=0)
    max_body_bytes: int = Field(default=8 * 2**20, gt=0)
    batch_pages: int = Field(default=64, gt=0)
    """URLs that one actor leases at a time."""
    runner: Literal["subprocess", "inprocess"] = "subprocess"
    """Where Scrapy runs: a fresh process a batch, or the actor's own event loop (experimental in Scrapy)."""
    num_actors: int = Field(default=2, gt=0)
    gate_share: float = Field(default=0.35, gt=0, lt=1)
    """Share of pages put aside for the gate before any labeler sees them."""
    sealed_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of pages that no decision ever reads."""
    min_document_chars: int = Field(default=200, ge=0)
