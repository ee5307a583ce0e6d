#pragma once

// The internals of base/hdf5_file.h, the only file besides its sources that may see the HDF5 library.

#include <fmt/ranges.h>
#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/hdf5_file.h"

namespace braid::hdf5 {

// Serializes all calls (also where the library was built without thread safety) and keeps HDF5 from printing.
// HDF5's error printer is per thread, so it is switched off in every call and not once.
class Guard {
  public:
    Guard() : lock_(mutex()) {
        static const bool started = start_library();
        check(started, "the HDF5 library does not start");
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    }

  private:
    static std::recursive_mutex& mutex() {
        static std::recursive_mutex instance;
        return instance;
    }
    static bool start_library() {
        // The exit handler of HDF5 crashes after a failed write; a plugin path in the environment would run
        // foreign code.
        return H5dont_atexit() >= 0 && H5open() >= 0 && H5PLset_loading_state(0) >= 0;
    }
    std::lock_guard<std::recursive_mutex> lock_;
};

// Owns an HDF5 identifier.
class Id {
  public:
    using Close = herr_t (*)(hid_t);
    Id() = default;
    Id(hid_t id, Close close) : id_(id), close_(close) {}
    Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    Id& operator=(Id&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(close_, other.close_);
        return *this;
    }
    ~Id() {
        if (id_ >= 0) close_(id_);
    }
    herr_t close() { return id_ >= 0 ? close_(std::exchange(id_, -1)) : 0; }
    hid_t get() const { return id_; }
    explicit operator bool() const { return id_ >= 0; }

  private:
    hid_t id_ = -1;
    Close close_ = nullptr;
};

/// The innermost reason HDF5 recorded for the last failure, for messages.
std::string library_reason();

/// The file type of a dtype, and the dtype of a file type where there is one.
Id make_type(DType dtype);
std::optional<DType> match_type(hid_t file_type);

/// Access properties of the given class that refuse to follow external links.
Id link_access(hid_t property_class);

std::vector<hsize_t> to_hsize(const std::vector<int64_t>& sizes);
Id make_space(const std::vector<int64_t>& shape);
void select_box(hid_t space, const std::vector<int64_t>& start, const std::vector<int64_t>& count);
bool inside(const std::vector<int64_t>& start, const std::vector<int64_t>& count,
            const std::vector<int64_t>& shape);
std::string describe(DType dtype, const std::vector<int64_t>& shape);

} // namespace braid::hdf5

namespace braid {

struct Hdf5File::Impl {
    std::string path;
    ExitCode code = ExitCode::internal; // of failures to read
    Hdf5Accept accept;
    bool writing = false;
    int64_t num_bytes = 0;
    FileDescriptor descriptor;
    hdf5::Id file;

    template <typename... Args>
    [[noreturn]] void fail(const std::string& object, fmt::format_string<Args...> format,
                           Args&&... args) const {
        throw_error(
            writing ? ExitCode::cannot_write : code,
            fmt::format("{}: {}: {}", path, object, fmt::format(format, std::forward<Args>(args)...)));
    }

    void expect_open() const { check(bool(file), "{}: used after close", path); }
    void expect_writing() const {
        expect_open();
        check(writing, "{}: opened for reading", path);
    }

    void check_links(const std::string& object) const;
    hdf5::Id open_object(const std::string& object) const;
    hdf5::Id open_dataset(const std::string& object, Hdf5Dataset* found) const;
    hdf5::Id open_attribute(const std::string& object, const std::string& name) const;
    void check_storage(const std::string& object, hid_t dataset, Hdf5Dataset* found) const;
    template <typename T>
    std::vector<T> read_list(const std::string& object, const std::string& name) const;
    void write_attribute(const std::string& object, const std::string& name, hid_t type, hid_t space,
                         const void* data);
    hdf5::Id create_dataset(const std::string& object, DType dtype, const std::vector<int64_t>& shape,
                            hid_t creation);
};

} // namespace braid
