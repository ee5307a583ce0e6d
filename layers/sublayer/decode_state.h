#pragma once

#include <cstdint>
#include <map>

#include "tensor/tensor.h"

namespace braid {

/// What the mixers of a model remember of the tokens of one document during generation.
class DecodeState {
  public:
    struct Slot {
        Tensor keys, values; // attention: [capacity, H_kv, d]
        Tensor conv;         // convolution: the last inputs [kernel - 1, channels]
        Tensor recurrent;    // linear attention: [H_v, d_k, d_v]
    };

    /// The memory of one sublayer, empty at first.
    Slot& slot(const void* sublayer) { return slots_[sublayer]; }
    /// Tokens that all sublayers have seen.
    int64_t position() const { return position_; }
    void advance(int64_t tokens) { position_ += tokens; }

  private:
    std::map<const void*, Slot> slots_;
    int64_t position_ = 0;
};

} // namespace braid
