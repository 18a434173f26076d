#!/usr/bin/env bash
# Runs the fast tests in one environment for each set of versions, and prints a table of the results.
#
#   tests/versions.sh                           lowest-torch pinned-torch newest-torch lowest-jax pinned-jax newest-jax
#   tests/versions.sh lowest-jax torch==2.10.0  these: from tests/lowest.txt, or a release and what pip installs with it
#
# Every environment is deleted after its tests. One with a released torch takes up to 8 GB while it exists, most
# of it GPU libraries. PYTHON sets the interpreter, FAST the arguments for pytest, and EXTRAS further extras to install,
# such as "integrations".
set -uo pipefail
cd "$(dirname "$0")/.."

export MPLBACKEND=Agg PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_QUIET=1
unset PYTHONPATH JAX_COMPILATION_CACHE_DIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The framework-specific parts: values and gradients, state, compilers, transforms, collectives.
fast_torch="tests/torch/test_pointwise_modules.py tests/torch/test_ranking_modules.py
  tests/torch/test_ranking_modules_state.py tests/torch/test_functional.py tests/torch/test_transforms_torch.py
  tests/torch/test_device_calls.py tests/torch/test_mixed_precision.py tests/core/test_queue.py"
fast_jax="tests/jax/test_sharded_arrays.py tests/jax/test_ranking_functions.py tests/jax/test_pointwise_functions.py tests/jax/test_transforms_jax.py
  tests/jax/test_debug_modes.py tests/core/test_queue.py
  tests/jax/test_distributed_jax.py::test_class_parallel_needs_an_axis
  tests/jax/test_distributed_jax.py::test_gathered_rows_are_in_device_order
  tests/jax/test_distributed_jax.py::test_explicit_sharding_needs_no_mesh_context
  tests/jax/test_distributed_jax.py::test_ranking_losses_over_five_steps_of_a_queue[3-pmap]
  tests/jax/test_warmup_blend.py::test_sharded_steps_equal_one_device"

try() { # NAME: creates the environment and runs the tests
  local framework=${1##*-} with=""
  case $1 in
    lowest-*) with="-c tests/lowest.txt" ;;
    pinned-*) with="-c constraints.txt" ;;
    newest-*) ;;
    *) framework=${1%%[^a-z]*} with=$1 ;;
  esac
  "${PYTHON:-python3}" -m venv "$work/env" && . "$work/env/bin/activate" || return 1
  # shellcheck disable=SC2086  # split into words
  python -m pip install $with -e ".[$framework,test,${EXTRAS:-test}]" || return 1
  python -c "import platform, $framework as f; print('Python', platform.python_version(), '|', f.__name__, f.__version__)"
  local tests=fast_$framework
  # shellcheck disable=SC2086
  python -m pytest -n "${WORKERS:-2}" -o addopts=--strict-markers --dist=worksteal ${FAST:-${!tests}}
}

failed=0 table=""
for name in "${@:-lowest-torch}" $([ $# -gt 0 ] || echo pinned-torch newest-torch lowest-jax pinned-jax newest-jax); do
  printf '\n[%s]\n' "$name"
  (try "$name") 2>&1 | tee "$work/log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed=1
  found=$(grep -m1 '^Python .* | ' "$work/log") || found="not installed |"
  outcome=$(grep -E '^(=+ )?[0-9]+ (passed|failed|error)' "$work/log" | tail -1 | tr -d '=') || true
  table+="| $name | $found | ${outcome:-no test ran} |"$'\n'
  rm -rf "$work/env"
done
printf '\n%s' "$table"
exit $failed
