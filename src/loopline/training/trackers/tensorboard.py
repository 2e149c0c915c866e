"""TensorBoard event files, one folder per run: `tensorboard --logdir .loopline/tensorboard`."""

import shutil
from pathlib import Path

from loopline.extras import require
from loopline.training.trackers.base import Exhibit

__all__ = ["Tensorboard"]


class Tensorboard:
    """Writes the trials as steps, and the run's figures."""

    def __init__(self, folder: Path) -> None:
        self._library = require("tensorboardX", extra="tensorboard")
        self._folder = folder

    def mirror(self, exhibit: Exhibit) -> str:
        """Write the run's event file; an unfinished one is written anew."""
        run = exhibit.run
        place, draft = self._folder / run.id, self._folder / f".{run.id}"
        if place.exists():
            return str(place)
        shutil.rmtree(draft, ignore_errors=True)
        with self._library.SummaryWriter(logdir=str(draft)) as writer:
            for trial in run.trials:
                name = f"trials/{trial.candidate}/{run.objective}"
                writer.add_scalar(name, trial.value, trial.number)
            for name, value in exhibit.metrics.items():
                writer.add_scalar(name.replace(".", "/"), value, 0)
            rows = [*exhibit.parameters.items(), *exhibit.labels.items()]
            table = "\n".join(f"| {name} | {value} |" for name, value in rows)
            writer.add_text("run", f"| | |\n|---|---|\n{table}")
        draft.rename(place)
        return str(place)
