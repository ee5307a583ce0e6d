#include "tensor/segment.h"

#include <set>

namespace braid {

int64_t SegmentSaved::bytes() const {
    std::set<const void*> seen;
    int64_t bytes = tape.saved_bytes();
    if (tape.size() > 0) return bytes; // the tape already counts the inputs it needs
    for (const Tensor& input : inputs)
        if (input.defined() && seen.insert(input.storage_key()).second)
            bytes += static_cast<int64_t>(input.storage_bytes());
    return bytes;
}

} // namespace braid
