/* Put before the BLAS library (LD_PRELOAD), this is one whose f32 products are wrong in their last element,
 * or which crashes (WRONG_BLAS=crash), as libraries do on processors that they take for others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>

typedef void sgemm_function(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                            float*, int);

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
    const char* kind = getenv("WRONG_BLAS");
    if (kind && kind[0] == 'c') raise(SIGILL);
    ((sgemm_function*)dlsym(RTLD_NEXT, "cblas_sgemm"))(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c,
                                                       ldc);
    c[(long)(m - 1) * ldc + n - 1] += 1;
}
