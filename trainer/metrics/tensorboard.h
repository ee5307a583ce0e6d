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

/// Moves the records of an event file that are of steps after `last_step` into the new file `later`, which is
/// a whole event file; the one at `path` is replaced at once. A record torn by a crash is dropped with all
/// behind it. Without later records, or where the file does not start as an event file, nothing changes.
/// Returns their number. DataError for a file that is no regular file, WriteError where writing fails.
int64_t cut_back_events(const std::string& path, int64_t last_step, const std::string& later);

/// The event files of a folder, links left out, in the order in which TensorBoard reads them.
std::vector<std::string> event_files(const std::string& folder);

} // namespace braid
