#!/usr/bin/env python3
# ctest: labels=unit timeout=240 processors=2
"""Matrix products, and the operations made of them, with the kernels that processors without AVX-512 run."""

from kernel_variants import CORE_TYPES, HIGHWAY_TARGETS, run_programs, variants

PRODUCTS = "gemm.*:linear.*:grouped_linear.*:cross_entropy.*:newton_schulz.*:-*slow_*"
VECTORS = "vector_math.*:tile_gemm.*:attention.*:delta_rule.*:norm.*:activation.*:-*slow_*"

run_programs([("test_ops", PRODUCTS)],
             variants({name: CORE_TYPES[name] for name in ("Sandybridge", "Haswell", "Zen")}, {}), 200)
run_programs([("test_ops", VECTORS)], variants({}, {"AVX2": HIGHWAY_TARGETS["AVX2"]}), 200)
