"""Operations that the array-API standard lacks; a call to `ops.` marks where the core leaves the standard.

Every function works on numpy, torch and JAX arrays. `elementwise`, `arrays` and `derivatives` document the operations,
`generic` defines them, and `on_torch` and `on_jax`, imported only when such an array is seen, hold faster or
differentiable versions.
"""

from imbalanced_core.ops.arrays import (
    add_rows,
    any_in_row,
    arange,
    astype,
    constant,
    count,
    count_in_row,
    cumulative_sum,
    few_places,
    for_each_row,
    greatest_count,
    has_exact_float64,
    in_memory,
    inverse_permutation,
    is_eager_cpu,
    is_on_accelerator,
    known_within,
    matmul,
    places,
    prefers_tables,
    present,
    put,
    put_along,
    rearrange,
    replaced,
    row_by_row,
    sort,
    sort_with_order,
    table,
    tabulated,
    take_rows,
    widen,
)
from imbalanced_core.ops.derivatives import (
    in_pieces,
    outside_compiler,
    stop_gradient,
    with_class_slope,
    with_partials,
    with_vjp,
)
from imbalanced_core.ops.elementwise import (
    add_product,
    clear,
    decay,
    differences,
    divide,
    lerp,
    logaddexp,
    logistic,
    odds_of_others,
    probabilities,
    rows_and_geometric_sums,
    sigmoid,
    softplus,
    times_logistic_derivative,
    times_unit,
    where,
    zero_below,
)
from imbalanced_core.ops.generic import Table
