#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"

namespace braid {

/// A value of one step under a tag; "/" in a tag makes groups.
struct Scalar {
    std::string tag;
    float value;
};

/// CRC-32C (Castagnoli, RFC 3720 B.4) of `bytes`.
uint32_t crc32c(std::string_view bytes);

/// One event file of TensorBoard: TFRecord frames (length, its masked CRC-32C, data, its masked CRC-32C) of
/// tensorflow.Event messages. Every start of a run makes a new file whose name sorts behind the older ones;
/// its SessionLog START event makes TensorBoard forget steps from `first_step` on that older files hold.
class EventFile {
  public:
    /// Creates `FOLDER/events.out.tfevents.SECONDS.HOST.PID`; WriteError if that fails.
    EventFile(const std::string& folder, int64_t first_step);

    /// All scalars of a step in one record, written at once.
    void write(int64_t step, const std::vector<Scalar>& scalars);
    /// Makes the records survive a power loss.
    void sync();
    const std::string& path() const { return path_; }

  private:
    void write_record(const std::string& event);

    std::string path_;
    FileDescriptor file_;
};

} // namespace braid
