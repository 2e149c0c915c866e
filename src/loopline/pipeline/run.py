"""Take data to a registered, proven version that dev serves.

Each stage hands the next its record; this file only calls them in their order. Killed anywhere, a
second call goes on where it matters: the snapshot is found by its hash, the search goes on at the
trial it reached, and nothing is registered before its bundle is whole.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from loopline.contract.load import contract_hash
from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile, count_arrays
from loopline.data.columns import Columns, from_frame
from loopline.data.snapshots import Snapshot, freeze, load
from loopline.data.sources.base import read
from loopline.data.splits import Parts, leakage, split
from loopline.data.target import Target, truth
from loopline.data.validation import Validation, conform, validate
from loopline.errors import PlanRefusedError
from loopline.evaluation.costs import choose_threshold
from loopline.evaluation.report import Report, evaluate
from loopline.model.bundle import Bundle, open_bundle, write
from loopline.model.compile import compile_plan
from loopline.model.parity import Parity, prove
from loopline.model.signature import Signature
from loopline.pipeline import cache
from loopline.pipeline.workspace import Workspace
from loopline.registry.promotion import release_to_dev
from loopline.registry.versions import ModelVersion
from loopline.training import baselines
from loopline.training.run import Trained, record, train

Progress = Callable[[str, str], None]
"""Called with a stage and what it is doing."""
