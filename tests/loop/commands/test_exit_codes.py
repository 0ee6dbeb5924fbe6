"""What a command says when it is interrupted or fails."""

from __future__ import annotations

import pytest

from infra.errors import StageError
from loop.commands.exit_codes import exit_on_error


def ended(
    error: BaseException, can_resume: bool, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Exit code and last line of a command that ends with this error."""
    with pytest.raises(SystemExit) as caught, exit_on_error(can_resume):
        raise error
    return caught.value.code, capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted."),
        (StageError("train", "sft", "a rank died"), 1, "error: train (sft): a rank died."),
        (StageError("train", "sft", "a rank died."), 1, "error: train (sft): a rank died."),
        (RuntimeError(), 1, "error: this is a bug in Ratchet. Nothing committed is lost."),
    ],
)
def test_only_commands_that_resume_say_so(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    again = " Run the same command again to continue."
    assert ended(error, False, capsys) == (code, line)
    assert ended(error, True, capsys) == (code, line + again)


@pytest.mark.parametrize("kind", ["RuntimeEnvSetupError", "RaySystemError", "OutOfMemoryError"])
def test_a_cluster_that_fails_is_no_bug_of_ours(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray.exceptions

    error = getattr(ray.exceptions, kind)("Failed to download runtime_env file package.\nTwo.")
    code, line = ended(error, True, capsys)
    assert code == 1
    assert line.startswith(f"error: cluster ({kind}): ")
    assert "download runtime_env file package. Two" in line
    assert line.endswith("Run the same command again to continue.")
