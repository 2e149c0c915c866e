"""Open a project and wire its parts together."""


class Project:
    """One project, opened from its folder."""
