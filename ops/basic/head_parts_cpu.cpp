#include "ops/basic/head_parts_kernels.h"

#include <algorithm>
#include <cmath>

namespace braid::ops::cpu {

void combine_head_parts(const Tensor& parts, const Tensor& lse, const Tensor& label_logits) {
    const int64_t num_parts = parts.dim(0), tokens = parts.dim(2);
    const double* in = parts.data<double>();
    double *lse_out = lse.data<double>(), *logit_out = label_logits.data<double>();
    for (int64_t t = 0; t < tokens; ++t) {
        double top = in[t], sum = 0, logit = 0;
        for (int64_t r = 1; r < num_parts; ++r) top = std::max(top, in[r * 2 * tokens + t]);
        for (int64_t r = 0; r < num_parts; ++r) {
            sum += std::exp(in[r * 2 * tokens + t] - top);
            logit += in[(r * 2 + 1) * tokens + t];
        }
        lse_out[t] = top + std::log(sum);
        logit_out[t] = logit;
    }
}

} // namespace braid::ops::cpu
