#pragma once

#include <memory>
#include <string>

#include "tensor/memory/device.h"

namespace braid::bench {

/// The time that a GPU spends on what a stream is given between start() and stop(), by CUDA's events.
class GpuTimer {
  public:
    explicit GpuTimer(const Stream& stream);
    void start();
    void stop();
    /// Waits for what the stream was given.
    double milliseconds() const;

  private:
    struct Marks;
    Stream stream_;
    std::shared_ptr<Marks> marks_;
};

/// Whether the device answers nothing but an earlier error from here on, as after an illegal access: the
/// context of the process is lost then. Forgets an error that only one call had.
bool context_is_lost();

/// The highest clock of the multiprocessors in MHz, as the driver tells; 0 where it does not.
int highest_clock_mhz(int device);

/// "12.4" for 12040, as CUDA counts.
std::string cuda_version_text(int version);

} // namespace braid::bench
