"""`python -m loopline` is `loopline`."""

from loopline.cli.main import main

main()
