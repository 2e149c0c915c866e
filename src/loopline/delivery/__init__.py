"""Files other tools run: the image, and how it is built."""
