#pragma once

#include <string>
#include <vector>

#include "layers/specification/sublayer_type.h"
#include "tensor/parameters/rank_grid.h"

namespace braid {

/// What the sizes of a model allow a layout.
class LayoutRules {
  public:
    explicit LayoutRules(const ModelConfig& model);
    /// ConfigError naming every size of the model that the layout cannot share out, what would do, and the
    /// numbers.
    void expect_fits(const RankGrid& grid) const;
    /// The same as lines, empty where all fits. Only the sizes of the axes count.
    std::vector<std::string> faults(const RankGrid& grid) const;

  private:
    int64_t vocab_size_;
    bool has_experts_ = false;
    struct Rules {
        ResolvedSublayer sublayer;
        DeclaredSublayer declared;
    };
    std::vector<Rules> sublayers_; // each once
};

} // namespace braid
