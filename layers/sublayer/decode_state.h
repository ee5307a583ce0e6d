#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tensor/tensor.h"

namespace braid {

/// What the sublayers of a model carry from token to token of one document during generation: keys and
/// values, last inputs of convolutions, states of recurrences.
class DecodeState {
  public:
    using Tensors = std::map<std::string, Tensor>;

    DecodeState() = default;
    DecodeState(const DecodeState&) = delete; // copies would share tensors that sublayers write
    DecodeState& operator=(const DecodeState&) = delete;
    DecodeState(DecodeState&&) = default;
    DecodeState& operator=(DecodeState&&) = default;

    /// The tensors of one sublayer, by names of its own; undefined at first.
    Tensors& of(const void* sublayer) { return tensors_[sublayer]; }
    /// Tokens that all sublayers have seen.
    int64_t position() const { return position_; }
    void advance(int64_t tokens) { position_ += tokens; }

    /// The state as it is now, in memory of its own: to go on from here once more, assign it back.
    DecodeState snapshot() const {
        DecodeState result;
        result.position_ = position_;
        for (const auto& [sublayer, tensors] : tensors_)
            for (const auto& [name, x] : tensors) {
                if (!x.defined()) continue;
                const Tensor y = Tensor::empty(x.allocator(), x.shape(), x.dtype());
                copy(x, y);
                result.tensors_[sublayer][name] = y;
            }
        return result;
    }

  private:
    std::map<const void*, Tensors> tensors_;
    int64_t position_ = 0;
};

} // namespace braid
