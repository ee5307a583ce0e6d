#pragma once

#include "tensor/cuda/launch.h"

// A warp's instructions for matrix products of bf16 by tensor cores, with sums in f32, and the copies that
// feed them; on every GPU from sm_80 on. Layouts are those of the PTX manual: lane l = 4 g + t of a warp
// holds
//   of A [16, 16] in a[0..3]: rows g, g + 8, g, g + 8 of columns 2t, 2t + 1, and 8 columns on in a[2], a[3],
//   of B [16, 8] in b[0..1]: column g of rows 2t, 2t + 1, and 8 rows on in b[1],
//   of C [16, 8] in c[0..3]: row g, columns 2t, 2t + 1, and the same of row g + 8.
namespace braid::ops::cuda {

/// C += A B.
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if BRAID_CUDA_EMULATION
    cuda_emulation::multiply_add(c, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/// Four matrices [8, 8] of bf16 in shared memory, whose rows 0 to 7 begin where lanes 8 m to 8 m + 7 say, at
/// multiples of 16 bytes: of matrix m this lane gets row g, columns 2t and 2t + 1; or, transposed, column g
/// of rows 2t and 2t + 1.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const bf16* row) {
#if BRAID_CUDA_EMULATION
    cuda_emulation::load_matrices(to, row, kTransposed);
#else
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    if constexpr (kTransposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(address)
                     : "memory");
#endif
}

/// Starts a copy of `bytes` of 16, zeros for the rest, into shared memory; both addresses are multiples
/// of 16.
__device__ __forceinline__ void start_copy(void* shared, const void* from, int bytes) {
#if BRAID_CUDA_EMULATION
    cuda_emulation::start_copy(shared, from, bytes);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
                 "l"(from), "r"(bytes)
                 : "memory");
#endif
}

/// Ends a group of this thread's copies.
__device__ __forceinline__ void end_copies() {
#if BRAID_CUDA_EMULATION
    cuda_emulation::end_copies();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most kLeft of this thread's groups of copies, the newest ones, are under way.
template <int kLeft>
__device__ __forceinline__ void wait_for_copies() {
#if BRAID_CUDA_EMULATION
    cuda_emulation::wait_for_copies(kLeft);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

/// Two numbers rounded to bf16, the first in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    return static_cast<uint32_t>(static_cast<bf16>(low).bits) |
           static_cast<uint32_t>(static_cast<bf16>(high).bits) << 16;
}

} // namespace braid::ops::cuda
