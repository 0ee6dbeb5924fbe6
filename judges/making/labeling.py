"""The labeling of one generation: measure the labeler, judge passages, execute examples, write
questions, and make preferences.

Every step asks the store what is already done and commits in chunks, so a killed run repeats at
most one chunk and stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.console import note, progress, warn
from infra.models.text_size import estimated_tokens
from infra.records.labeler import Admission
from judges.judgment.protocol import Judge
from judges.labelers.budget import BudgetedJudge
from judges.labelers.cache import CachedJudge
from judges.labelers.sentinels import WatchedJudge, accuracy_lower_bounds
from judges.making.context import Admissions, LabelingContext
from judges.making.cost import estimate_costs, largest_price, measuring_cost
from judges.making.demonstrations import demonstration_steps
from judges.making.passages import passage_steps
from judges.making.preferences import preference_steps
from judges.making.probe_material import probe_material
from judges.measuring.admission import measure_labeler
from judges.measuring.gold import load_gold
from judges.rubrics import Rubric, load_rubric


@dataclass(frozen=True)
class Labeling(LabelingContext):
    """All steps of labeling, by a labeler that is measured before and checked while it labels."""

    def run(self) -> None:
        """Run all steps."""
        if self._judges_itself():
            warn("the labeler and the champion are the same model; self-preference is not measured")
        self._announce_cost()
        admissions = self.admissions()
        watched = replace(self, judge=self.watched_judge(admissions))
        passage_steps.settle_extractions(watched, admissions)
        passage_steps.judge_passages(watched, admissions)
        passage_steps.measure_passages(watched)
        demonstration_steps.execute_documents(watched)
        demonstration_steps.write_instructions(watched, admissions)
        demonstration_steps.write_extractive_questions(watched, admissions)
        passage_steps.measure_demonstrations(watched)
        demonstration_steps.take_prompts(watched)
        preference_steps.complete_prompts(watched)
        preference_steps.prefer(watched, admissions)

    def _judges_itself(self) -> bool:
        digest = self.champion.digest[:12]
        return self.config.kind == "local" and self.judge.name.endswith(f"@{digest}")

    def _announce_cost(self) -> None:
        """Print the maximum cost of this generation's labels before the labeler is asked."""
        budget = self.budget
        expenses = estimate_costs(
            self.config, self._judged_tokens(), budget.num_prompts, budget.num_instructions
        )
        if not self.store.labelers.admissions(self.judge.name):
            expenses.append(measuring_cost(self.config))
        total = sum(e.num_tokens for e in expenses)
        price = largest_price(self.config, total)
        words = f", {price:.4f} at the configured price" if price else ""
        note(f"labels will cost at most {total:,} tokens{words}")

    def _judged_tokens(self) -> int:
        """Return the largest number of tokens of passages that the labeler judges."""
        if not self.tuned:
            return self.budget.label_tokens
        longest = estimated_tokens("x" * self.config.passage_chars)
        return min(self.budget.label_tokens, self.config.sampled_passages * longest)

    def watched_judge(self, admissions: Admissions) -> Judge:
        """Return the labeler with sentinels, a token budget and a cache."""
        tested = self.store.labelers.tested_probes(self.judge.name)
        spent = self.store.labels.judged_tokens(self.generation, self.judge.name)
        limits = self.config.soft_tokens, self.config.hard_tokens
        budgeted = BudgetedJudge(self.judge, *limits, spent)
        watched = WatchedJudge(budgeted, accuracy_lower_bounds(tested, admissions))
        if self.config.kind == "scripted":
            # The scripted labeler answers by an item's id, but the cache's key is the text.
            return watched
        return CachedJudge(watched, self.store.verdicts)

    def _tested_on_gold(self, rubric: Rubric, admission: Admission) -> Admission:
        """Return the admission, withdrawn if the labeler is not better than a trivial rule on the
        recipe's gold.
        """
        if rubric.id not in self.config.gold or not admission.admitted:
            return admission
        from judges.measuring.datasheet import is_admitted, measure_on_gold

        sheets = []
        for gold in load_gold(Path(self.config.gold[rubric.id]), f"judge.gold.{rubric.id}"):
            measurement = measure_on_gold(self.judge, rubric, gold, self.config.gold_limit)
            self.store.labelers.add_gold_sheet(
                measurement.sheet, measurement.items, measurement.rows
            )
            sheets.append(measurement.sheet)
        failed = [s for s in sheets if not is_admitted(s)]
        accuracies = "; ".join(
            f"{s.gold} {s.accuracy.value:.2f} [{s.accuracy.low:.2f}, {s.accuracy.high:.2f}]"
            for s in failed or sheets
        )
        reason = f"{admission.reason}; {accuracies}"
        return replace(admission, admitted=not failed, reason=reason)

    def admissions(self) -> Admissions:
        """Return rubric id -> admission. Each labeler and rubric is measured once per run."""
        known = {a.rubric: a for a in self.store.labelers.admissions(self.judge.name)}
        missing = [r for r in map(load_rubric, self.config.rubric_names()) if r.id not in known]
        if missing:
            known |= self._measured(missing)
        for admission in known.values():
            _report(admission)
        return known

    def _measured(self, rubrics: Sequence[Rubric]) -> Admissions:
        """Measure the labeler by these rubrics, and store what comes of it."""
        admissions = dict[str, Admission]()
        num_rubrics = len(set(self.config.rubric_names()))
        material = probe_material(self.store, self.config.passage_chars)
        steps = len(rubrics) * len(self.judge.methods)
        with progress("measuring the labeler", total=steps) as advance:
            for rubric in rubrics:
                made = measure_labeler(self.judge, rubric, material, num_rubrics, advance)
                admission = self._tested_on_gold(rubric, made.admission)
                self.store.labels.add_judgments(made.rows)
                self.store.labelers.add_datasheet(made.results, [admission])
                admissions[rubric.id] = admission
        return admissions


def _report(admission: Admission) -> None:
    if admission.admitted:
        note(f"{admission.rubric}: admitted, asking by {admission.method} ({admission.reason})")
    else:
        warn(
            f"{admission.rubric}: NOT admitted, no better than a trivial rule ({admission.reason})"
        )
