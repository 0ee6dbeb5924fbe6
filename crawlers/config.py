"""The `[crawl]` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.config import Section
from infra.store.frontier.records import Limits


class CrawlConfig(Section):
    """What to crawl, how politely, what may be used, and how text is split between training and
    judging.
    """

    source: str = "web"
    """`web` (seeds), `warc` or `files` (paths), or the dotted path of a class of your own."""
    seeds: list[str] = []
    """URLs to start from, or `builtin:pydoc` for the built-in site."""
    seed_weights: dict[str, float] = {}
    """How much more (or less) than 1 a seed, and what is found from it, is worth."""
    paths: list[str] = []
    """Files and folders to read with source `warc` (WARC and WET) or `files` (HTML, Markdown,
    text)."""
    allow_other_hosts: bool = False
    """Follow links to hosts that no seed names."""
    sitemaps: bool = True
    """Read the sitemaps that a robots.txt names."""
    sort_query: bool = True
    """Treat URLs that differ in the order of their query's parameters as one."""
    max_depth: int = Field(default=8, ge=0)
    depth_decay: float = Field(default=0.8, gt=0, le=1)
    """Factor on a URL's priority for every link between it and its seed."""
    explore_share: float = Field(default=0.2, ge=0, le=1)
    """Share of visits that go to hosts and URLs by lot, whatever labelers thought of them."""

    user_agent: str = Field(default="RatchetBot/0.1", pattern=r"^[A-Za-z_-]+(/\S+)?$")
    contact: str = ""
    """A URL or e-mail address for site owners; mandatory for anything but loopback."""
    delay_s: float = Field(default=1.0, ge=0)
    """Least seconds between two requests to one host; robots.txt and slow answers make it longer,
    to 60 at most."""
    own_hosts: list[str] = []
    """Hosts of your own, where `own_delay_s` holds instead; loopback is one."""
    own_delay_s: float = Field(default=0.0, ge=0)
    allow_addresses: list[str] = []
    """Addresses (`10.0.0.5:8080`) outside the global internet that may be reached; a loopback seed
    opens itself."""
    allow_ports: list[int] = []
    """Ports beside 80 and 443."""
    address_gap_s: float = Field(default=0.5, ge=0)
    """Least seconds between two requests to one address, whatever host names share it."""
    max_hosts: int = Field(default=64, gt=0)
    """Hosts that one actor visits at a time, with one request in flight to each."""
    host_urls: int = Field(default=64, gt=0)
    """URLs of one host that are leased at a time."""
    lease_s: float = Field(default=3600.0, gt=0)
    """After this many seconds without a result a URL is handed out again."""
    max_attempts: int = Field(default=3, gt=0)
    timeout_s: float = Field(default=30.0, gt=0)
    max_body_bytes: int = Field(default=8 * 2**20, gt=0)
    num_actors: int = Field(default=2, gt=0)

    host_pages: int = Field(default=100_000, gt=0)
    """Pages that a generation fetches from one host."""
    host_bytes: int = Field(default=10 * 2**30, gt=0)
    domain_pages: int = Field(default=200_000, gt=0)
    domain_bytes: int = Field(default=20 * 2**30, gt=0)
    total_bytes: int = Field(default=2**40, gt=0)
    """Bytes that a generation fetches in all."""
    total_s: float = Field(default=7 * 86400.0, gt=0)
    """Seconds that a generation's crawl may take."""
    revisit_min_s: float = Field(default=3600.0, ge=0)
    revisit_max_s: float = Field(default=90 * 86400.0, gt=0)
    trap_pages: int = Field(default=500, gt=0)
    trap_yield: float = Field(default=0.02, ge=0, le=1)
    """A host is left when fewer than this share of at least `trap_pages` pages brought a new text.
    """

    unknown_permission: Literal["allow", "deny"] = "allow"
    """What to make of a site that says nothing about training or evaluating. A denial always wins.
    """
    extract_timeout_s: float = Field(default=30.0, gt=0)
    extract_memory_bytes: int = Field(default=2 * 2**30, ge=2**29)

    policy: Literal["web-1", "lenient-1"] = "web-1"
    """Which texts are good enough: `web-1` (Gopher, C4, FineWeb; code judged apart) or `lenient-1`
    (length only)."""
    languages: list[str] = []
    """Keep documents in these languages only (ISO 639-1); all where empty."""
    min_document_chars: int = Field(default=200, ge=0)
    mask_personal_data: bool = True
    held_out_files: list[str] = []
    """Text or JSON-lines files of benchmarks that no training text may contain."""
    canaries: list[str] = []
    """Strings that mark benchmark data; a text with one of them is dropped."""
    max_overlap: float = Field(default=0.2, gt=0, le=1)
    """Share of a text's 13-grams (or, doubled, 10-grams) that may stand in a held-out text."""

    pool_by: Literal["auto", "domain", "page"] = "auto"
    """What is put into one pool whole; `auto` is domain where a crawl may leave its seeds or has 20
    domains of them."""
    gate_share: float = Field(default=0.35, gt=0, lt=1)
    """Share put aside for the gate before any labeler sees it."""
    sealed_share: float = Field(default=0.05, ge=0, lt=1)
    """Share that no decision ever reads."""

    @property
    def product(self) -> str:
        """The user agent's product token, which robots.txt is matched against."""
        return self.user_agent.split("/")[0]

    @property
    def full_user_agent(self) -> str:
        """The user agent as sent, with the contact."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent

    def limits(self, pages: int) -> Limits:
        """The frontier's rules for a generation that may fetch this many pages."""
        return Limits(
            pages=pages,
            num_bytes=self.total_bytes,
            seconds=self.total_s,
            host_pages=self.host_pages,
            host_bytes=self.host_bytes,
            domain_pages=self.domain_pages,
            domain_bytes=self.domain_bytes,
            lease_s=self.lease_s,
            max_attempts=self.max_attempts,
            explore_share=self.explore_share,
            revisit_min_s=self.revisit_min_s,
            revisit_max_s=self.revisit_max_s,
            trap_pages=self.trap_pages,
            trap_yield=self.trap_yield,
            patience_s=120.0,
        )
