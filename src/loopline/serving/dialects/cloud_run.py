"""Cloud Run, Knative and Cloud Functions: a service has one address, and its root predicts."""

from loopline.serving.routes import Route

__all__ = ["CloudRun"]


class CloudRun:
    """Where a function or a service is called."""

    routes = (Route("POST", "/", "predict", "Predict", same_as="/invocations"),)
