"""The crawl of one generation, over actors or in this process, and the curation of what it brought."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import ray

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import SocketPolicy, socket_policy
from crawlers.fetching.politeness import AddressClock
from crawlers.fetching.session import Queue
from crawlers.keeping.curate import curate
from crawlers.keeping.ingest import IngestWorker
from crawlers.sources.sources import Captures, Source, source_of
from crawlers.urls import host_of, registrable_domain, section_of
from crawlers.worker import CrawlWorker
from infra.cluster.connection import actors
from infra.console import Advance, note, progress, warn
from infra.errors import StageError
from infra.store import Store
from infra.store.actor import remote_proxy
from infra.store.frontier.records import Link
from infra.store.tables.crawl import CrawlRows
from loop.record.run_folder import Run, Summary

POLL_S = 1.0
MAX_RESTARTS = 5


def seed_links(config: CrawlConfig, seeds: Sequence[str]) -> list[Link]:
    """Seeds as the frontier takes them, with their weights."""
    return [
        Link(
            url,
            host_of(url),
            registrable_domain(host_of(url)),
            section_of(url),
            "page",
            0,
            config.seed_weights.get(url, 1.0),
        )
        for url in seeds
    ]


def crawl_generation(run: Run, generation: int, num_actors: int) -> Summary:
    """Crawl a generation of a run up to its budget and choose what is kept; see `Crawl.run`."""
    crawl = Crawl(run.store, run.recipe.crawl_config(), run.salt, generation, run.budgets["pages"])
    return crawl.run(source_of(run.recipe.crawl, run.builtin_port), num_actors)


class Crawl:
    """One generation's crawl: the same for a loop, which has a cluster, and for the command line,
    which needs none.
    """

    def __init__(
        self, store: Store, config: CrawlConfig, salt: str, generation: int, pages: int
    ) -> None:
        self.store = store
        self.config = config
        self.salt = salt
        self.generation = generation
        self.limits = config.limits(pages)

    def run(self, source: Source, num_actors: int) -> Summary:
        """Crawl or read up to the budget, then decide what is kept; the numbers. No actors mean: in
        this process.
        """
        with source.open() as opening:
            if opening.captures:
                self._ingest(opening.captures, num_actors)
            else:
                self._crawl(opening.seeds, num_actors)
        note("choosing what is kept: quality, duplicates, overlap with what is held out")
        curate(self.store, self.config, self.generation)
        counts: Summary = dict(self.store.crawl_counts(self.generation))
        varied = self.store.diversity(self.generation)
        return counts | {name: round(value, 1) for name, value in varied.items()}

    # From the network.

    def _crawl(self, seeds: Sequence[str], num_actors: int) -> None:
        config = self.config
        policy = socket_policy(seeds, config.allow_addresses, config.allow_ports)
        again = self.store.start_crawl(
            self.generation, seed_links(config, seeds), max(1, num_actors)
        )
        if again:
            note(f"{again:,} pages of earlier generations are due again")
        with progress("crawling", total=self.limits.pages) as advance:
            report = self._reporter(advance)
            if num_actors == 0:
                clock = AddressClock(config.address_gap_s)
                queue = cast(Queue, _Watched(self.store, report))
                CrawlWorker(config, seeds, self.salt, queue, clock, policy, 0).crawl(
                    self.generation, self.limits
                )
                return
            with actors(AddressClock, 1, config.address_gap_s, num_cpus=0) as clocks:
                _Team(self, seeds, policy, remote_proxy(clocks[0]), num_actors).work(report)

    def _reporter(self, advance: Advance) -> Callable[[], None]:
        """A function that moves the progress bar to where the frontier is, with rate, kept share
        and drops.
        """
        shown = 0
        began, first = time.monotonic(), self.store.crawl_progress(self.generation)[0]

        def report() -> None:
            nonlocal shown
            pages, _ = self.store.crawl_progress(self.generation)
            rate = (pages - first) / max(time.monotonic() - began, 1e-9)
            kept = self.store.crawl_counts(self.generation)["documents"] / max(pages, 1)
            drops = ", ".join(
                f"{reason} {count}" for reason, count in self.store.drop_counts(self.generation)[:3]
            )
            words = f"{rate:.1f} pages/s, texts from {kept:.0%}"
            advance(pages - shown, f"{words}; dropped: {drops}" if drops else words)
            shown = pages

        return report

    # From files.

    def _ingest(self, containers: Sequence[Captures], num_actors: int) -> None:
        self.store.start_crawl(self.generation, [], 1)
        with progress("reading pages", total=self.limits.pages) as advance:
            if num_actors == 0:
                worker = IngestWorker(self.config, self.salt, self.store)
                advance(worker.ingest(containers, self.generation, self.limits))
                return
            share = self.config.limits(max(1, self.limits.pages // num_actors))
            with actors(
                IngestWorker, num_actors, self.config, self.salt, self.store, num_cpus=0.5
            ) as workers:
                parts = [containers[i::num_actors] for i in range(num_actors)]
                pending = [
                    w.ingest.remote(p, self.generation, share)
                    for w, p in zip(workers, parts, strict=True)
                ]
                while pending:
                    (done,), pending = ray.wait(pending, num_returns=1)
                    advance(ray.get(done))


class _Watched:
    """A store that says when something was committed, for a crawl in this process."""

    def __init__(self, store: Store, report: Callable[[], None]) -> None:
        self._store = store
        self._report = report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_crawl(self, rows: CrawlRows) -> None:
        """See `Store`."""
        self._store.commit_crawl(rows)
        self._report()


class _Team:
    """Crawl workers as actors; one that dies is started anew and what it had leased is given back."""

    def __init__(
        self, crawl: Crawl, seeds: Sequence[str], policy: SocketPolicy, clock: Any, size: int
    ) -> None:
        self._crawl = crawl
        self._arguments = (crawl.config, list(seeds), crawl.salt, crawl.store, clock, policy)
        self._size = size
        self._actors: dict[Any, tuple[int, Any]] = {}

    def _start(self, worker: int) -> None:
        actor = ray.remote(CrawlWorker).options(num_cpus=0.5).remote(*self._arguments, worker)
        self._actors[actor.crawl.remote(self._crawl.generation, self._crawl.limits)] = (
            worker,
            actor,
        )

    def work(self, report: Callable[[], None]) -> None:
        """Until every worker has said that the crawl is over."""
        restarts = 0
        try:
            for worker in range(self._size):
                self._start(worker)
            while self._actors:
                ready, _ = ray.wait(list(self._actors), num_returns=1, timeout=POLL_S)
                report()
                for task in ready:
                    restarts += self._collect(task)
                    if restarts > MAX_RESTARTS * self._size:
                        raise StageError("crawl", "workers", f"they died {restarts} times")
        finally:
            for _, actor in self._actors.values():
                ray.kill(actor)

    def _collect(self, task: Any) -> int:
        """Take a worker's last word; 1 where it died and was started anew."""
        worker, actor = self._actors.pop(task)
        try:
            ray.get(task)
        except ray.exceptions.RayActorError:
            warn(f"crawl worker {worker} died; its pages are given back and it is started anew")
            self._crawl.store.release_worker(worker, self._crawl.config.max_attempts)
            time.sleep(POLL_S)
            self._start(worker)
            return 1
        ray.kill(actor)
        return 0
