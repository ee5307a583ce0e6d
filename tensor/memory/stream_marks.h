#pragma once

#include <vector>

#include "base/profiler.h"
#include "tensor/memory/device.h"

namespace braid {

/// Marks in a stream of a GPU, by its events.
class StreamMarks : public DeviceMarks {
  public:
    explicit StreamMarks(const Stream& stream) : stream_(stream) {}
    int64_t mark() override;
    std::vector<int64_t> take_ns() override;

  private:
    const Stream stream_;
    std::vector<Event> marks_;
};

} // namespace braid
