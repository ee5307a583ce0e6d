#!/usr/bin/env python3
# ctest: labels=unit timeout=240 processors=2
"""No product of bf16 falls back to oneDNN's plain loops, which are a thousand times slower than its kernels.

oneDNN 2.6 does so without a word for layouts that its kernels do not take, such as results whose rows lie apart.
"""

import os
import subprocess
import sys

from kernel_variants import processor_flags

if not {"avx512_bf16"} <= processor_flags():
    print("a processor without bf16 instructions multiplies in f32")
    sys.exit(77)

program = os.path.join(os.environ["BRAID_BINARY_DIR"], "tests", "test_ops")
done = subprocess.run([program, "--gtest_filter=bf16_gemm.*:linear.*:grouped_linear.*:cross_entropy.*"],
                      env={**os.environ, "DNNL_VERBOSE": "1", "ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "2"},
                      capture_output=True, text=True, timeout=200, check=True)
products = [line for line in done.stdout.splitlines() if "exec" in line and ",matmul," in line]
assert len(products) > 20, done.stdout[-2000:]
plain = sorted({line.rsplit(",", 1)[0] for line in products if ",ref" in line})
assert not plain, "products in plain loops:\n" + "\n".join(plain)
