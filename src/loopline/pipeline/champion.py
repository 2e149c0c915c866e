"""The champion's answers to a challenger's test rows, and which of those rows taught it.

A model is too sure of rows that it has seen. Where rows come again in a later snapshot, those that
trained the champion or chose its threshold do not judge it beside a challenger: its bundle keeps
their numbers (`data/identity.py`), 32 bits of each, so one row in 4,000 million is mistaken.
"""

from dataclasses import dataclass

import numpy as np

from loopline.data.columns import Columns
from loopline.evaluation.metrics import Answer
from loopline.model.bundle import open_bundle
from loopline.model.runtimes.worker import load_original
from loopline.model.signature import Signature, matrix
from loopline.pipeline.workspace import Workspace
from loopline.training.material import Material


@dataclass(frozen=True)
class Champion:
    """What the version to beat says, if there is one that can say it."""

    answer: Answer | None = None
    taught: np.ndarray | None = None
    """Whether each row taught it."""
    note: str | None = None
    """Why it could not answer."""


def champion(
    workspace: Workspace, columns: Columns, signature: Signature, numbers: np.ndarray
) -> Champion:
    """Ask the champion about the rows of `columns`, which are known by `numbers`.

    Raises:
        BundleRefusedError: its bundle is not what was registered.
    """
    version = workspace.registry.champion()
    if version is None:
        return Champion()
    bundle = open_bundle(workspace.objects, workspace.keys, version.bundle, version.bundle_digest)
    known = bundle.signature
    begin = f"The champion {version.name} was not compared:"
    if known.task != signature.task or known.classes != signature.classes:
        return Champion(note=f"{begin} it answers another question than this contract asks.")
    absent = [each.name for each in known.inputs if each.required and each.name not in columns]
    if absent:
        needs = ", ".join(absent)
        return Champion(note=f"{begin} it needs {needs}, which this contract does not have.")
    if bundle.plan is not None:
        scores = bundle.plan.score(matrix(known, columns))
    elif bundle.network is not None:
        scores = bundle.network.score(columns)
    else:
        place = (version.bundle, version.bundle_digest)
        scores = load_original(workspace.objects, workspace.keys, *place).scores(columns)
    taught = np.frombuffer(bundle.file("taught.bin"), "<u4")
    return Champion(Answer(version.name, scores, known.threshold), np.isin(_short(numbers), taught))


def teachers(material: Material) -> bytes:
    """Return the numbers of the rows that a model learned from, as its bundle keeps them."""
    return np.unique(_short(material.parts.numbers[material.taught])).tobytes()


def _short(numbers: np.ndarray) -> np.ndarray:
    return (numbers >> np.uint64(32)).astype("<u4")
