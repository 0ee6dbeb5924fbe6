"""The verb crawl: fetch or read the pages of a generation, then choose what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import ray

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import SocketPolicy, socket_policy
from crawlers.fetching.politeness import AddressClock
from crawlers.keeping.curate import curate_documents
from crawlers.session.outbox import Queue
from crawlers.sources.ingest import IngestWorker
from crawlers.sources.sources import Captures, Source, make_source
from crawlers.urls import registrable_domain, url_host, url_section
from crawlers.worker import CrawlWorker
from infra.cluster.connection import Cluster, actors
from infra.cluster.proxy import remote_proxy
from infra.console import Advance, note, progress, warn
from infra.errors import StageError, UserError
from infra.store import Store
from infra.store.frontier.records import Link
from infra.store.tables.crawl import CrawlRows, CrawlTables
from loop.record.run_folder import Run, StageSummary

POLL_S = 1.0
MAX_RESTARTS = 5


def crawl(cluster: Cluster, run: Run, generation: int) -> StageSummary:
    """Fetch new pages up to the budget, revisit those that are due, then choose what is kept.

    Raises:
        UserError: if no document at all was kept.
    """

    def work() -> StageSummary:
        num_actors = min(run.recipe.crawl.num_actors, max(1, cluster.num_cpus))
        counts = crawl_generation(run, generation, num_actors)
        if sum(run.store.crawl.pool_counts().values()) == 0:
            raise _nothing_kept(run)
        return counts

    return run.stage(generation, "crawl", work)


def _nothing_kept(run: Run) -> UserError:
    """Why a crawl kept no document, by what happened to its first URL."""
    config = run.recipe.crawl
    key, inputs = ("crawl.seeds", config.seeds) if config.seeds else ("crawl.paths", config.paths)
    reasons = run.store.crawl.frontier_reasons(1)
    fallback = (inputs[0] if inputs else config.source, "done", "")
    url, state, reason = reasons[0] if reasons else fallback
    if state == "forbidden":
        problem = "robots.txt forbids this crawler to read it."
        return UserError(key, url, problem, "Choose another site.")
    if state == "failed":
        problem = f"the site could not be read ({reason})."
        remedy = "Check the address and the network, then use a new --run."
        return UserError(key, url, problem, remedy)
    drops = [f"{reason} {count}" for reason, count in run.store.crawl.drop_counts(1)[:4]]
    problem = f"the crawl kept no document ({', '.join(drops) or 'there was no page'})."
    remedy = "Choose another site, or set crawl.policy or crawl.min_document_chars."
    return UserError(key, url, problem, remedy)


def seed_links(config: CrawlConfig, seeds: Sequence[str]) -> list[Link]:
    """The seeds as links for the frontier, with their weights."""
    links = []
    for url in seeds:
        host, weight = url_host(url), config.seed_weights.get(url, 1.0)
        link = Link(url, host, registrable_domain(host), url_section(url), "page", 0, weight)
        links.append(link)
    return links


def crawl_generation(run: Run, generation: int, num_actors: int) -> StageSummary:
    """Crawl one generation of a run up to its budget, and choose what is kept."""
    recipe = run.recipe
    crawl = Crawl(
        run.store,
        recipe.crawl_config(),
        run.salt,
        generation,
        run.budgets["pages"],
        recipe.held_out_items(),
    )
    return crawl.run(make_source(run.recipe.crawl, run.builtin_port), num_actors)


class Crawl:
    """The crawl of one generation, with Ray actors or in this process."""

    def __init__(
        self,
        store: Store,
        config: CrawlConfig,
        salt: str,
        generation: int,
        pages: int,
        held_out: Sequence[str] = (),
    ) -> None:
        self.store = store
        self.config = config
        self.salt = salt
        self.generation = generation
        self.limits = config.limits(pages)
        self.held_out = held_out

    def run(self, source: Source, num_actors: int) -> StageSummary:
        """Fetch or read pages up to the budget, then choose what is kept; returns counts.

        With `num_actors` = 0 everything runs in this process, without Ray.
        """
        with source.open() as contents:
            if contents.captures:
                self._ingest(contents.captures, num_actors)
            else:
                self._fetch(contents.seeds, num_actors)
        note("choosing what is kept: quality, duplicates, overlap with held-out text")
        curate_documents(self.store, self.config, self.generation, self.held_out)
        counts: StageSummary = dict(self.store.crawl.counts(self.generation))
        diversity = self.store.curation.diversity(self.generation)
        return counts | {name: round(value, 1) for name, value in diversity.items()}

    def _fetch(self, seeds: Sequence[str], num_actors: int) -> None:
        """Crawl the network from these seeds."""
        config, num_workers = self.config, max(1, num_actors)
        policy = socket_policy(seeds, config.allow_addresses, config.allow_ports)
        links = seed_links(config, seeds)
        num_due = self.store.crawl.start(self.generation, links, num_workers)
        if num_due:
            note(f"{num_due:,} pages of earlier generations are due for a new visit")
        with progress("crawling", total=self.limits.pages) as advance:
            report = self._reporter(advance)
            if num_actors == 0:
                self._fetch_here(seeds, policy, report)
                return
            with actors(AddressClock, 1, config.address_gap_s, num_cpus=0) as clocks:
                clock = remote_proxy(clocks[0])
                _CrawlTeam(self, seeds, policy, clock, num_actors).work(report)

    def _fetch_here(
        self, seeds: Sequence[str], policy: SocketPolicy, report: Callable[[], None]
    ) -> None:
        clock = AddressClock(self.config.address_gap_s)
        queue = cast(Queue, _ReportingQueue(self.store.crawl, report))
        worker = CrawlWorker(self.config, seeds, self.salt, queue, clock, policy, 0)
        worker.crawl(self.generation, self.limits)

    def _reporter(self, advance: Advance) -> Callable[[], None]:
        """A function that updates the progress bar with rate, share kept, and drops by reason."""
        start_s, start_pages = time.monotonic(), self.store.crawl.progress(self.generation)[0]
        shown = 0

        def report() -> None:
            nonlocal shown
            pages, _ = self.store.crawl.progress(self.generation)
            rate = (pages - start_pages) / max(time.monotonic() - start_s, 1e-9)
            kept = self.store.crawl.counts(self.generation)["documents"] / max(pages, 1)
            counts = self.store.crawl.drop_counts(self.generation)[:3]
            drops = ", ".join(f"{reason} {count}" for reason, count in counts)
            text = f"{rate:.1f} pages/s, texts from {kept:.0%}"
            advance(pages - shown, f"{text}; dropped: {drops}" if drops else text)
            shown = pages

        return report

    def _ingest(self, captures: Sequence[Captures], num_actors: int) -> None:
        """Read pages from files."""
        self.store.crawl.start(self.generation, [], 1)
        with progress("reading pages", total=self.limits.pages) as advance:
            if num_actors == 0:
                worker = IngestWorker(self.config, self.salt, self.store.crawl)
                advance(worker.ingest(captures, self.generation, self.limits))
            else:
                self._ingest_with_actors(captures, num_actors, advance)

    def _ingest_with_actors(
        self, captures: Sequence[Captures], num_actors: int, advance: Advance
    ) -> None:
        share = self.config.limits(max(1, self.limits.pages // num_actors))
        arguments = (self.config, self.salt, self.store.crawl)
        with actors(IngestWorker, num_actors, *arguments, num_cpus=0.5) as workers:
            pending = [
                worker.ingest.remote(captures[i::num_actors], self.generation, share)
                for i, worker in enumerate(workers)
            ]
            while pending:
                (done,), pending = ray.wait(pending, num_returns=1)
                advance(ray.get(done))


class _ReportingQueue:
    """A queue that reports each commit, for a crawl in this process."""

    def __init__(self, queue: CrawlTables, report: Callable[[], None]) -> None:
        self._queue = queue
        self._report = report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def commit(self, rows: CrawlRows) -> None:
        """Commit the rows, then report."""
        self._queue.commit(rows)
        self._report()


class _CrawlTeam:
    """Crawl workers as actors. A worker that dies is replaced, and its leases are released."""

    def __init__(
        self, crawl: Crawl, seeds: Sequence[str], policy: SocketPolicy, clock: Any, size: int
    ) -> None:
        self._crawl = crawl
        self._arguments = (crawl.config, list(seeds), crawl.salt, crawl.store.crawl, clock, policy)
        self._size = size
        self._actors: dict[Any, tuple[int, Any]] = {}

    def _start(self, worker: int) -> None:
        actor = ray.remote(CrawlWorker).options(num_cpus=0.5).remote(*self._arguments, worker)
        task = actor.crawl.remote(self._crawl.generation, self._crawl.limits)
        self._actors[task] = (worker, actor)

    def work(self, report: Callable[[], None]) -> None:
        """Run until every worker has finished the crawl.

        Raises:
            StageError: if workers died too often.
        """
        restarts = 0
        try:
            for worker in range(self._size):
                self._start(worker)
            while self._actors:
                ready, _ = ray.wait(list(self._actors), num_returns=1, timeout=POLL_S)
                report()
                restarts += sum(self._collect(task) for task in ready)
                if restarts > MAX_RESTARTS * self._size:
                    raise StageError("crawl", "workers", f"they died {restarts} times")
        finally:
            for _, actor in self._actors.values():
                ray.kill(actor)

    def _collect(self, task: Any) -> bool:
        """Collect a worker that has ended; True if it died and was replaced."""
        worker, actor = self._actors.pop(task)
        try:
            ray.get(task)
        except ray.exceptions.RayActorError:
            warn(f"crawl worker {worker} died; its leases are released and it is started again")
            self._crawl.store.crawl.release_worker(worker, self._crawl.config.max_attempts)
            time.sleep(POLL_S)
            self._start(worker)
            return True
        ray.kill(actor)
        return False
