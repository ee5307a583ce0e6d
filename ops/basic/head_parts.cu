#include "ops/basic/head_parts_kernels.h"

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {

using namespace braid::cuda;

void combine_head_parts(const Tensor& parts, const Tensor& lse, const Tensor& label_logits) {
    const int64_t num_parts = parts.dim(0), tokens = parts.dim(2);
    const double* in = parts.data<double>();
    double *lse_out = lse.data<double>(), *logit_out = label_logits.data<double>();
    for_each(lse, tokens, [=] __device__(int64_t t) {
        double top = in[t], sum = 0, logit = 0;
        for (int64_t r = 1; r < num_parts; ++r) top = fmax(top, in[r * 2 * tokens + t]);
        for (int64_t r = 0; r < num_parts; ++r) {
            sum += exp(in[r * 2 * tokens + t] - top);
            logit += in[(r * 2 + 1) * tokens + t];
        }
        lse_out[t] = top + log(sum);
        logit_out[t] = logit;
    });
}

} // namespace braid::ops::cuda
