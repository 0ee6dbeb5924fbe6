"""The loop: crawl, label, train, decide, one generation after another.

    ray job submit --working-dir . -- python loop/run.py quickstart
    python loop/run.py my_recipe.toml --run runs/mine --set scale=4

The same command resumes a run that was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    # `python loop/run.py` puts loop/ first, where its files could hide other modules.
    sys.path[0:1] = [str(ROOT)]

import typer  # noqa: E402

from loop.commands.exit_codes import exit_on_error, finish  # noqa: E402
from loop.commands.options import NewRunOption, RecipeArgument, SetOption  # noqa: E402

EXAMPLES = """
Examples:

  python loop/run.py                           the quickstart on the built-in site

  python loop/run.py dry_run                   the whole loop with a tiny model

  python loop/run.py quickstart --set 'crawl.seeds=["https://docs.example.org/"]' \\
      --set crawl.contact=me@example.org       the quickstart on your own site

  ray job submit --working-dir . -- python loop/run.py my.toml --run /shared/runs/mine
"""


def main(
    recipe: RecipeArgument = "quickstart", run: NewRunOption = None, set_: SetOption = None
) -> None:
    """Run a recipe, or resume it: crawl, label, train, decide, generation after generation."""
    with exit_on_error():
        from loop.recipe.recipe import load_recipe
        from loop.record.input_checks import check_inputs

        config = load_recipe(recipe, set_ or [])
        check_inputs(config, run)
        from infra.cluster.connection import connect  # these load Ray and torch
        from loop.record.run_folder import open_run
        from loop.stages.crawl import crawl
        from loop.stages.decide import decide
        from loop.stages.label import label
        from loop.stages.train import train

        with connect(config.cluster) as cluster, open_run(config, run) as current:
            for generation in current.remaining():
                crawl(cluster, current, generation)
                label(cluster, current, generation)
                candidates = train(cluster, current, generation)
                decide(cluster, current, generation, candidates)
            finish(current)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(epilog=EXAMPLES)(main)

if __name__ == "__main__":
    app()
