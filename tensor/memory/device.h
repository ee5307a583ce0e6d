#pragma once

#include <compare>
#include <cstdint>
#include <memory>
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

/// GPUs that this process sees; 0 in a build without CUDA or on a machine without a driver.
int num_cuda_devices();

/// A queue of work on a device, shared by its copies. Work of one stream runs in the order given. On the CPU
/// every call has finished when it returns, so that overlap code has one text for both devices.
class Stream {
  public:
    /// A new queue. Error (exit 2) where the device does not exist.
    explicit Stream(Device device = {});
    Device device() const { return device_; }
    /// Returns when everything given to this stream so far has run.
    void synchronize() const;
    /// The cudaStream_t; null on the CPU.
    void* native() const { return native_.get(); }
    /// Whether they are the same queue.
    bool operator==(const Stream& other) const = default;

  private:
    Device device_;
    std::shared_ptr<void> native_;
};

/// A mark in a stream that another stream, or the host, can wait for.
class Event {
  public:
    void record(const Stream& stream);
    /// One for seconds_since().
    void record_timed(const Stream& stream);
    /// What `stream` is given from here on runs after the mark.
    void wait(const Stream& stream) const;
    bool reached() const;
    /// The same for a thread that does not compute on the stream's device. False where the device has failed.
    bool reached_elsewhere() const noexcept;
    /// The device's time between two timed marks that have been reached; 0 on the CPU.
    double seconds_since(const Event& earlier) const;

  private:
    Device device_;
    std::shared_ptr<void> native_; // null before record() and on the CPU
};

} // namespace braid
