"""What a command does not take over from where it was started."""

import logging
import os
import sys

from cli import streams


def prepare() -> None:
    """Makes this process independent of its locale, its standard streams and a notebook.

    To be called before anything is read, printed or drawn; calling it again changes nothing.
    """
    _read_utf_8()
    streams.prepare()
    # A notebook hands its own on to what it starts. Figures here only ever go to files.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # It says where it keeps its fonts.


def _read_utf_8() -> None:
    """Starts this process again where names of files would be read in another encoding.

    Python decides that as it starts, by the locale; from 3.15 on it takes UTF-8 by itself.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
