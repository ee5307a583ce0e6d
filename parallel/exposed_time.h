#pragma once

#include <chrono>

namespace braid {

/// Adds the seconds of its own life to a sum: communication that nothing hid.
class ExposedTime {
  public:
    explicit ExposedTime(double& seconds) : seconds_(seconds) {}
    ~ExposedTime() {
        seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }
    ExposedTime(const ExposedTime&) = delete;
    ExposedTime& operator=(const ExposedTime&) = delete;

  private:
    double& seconds_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

} // namespace braid
