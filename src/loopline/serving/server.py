"""Serve a project: one process, or several that share an address.

Needs no contract, no database and no training code: the release document names the bundles, and a
bundle brings its own signature. The address is taken first, and the models are loaded after.
"""

import logging
from collections.abc import Callable

from loopline.registry import release
from loopline.serving.accepting import listen
from loopline.serving.place import Options, Place, guard_of
from loopline.serving.process import Process, figures_line
from loopline.serving.workers import Board, Workers
from loopline.settings import Settings


def serve(project: str, settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serve `project` until SIGTERM or SIGINT.

    Raises:
        ServingError: the address cannot be taken, or must not be without a token.
        ReleaseError: nothing is released there, or the document cannot be used.
        BundleRefusedError: a bundle cannot.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    release.document_key(project, options.environment, 1)  # before folders are named after them
    guard = guard_of(settings, options)
    with listen(options.host, options.port) as listener:
        _answer(Place(project, settings, options, guard, listener, say))


def _answer(place: Place) -> None:
    options, say = place.options, place.say
    if options.workers == 1:
        Process(place).run()
        return
    board = Board(options.workers)

    def work(number: int, alive: int) -> None:
        Process(place, board, number).run(alive)

    def every_minute() -> None:
        if options.figures:
            say(figures_line(board.others(-1)))

    workers = Workers(options.workers, work, board, place.listener, every_minute)
    code = workers.run()
    every_minute()
    if code:
        raise SystemExit(code)  # the worker has said why
