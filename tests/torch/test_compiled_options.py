"""How a program that was compiled for one module behaves with a second module or another batch size.

PyTorch's compiler then turns numbers that differ, including options, into variables of the program.
"""

import numpy as np
import pytest
import torch
from losses import LOSSES, each

from imbalanced_torch import LDAMLoss, PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss

CLASSES = 3
DECOMPOSED = "aot_eager_decomp_partition"  # what inductor compiles, without its minute
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # raised by the compiler itself


def assert_compiles(module, case, dynamic):
    compiled = torch.compile(module, fullgraph=True, backend=DECOMPOSED, dynamic=dynamic)
    for seed, rows in enumerate((16, 12)):
        logits, targets = (torch.from_numpy(x) for x in case.batch(seed, rows, CLASSES, np.float32))
        torch.testing.assert_close(compiled(logits, targets), module(logits, targets))


@each(LOSSES)
def test_all_numbers_may_be_variables(case):
    torch.compiler.reset()
    assert_compiles(case.in_torch(CLASSES, **({"queue_size": 0} if case.ranks else {})), case, dynamic=True)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("pAUC pairwise", lambda k: PAUCAtBudgetLoss(CLASSES, alpha=0.01 * k, beta=0.1 * k, queue_size=0)),
        ("smooth AP", lambda k: SmoothAPLoss(CLASSES, temperature=0.1 * k, queue_size=0)),
        ("sigmoid focal", lambda k: SigmoidFocalLoss(gamma=0.7 * k, alpha=0.2 * k)),
        ("LDAM", lambda k: LDAMLoss([100, 10, 5], max_margin=0.1 * k, scale=5.0 * k)),
    ],
)
def test_modules_with_other_options(name, make):
    torch.compiler.reset()
    case = next(case for case in LOSSES if case.name == name)
    for k in (1, 2, 3):
        assert_compiles(make(k), case, dynamic=None)
