#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "base/dtype.h"
#include "base/error.h"

namespace braid {

/// A dataset as its header declares it, already held against the file: the bytes it claims exist.
struct Hdf5Dataset {
    DType dtype;
    std::vector<int64_t> shape; // empty for a scalar
    int64_t num_elements;
    int64_t
        offset; // of the first element from the start of the file, for pread; -1 if not contiguous or empty
};

/// One part of a virtual dataset: the box [start, start + count) of the global dataset is the box at
/// source_start (empty: the origin) of the dataset `dataset`, of shape source_shape, in the file `file`, a
/// name relative to the folder of the virtual dataset's own file.
struct Hdf5Box {
    std::vector<int64_t> start, count;
    std::string file, dataset;
    std::vector<int64_t> source_shape, source_start;
};

/// What a reader tolerates beyond contiguous datasets.
struct Hdf5Accept {
    bool compact_and_chunked = false; // also with the Fletcher32 checksum; never another filter
    Symlinks symlinks = Symlinks::refuse;
};

/// An HDF5 file, and the only door to the HDF5 library, which is no safety net for files from others. Opened
/// for reading it accepts only what this class writes: a regular file with the signature at byte 0, objects
/// behind hard links, no virtual or external storage, no filters, fixed-size integers, floats and strings in
/// little-endian order, small attributes; plugins are switched off. Shape and type are held against the
/// caller's before anything is allocated.
///
/// Errors name file and object. Failures to read have the exit code given to open(), failures to write are
/// WriteErrors. Objects may be used from several threads; calls are serialized.
class Hdf5File {
  public:
    /// Opens for reading. `code` is the kind of error this file's defects are (data, checkpoint).
    static Hdf5File open(const std::string& path, ExitCode code, Hdf5Accept accept = {});
    /// Creates a file that must not exist, in the newest format (checksummed metadata; a file whose writer
    /// died is refused by readers). `mode` 0 leaves the permissions to the umask.
    static Hdf5File create(const std::string& path, mode_t mode = 0);
    Hdf5File(Hdf5File&&) noexcept;
    Hdf5File& operator=(Hdf5File&&) noexcept;
    ~Hdf5File();

    /// Closes; a written file is flushed and synced to disk first. WriteError where that fails (a full disk
    /// shows up here). Nothing else may be called afterwards; the destructor closes too, but cannot report.
    void close();

    const std::string& path() const;
    int64_t num_bytes() const;
    /// A descriptor of the open file, for pread; valid until close(). Only for files opened for reading.
    int descriptor() const;

    /// The sorted names in a group ("/" is the root). A soft, external or user-defined link is an error.
    std::vector<std::string> names(const std::string& group) const;
    bool contains(const std::string& path) const;

    /// Checks a dataset's links, layout, filters, type and size in the file, in this order, without reading
    /// it.
    Hdf5Dataset dataset(const std::string& path) const;
    /// The same, and holds type and shape against the caller's.
    Hdf5Dataset dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape) const;
    /// Reads a whole dataset of the given type and shape into `out`.
    void read(const std::string& path, DType dtype, const std::vector<int64_t>& shape, void* out) const;
    /// Reads the box [start, start + count), row-major, into `out`.
    void read_box(const std::string& path, DType dtype, const std::vector<int64_t>& start,
                  const std::vector<int64_t>& count, void* out) const;
    /// Reads a one-dimensional dataset of at most `max_elements`.
    template <typename T>
    std::vector<T> read_vector(const std::string& path, int64_t max_elements) const {
        std::vector<T> out(static_cast<size_t>(checked_length(path, dtype_of<T>(), max_elements)));
        read(path, dtype_of<T>(), {static_cast<int64_t>(out.size())}, out.data());
        return out;
    }

    /// Attributes of a group or dataset ("/" is the root): scalars, lists of at most kMaxAttributeElements,
    /// strings of at most kMaxAttributeBytes.
    bool has_attribute(const std::string& object, const std::string& name) const;
    int64_t read_i64(const std::string& object, const std::string& name) const;
    double read_f64(const std::string& object, const std::string& name) const;
    std::vector<int64_t> read_i64_list(const std::string& object, const std::string& name) const;
    std::vector<double> read_f64_list(const std::string& object, const std::string& name) const;
    std::string read_string(const std::string& object, const std::string& name) const;

    /// Creates a group and its missing parents.
    void create_group(const std::string& path);
    /// Creates a contiguous dataset, and missing parent groups, with its space in the file taken but not
    /// filled, and returns it. Its bytes may be written with write(), write_box(), or by pwrite at `offset`
    /// after close().
    Hdf5Dataset create_dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape);
    void write(const std::string& path, DType dtype, const std::vector<int64_t>& shape, const void* data);
    void write_box(const std::string& path, DType dtype, const std::vector<int64_t>& start,
                   const std::vector<int64_t>& count, const void* data);
    /// Creates a dataset composed of boxes of datasets in sibling files, for h5py and its kin. Elements that
    /// no box covers, or whose sibling is missing, read as NaN; as the least value of i32 and i64 and the
    /// largest of u8 and u16. open() refuses to read it.
    void create_virtual_dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape,
                                std::span<const Hdf5Box> boxes);

    void write_attribute(const std::string& object, const std::string& name, int64_t value);
    void write_attribute(const std::string& object, const std::string& name, double value);
    void write_attribute(const std::string& object, const std::string& name, std::string_view value);
    void write_attribute(const std::string& object, const std::string& name, std::span<const int64_t> values);
    void write_attribute(const std::string& object, const std::string& name, std::span<const double> values);

    static constexpr int64_t kMaxAttributeElements = 4096;
    static constexpr int64_t kMaxAttributeBytes =
        60000; // below HDF5's own limit of 64 KiB for an object header

    struct Impl;

  private:
    explicit Hdf5File(std::unique_ptr<Impl> impl);
    int64_t checked_length(const std::string& path, DType dtype, int64_t max_elements) const;

    std::unique_ptr<Impl> impl_;
};

/// The version of the HDF5 library at run time, for example "1.10.8".
std::string hdf5_version();

} // namespace braid
