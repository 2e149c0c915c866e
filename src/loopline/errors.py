"""Every error raised on purpose, one tree.

    LooplineError
    ├── ContractError             loopline.yaml says something that cannot be
    ├── SettingError              the environment says something that cannot be
    ├── AccessError               a token cannot be made, or is unknown
    ├── MissingExtraError         an optional library is needed
    ├── DataError
    │   ├── SourceError           the data cannot be read
    │   ├── RowSqlError           an expression outside the contract's row SQL
    │   ├── ValidationError       rows fail a blocking check
    │   ├── SplitError            the parts cannot be made, or leak into each other
    │   └── CountsError           counts that stand on different grids
    ├── TrainingError             no model could be trained
    ├── ModelError
    │   ├── PlanRefusedError      this estimator has no exact scoring plan
    │   ├── ParityError           a plan and its original disagree
    │   └── BundleRefusedError    a bundle is changed, unsigned or unknown
    ├── RegistryError
    │   ├── UnknownVersionError
    │   ├── GateFailedError       the contract's goals are not met
    │   └── MoveRefusedError      a stage does not follow from the present one
    ├── ReleaseError              a release document is missing, unsigned or malformed
    ├── StoreError
    │   ├── AlreadyExistsError    a conditional write lost
    │   └── BrokenLedgerError     the chain of events does not hold
    ├── ServingError
    │   ├── RequestError          the caller's body cannot be scored (4xx)
    │   │   └── TooManyRowsError  it has more rows than are scored at a time (413)
    │   ├── OverloadedError       more is asked than can be answered in time (429)
    │   ├── TooSlowError          the model takes too long (504)
    │   ├── RuntimeUnavailableError  the model's worker does not answer (503)
    │   └── OutputRefusedError    batch predictions would write over something else
    ├── DeliveryError             an image cannot be made, built or started
    └── MonitoringError
        ├── FeedbackError         a file of outcomes cannot be used
        ├── UnknownFindingError   no open finding is called so
        └── ChannelError          an alert was not delivered

A message names the thing, the value found, what would be accepted and the next step.
Errors know nothing of HTTP: `serving/app.py` holds the table from error to status.
"""


class LooplineError(Exception):
    """The root of every error raised on purpose; its text is written for people."""


class ContractError(LooplineError):
    """Everything wrong with one loopline.yaml, all faults at once."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class SettingError(LooplineError):
    """The environment says something that cannot be."""


class AccessError(LooplineError):
    """A token cannot be made, or is unknown."""


class MissingExtraError(LooplineError):
    """An optional library is needed and not installed."""


class DataError(LooplineError):
    """Something is wrong with the data."""


class SourceError(DataError):
    """The data cannot be found or read."""


class RowSqlError(DataError):
    """An expression is outside the contract's row SQL."""


class ValidationError(DataError):
    """Too little is left after rows failed a blocking check."""


class SplitError(DataError):
    """The parts cannot be made, or leak into each other."""


class CountsError(DataError):
    """Counts stand on different grids, and so neither add nor compare."""


class TrainingError(LooplineError):
    """No model could be trained."""


class ModelError(LooplineError):
    """Something is wrong with a model."""


class PlanRefusedError(ModelError):
    """An estimator has no exact scoring plan; its reason is the message."""


class ParityError(ModelError):
    """A plan and its original disagree."""


class BundleRefusedError(ModelError):
    """A bundle is changed, unsigned or signed by a stranger."""


class RegistryError(LooplineError):
    """Something is wrong with a model version."""


class UnknownVersionError(RegistryError):
    """There is no such version."""


class GateFailedError(RegistryError):
    """The contract's goals are not met."""


class MoveRefusedError(RegistryError):
    """A stage does not follow from the present one."""


class ReleaseError(LooplineError):
    """A release document is missing, unsigned or malformed."""


class StoreError(LooplineError):
    """A store cannot be read or written."""


class AlreadyExistsError(StoreError):
    """A conditional write lost: the key is taken."""


class BrokenLedgerError(StoreError):
    """The chain of events does not hold."""


class ServingError(LooplineError):
    """A prediction cannot be made."""


class RequestError(ServingError):
    """The caller's request cannot be scored as it stands."""


class TooManyRowsError(RequestError):
    """The caller's request has more rows than are scored at a time."""


class OverloadedError(ServingError):
    """More is asked than can be answered in time; a little later there may be room."""


class TooSlowError(ServingError):
    """The model did not answer in the time that a caller is kept waiting."""


class RuntimeUnavailableError(ServingError):
    """The model's worker does not answer."""


class OutputRefusedError(ServingError):
    """Batch predictions would write over something that is not theirs."""


class DeliveryError(LooplineError):
    """What other tools are to run cannot be made, built or started."""


class MonitoringError(LooplineError):
    """What happens cannot be compared with what was promised."""


class FeedbackError(MonitoringError):
    """A file of outcomes cannot be used as it stands."""


class UnknownFindingError(MonitoringError):
    """No open finding is called so, or several are."""


class ChannelError(MonitoringError):
    """An alert was not delivered."""
