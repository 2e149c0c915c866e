"""Azure ML's online endpoints: paths of their own for what `/invocations` speaks.

An endpoint's definition names any paths, so these are those of Azure's own scoring image, where its
studio and its clients look for a description.
"""

from loopline.serving.routes import Route

__all__ = ["AzureMl"]


class AzureMl:
    """Where Azure ML calls."""

    routes = (
        Route("POST", "/score", "predict", "Predict", same_as="/invocations"),
        Route(
            "GET", "/swagger.json", "predict", "This API as OpenAPI 3.1", same_as="/openapi.json"
        ),
    )
