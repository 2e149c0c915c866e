"""What every platform promises: subclass it in an adapter's tests and give the two fixtures."""

import urllib.request

import pytest

from loopline.errors import DeliveryError
from loopline.platforms.base import Deployment, Platform


class PlatformConformance:
    """The promises of `platforms/base.py`.

    The subclass gives the fixtures `platform` and `deployment`: something that the platform, or the
    fake in its place, can run.
    """

    def test_it_names_what_builds_images_that_it_finds(self, platform: Platform) -> None:
        """Without a builder nothing could be deployed."""
        assert list(platform.builders)

    def test_a_deployment_is_ready_when_it_is_returned(
        self, platform: Platform, deployment: Deployment
    ) -> None:
        """Whoever deploys may send traffic at once."""
        endpoint = platform.deploy(deployment)

        assert endpoint.name == deployment.name
        with urllib.request.urlopen(f"{endpoint.url}/readyz", timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        assert platform.remove(deployment.name)

    def test_a_new_one_takes_the_place_of_the_one_with_its_name(
        self, platform: Platform, deployment: Deployment
    ) -> None:
        """Deploying is how a version is replaced."""
        platform.deploy(deployment)
        platform.deploy(deployment)

        assert platform.remove(deployment.name)
        assert not platform.remove(deployment.name)

    def test_removing_what_is_not_there_says_so(self, platform: Platform) -> None:
        """And is no failure: it may have been removed already."""
        assert not platform.remove("nobody-made-this")

    @pytest.mark.parametrize("name", ["", "../x", "-f", "a b", "a;b", "a\nb", "A", "--all"])
    def test_a_name_is_no_option_path_or_shell_word(self, platform: Platform, name: str) -> None:
        """It reaches tools and addresses."""
        with pytest.raises(DeliveryError):
            platform.remove(name)
