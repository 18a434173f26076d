"""Code paths of the pairwise engine that the short rows of most tests would never take."""

from contextlib import ExitStack, contextmanager
from unittest import mock

from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import counts as pairwise
from imbalanced_core.pairwise import dense as _dense
from imbalanced_core.pairwise import few as _few
from imbalanced_core.pairwise import translation as _translation

_SMALL_BLOCKS = (  # a tree of blocks from 17 items on
    (_blocks, {"_BLOCK": 4, "_LARGE_BLOCK": 4, "_SMALL_ROW": 16}),
    (_translation, {"FEW_BLOCKS": 4}),
    (_few, {"_BLOCK": 4, "_LARGE_BLOCK": 4}),
)
_NO_PAIRS = (
    pairwise,
    dict.fromkeys(
        (
            *("_PAIRS_EAGER_CPU", "_PAIRS_PER_ITEM", "_PAIRS_OF_ROW", "_PAIRS_CPU", "_PAIRS_JAX_CPU"),
            *("_PAIRS_ACCELERATOR", "_PAIRS_JAX_ACCELERATOR"),
        ),
        -1,
    ),
)
WAYS = {
    "as it is": (),
    "pairs in parts of a row": ((_dense, {"_PAIRS_PER_PART": 16}),),
    "blocks, expanded at the few": (*_SMALL_BLOCKS, _NO_PAIRS),
    "blocks, expanded at all": (*_SMALL_BLOCKS, _NO_PAIRS, (pairwise, {"_FEW": -1.0})),
}


@contextmanager
def engine(way):
    """Context in which the engine takes one of the `WAYS`, in code that is not compiled yet."""
    with ExitStack() as stack:
        for module, constants in WAYS[way]:
            stack.enter_context(mock.patch.multiple(module, **constants))
        yield
