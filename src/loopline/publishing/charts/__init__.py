"""Every chart that Loopline draws, for pages and notebooks alike."""
