"""One generation's labeling: calibrate, judge passages, execute, write questions, rank completions.

Every step first asks the store what is already done and commits in chunks, so that a killed run
repeats at most one chunk and stores no row twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from infra.console import note, progress, warn
from infra.records.labeler import Admission
from judges.judgment.protocol import Judge
from judges.labelers.budget import BudgetedJudge, cost_of, estimate, measuring
from judges.labelers.cache import CachedJudge
from judges.labelers.sentinels import WatchedJudge, least_accuracies
from judges.making.context import Admissions, Parts
from judges.making.demonstrations import demonstration_steps
from judges.making.passages import passage_steps
from judges.making.preferences import preference_steps
from judges.measuring.calibration import calibrate
from judges.measuring.gold import load_gold
from judges.rubrics import Rubric, load_rubric


@dataclass(frozen=True)
class Labeling(Parts):
    """The steps in order, by a labeler that is measured before and watched while it labels."""

    def run(self) -> None:
        """All steps."""
        if self.config.kind == "local" and self.judge.name.endswith(
            f"@{self.champion.digest[:12]}"
        ):
            warn(
                "the labeler has the champion's own weights; of its liking for its own words nothing is known"
            )
        self._announce()
        admissions = self.admissions()
        watched = replace(self, judge=self.watched_judge(admissions))
        passage_steps.settle_extractions(watched, admissions)
        passage_steps.judge_passages(watched, admissions)
        passage_steps.measure_surprise(watched)
        passage_steps.distil(watched)
        demonstration_steps.execute_documents(watched)
        demonstration_steps.write_instructions(watched, admissions)
        demonstration_steps.write_extractive_questions(watched, admissions)
        demonstration_steps.take_prompts(watched)
        preference_steps.complete_prompts(watched)
        preference_steps.prefer(watched, admissions)

    def _announce(self) -> None:
        """What this generation's labels will cost at most, before anything is asked."""
        budget = self.budget
        expenses = estimate(
            self.config, budget.label_tokens, budget.num_prompts, budget.num_instructions
        )
        known = {a.rubric for a in self.store.labelers.admissions(self.judge.name)}
        if not known:
            expenses.append(measuring(self.config))
        total = sum(e.num_tokens for e in expenses)
        price = cost_of(self.config, total)
        note(
            f"labels will cost {total:,} tokens at most"
            + (f", {price:.4f} at the set price" if price else "")
        )

    def watched_judge(self, admissions: Admissions) -> Judge:
        """The labeler with sentinels in its batches, and asked nothing twice."""
        tested = self.store.labelers.tested_probes(self.judge.name)
        budgeted = BudgetedJudge(self.judge, self.config.soft_tokens, self.config.hard_tokens)
        watched = WatchedJudge(budgeted, least_accuracies(tested, admissions))
        if (
            self.config.kind == "scripted"
        ):  # it answers by an item's name, and a cache goes by its text
            return watched
        return CachedJudge(watched, self.store.verdicts)

    def _tested_on_gold(self, rubric: Rubric, admission: Admission) -> Admission:
        """The admission, withdrawn where the labeler is not better than a trivial rule on the
        recipe's gold.
        """
        if rubric.id not in self.config.gold or not admission.admitted:
            return admission
        from judges.measuring.datasheet import is_admitted, measure

        sheets = []
        for one in load_gold(Path(self.config.gold[rubric.id])):
            found = measure(self.judge, rubric, one, self.config.gold_limit)
            self.store.labelers.add_gold_sheet(found.sheet, found.items, found.rows)
            sheets.append(found.sheet)
        failed = [s for s in sheets if not is_admitted(s)]
        told = "; ".join(
            f"{s.gold} {s.accuracy:.2f} [{s.accuracy_low:.2f}, {s.accuracy_high:.2f}]"
            for s in failed or sheets
        )
        return replace(admission, admitted=not failed, reason=f"{admission.reason}; {told}")

    def admissions(self) -> Admissions:
        """Rubric id to admission; measured once a run for each labeler and rubric."""
        known = {a.rubric: a for a in self.store.labelers.admissions(self.judge.name)}
        missing = [r for r in map(load_rubric, self.config.rubric_names()) if r.id not in known]
        with progress(
            "measuring the labeler", total=len(missing) * len(self.judge.ways)
        ) as advance:
            for rubric in missing:
                found = calibrate(self.judge, rubric, self.config.num_probe_items, advance)
                admission = self._tested_on_gold(rubric, found.admission)
                self.store.labels.add_judgments(found.rows)
                self.store.labelers.add_datasheet(found.results, [admission])
                known[rubric.id] = admission
        for admission in known.values():
            if admission.admitted:
                note(
                    f"{admission.rubric}: admitted, asking by {admission.way} ({admission.reason})"
                )
            else:
                warn(
                    f"{admission.rubric}: NOT admitted, no better than a trivial rule ({admission.reason})"
                )
        return known
