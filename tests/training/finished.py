"""A run as it is recorded: what trackers show and the mirror copies."""

from loopline.training.run import Run
from loopline.training.tuning import Trial

RUN = Run(
    id="run-1",
    project="churn",
    snapshot="snap-1",
    contract="c" * 64,
    split={},
    candidate="linear",
    parameters={"regularisation": 2.0},
    objective="log_loss",
    metrics={"log_loss": 0.5},
    trials=tuple(Trial(n, "linear", {}, 0.5 + n / 10, 0.1) for n in range(3)),
    seed=7,
    code={"commit": "abc", "dirty": False, "files": ""},
    environment={"python": "3.11"},
    started_at="2026-03-01T12:00:00Z",
    seconds=2.5,
)
