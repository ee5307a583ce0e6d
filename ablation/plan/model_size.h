#pragma once

#include <cstdint>

#include "trainer/config/run_config.h"

namespace braid {

/// How large a run's model is.
struct ModelSize {
    int64_t total_parameters = 0;
    int64_t active_parameters = 0; // that a token uses, embedding and head included
    double flops_per_token = 0;    // forward and backward, in a document as long as a sequence
    bool operator==(const ModelSize&) const = default;
};

/// Declares the model without memory. ConfigError where it cannot be made.
ModelSize model_size(const RunConfig& run);

} // namespace braid
