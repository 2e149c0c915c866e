"""From the contract to a registered, proven version: the stages in their order."""
