#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace braid {

enum class DeviceKind : uint8_t { cpu, cuda };

/// Where a tensor's memory lies and its operations run.
struct Device {
    DeviceKind kind = DeviceKind::cpu;
    int index = 0;

    auto operator<=>(const Device&) const = default;
};

std::string to_string(Device device);

/// A queue of work on a device. Work of one stream runs in the order given. On the CPU every call has
/// finished when it returns, so that overlap code has one text for both devices.
class Stream {
  public:
    explicit Stream(Device device = {}) : device_(device) {}
    Device device() const { return device_; }
    /// Returns when everything given to this stream so far has run.
    void synchronize() const {}

  private:
    Device device_;
};

/// A mark in a stream that another stream, or the host, can wait for.
class Event {
  public:
    void record(const Stream&) {}
    void wait(const Stream&) const {}
    bool reached() const { return true; }
};

} // namespace braid
