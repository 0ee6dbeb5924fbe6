"""The `[crawl]` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infra.config import Section
from infra.store.frontier.records import Limits

HELD_OUT_POOLS = ("gate", "sealed", "development")
"""The pools of documents that are not trained on."""


class CrawlConfig(Section):
    """What is crawled, how politely, which pages may be used, and how texts are filtered."""

    source: str = "web"
    """Where pages come from: `web` (fetch from `seeds`), `warc` or `files` (read from `paths`), or
    the dotted path of your own class."""
    seeds: list[str] = []
    """URLs to start from, or only `builtin:pydoc` for the built-in site."""
    seed_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Seed URL to its priority factor; a seed that is not named has 1. Links found from a seed
    inherit its factor."""
    paths: list[str] = []
    """Files and folders to read with source `warc` (WARC and WET files) or `files` (HTML, Markdown,
    text)."""
    allow_other_hosts: bool = False
    """Follow links to hosts that are not among the seeds' hosts."""
    sitemaps: bool = True
    """Read the sitemaps that robots.txt names."""
    sort_query: bool = True
    """Treat URLs that differ only in the order of their query parameters as the same URL."""
    max_depth: int = Field(default=8, ge=0)
    """Largest number of links between a seed and a page; links further away are not followed."""
    depth_decay: float = Field(default=0.8, gt=0, le=1)
    """Factor on the priority of a URL for each link between it and its seed."""
    explore_share: float = Field(default=0.2, ge=0, le=1)
    """Share of host visits that are chosen at random instead of by priority."""

    user_agent: str = Field(default="RatchetBot/0.1", pattern=r"^[A-Za-z_-]+(/\S+)?$")
    """Product token, with an optional `/version`, sent as the user agent; robots.txt is matched
    against the token."""
    contact: str = ""
    """URL or e-mail address for site owners, added to the user agent. Required for every crawl
    beyond loopback."""
    delay_s: float = Field(default=1.0, ge=0)
    """Minimum delay between two requests to one host, in seconds. Outside `own_hosts` the delay
    used is the largest of this, the Crawl-delay of robots.txt and five times the last latency, at
    least 1 and at most 60 seconds."""
    own_hosts: list[str] = []
    """Your own hosts (`name` or `name:port`), which use `own_delay_s`; loopback always counts as
    one."""
    own_delay_s: float = Field(default=0.0, ge=0)
    """Minimum delay between two requests to a host in `own_hosts` or on loopback, in seconds."""
    allow_addresses: list[str] = []
    """Addresses (`10.0.0.5:8080`) outside the global internet that may be reached. A loopback seed
    allows its own host and port."""
    allow_ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    """Ports that may be reached in addition to 80 and 443."""
    address_gap_s: float = Field(default=0.5, ge=0)
    """Minimum time between the starts of two requests to one IP address, in seconds, even for
    different host names."""
    max_hosts: int = Field(default=64, gt=0)
    """Number of hosts that one crawl actor visits at the same time, with one request in flight to
    each."""
    host_urls: int = Field(default=64, gt=0)
    """Number of URLs of one host that are leased at a time."""
    lease_s: float = Field(default=3600.0, gt=0)
    """Lifetime of a URL lease, in seconds; a URL without a result by then goes back to the
    queue."""
    max_attempts: int = Field(default=3, gt=0)
    """Number of tries of one URL in one generation before it counts as failed."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Time limit of one fetch, in seconds."""
    max_body_bytes: int = Field(default=8 * 2**20, gt=0)
    """Largest response body, in bytes after decompression; larger bodies are dropped."""
    num_actors: int = Field(default=2, gt=0)
    """Number of Ray actors that crawl in the loop (`ratchet crawl run` has its own `--actors`)."""

    host_pages: int = Field(default=100_000, gt=0)
    """Number of pages that one generation may fetch from one host."""
    host_bytes: int = Field(default=10 * 2**30, gt=0)
    """Bytes that one generation may fetch from one host."""
    domain_pages: int = Field(default=200_000, gt=0)
    """Number of pages that one generation may fetch from one registrable domain."""
    domain_bytes: int = Field(default=20 * 2**30, gt=0)
    """Bytes that one generation may fetch from one registrable domain."""
    total_bytes: int = Field(default=2**40, gt=0)
    """Bytes that one generation may fetch in total."""
    total_s: float = Field(default=7 * 86400.0, gt=0)
    """Time that the crawl of one generation may take, in seconds."""
    revisit_min_s: float = Field(default=3600.0, ge=0)
    """Shortest time before a page is fetched again, in seconds."""
    revisit_max_s: float = Field(default=90 * 86400.0, gt=0)
    """Longest time before a page is due again, in seconds."""
    trap_pages: int = Field(default=500, gt=0)
    """Number of pages of a host before `trap_yield` is checked."""
    trap_yield: float = Field(default=0.02, ge=0, le=1)
    """Smallest share of pages with a new text; a host below it, after `trap_pages` pages, is not
    visited again in this generation."""

    unknown_permission: Literal["allow", "deny"] = "allow"
    """Whether a page may be used when the site says nothing about training or evaluation. A denial
    always wins."""
    extract_timeout_s: float = Field(default=30.0, gt=0)
    """Time limit for reading one page in the child process, in seconds."""
    extract_memory_bytes: int = Field(default=2 * 2**30, ge=2**29)
    """Memory limit of the child process that reads pages, in bytes, on top of what it needs to
    start."""

    policy: Literal["web-1", "lenient-1"] = "web-1"
    """Quality filter: `web-1` (rules of Gopher, C4 and FineWeb, with separate rules for code) or
    `lenient-1` (length only)."""
    languages: list[str] = []
    """Languages to keep, as ISO 639-1 codes; an empty list keeps all."""
    min_document_chars: int = Field(default=200, ge=0)
    """Shortest text that is kept, in characters."""
    mask_personal_data: bool = True
    """Replace e-mail addresses, public IP addresses, telephone numbers and secrets in texts."""
    held_out_files: list[str] = []
    """Benchmark files (text, JSON or JSON Lines) whose texts no training text may contain."""
    canaries: list[str] = []
    """Marker strings of benchmark data; a text that contains one is dropped."""
    max_overlap: float = Field(default=0.2, gt=0, le=1)
    """A text is dropped if this share or more of its 13-grams occurs in held-out texts; the limit
    for 10-grams is twice this."""

    pool_by: Literal["auto", "domain", "page"] = "auto"
    """Unit that goes to one pool as a whole. `auto` is `domain` if the crawl may leave the seeds'
    hosts or the seeds have at least 20 domains, else `page`."""
    gate_share: float = Field(default=0.35, gt=0, lt=1)
    """Share of the pages (or domains) held out for the gate before labeling. With `sealed_share`
    and `development_share` it must stay below 0.9."""
    sealed_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the pages (or domains) for the sealed exam, which no decision reads."""
    development_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pages (or domains) by which the value of passages is measured. They are neither
    trained on nor scored at the gate."""

    def held_out_shares(self) -> dict[str, float]:
        """The share of each pool that is not trained on."""
        shares = (self.gate_share, self.sealed_share, self.development_share)
        return dict(zip(HELD_OUT_POOLS, shares, strict=True))

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
