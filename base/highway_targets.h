#pragma once

// What Highway code of ours is compiled for: AVX2, which the build requires anyway, and AVX-512 where the
// machine has it. Include this first in a file that is compiled per target, then set HWY_TARGET_INCLUDE and
// include "hwy/foreach_target.h" (see base/philox_block.cpp).
#define HWY_DISABLE_PCLMUL_AES // x86-64-v3 does not have these, and without this line AVX2 is no baseline
#define HWY_DISABLED_TARGETS (HWY_AVX3_DL)
