#include "base/hdf5_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/atomic_file.h"
#include "base/file_services.h"
#include "base/hdf5_internal.h"

namespace braid {

using namespace hdf5;

namespace {

// HDF5 holds a shared lock on a file it reads and an exclusive one on a file it writes.
bool is_locked_by_a_writer(int descriptor) {
    if (::flock(descriptor, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
    ::flock(descriptor, LOCK_UN);
    return false;
}

/// HDF5 goes on without locks by itself only where flock says ENOSYS, which few file systems do.
void use_locks_of(int descriptor, hid_t access) {
#if H5_VERSION_GE(1, 10, 7)
    const bool locks = ::flock(descriptor, LOCK_SH | LOCK_NB) == 0;
    const bool missing = !locks && is_missing(FileService::locks, errno);
    if (locks) ::flock(descriptor, LOCK_UN);
    H5Pset_file_locking(access, !missing, true);
#endif
}

/// HDF5 opens by name: whether it got the file that is open already.
bool is_same_file(hid_t file, int descriptor) {
    void* handle = nullptr;
    struct stat ours, its;
    return H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 && handle && ::fstat(descriptor, &ours) == 0 &&
           ::fstat(*static_cast<int*>(handle), &its) == 0 && ours.st_ino == its.st_ino &&
           ours.st_dev == its.st_dev;
}

} // namespace

Hdf5File::Hdf5File(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;
Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    std::swap(impl_, other.impl_);
    return *this;
}
Hdf5File::~Hdf5File() {
    if (!impl_) return;
    const Guard guard;
    impl_.reset();
}

Hdf5File Hdf5File::open(const std::string& path, ExitCode code, Hdf5Accept accept) {
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->code = code;
    impl->accept = accept;
    impl->descriptor = open_regular_file(path, code, accept.symlinks, &impl->num_bytes);
    char signature[8] = {};
    if (impl->num_bytes >= 8) read_all_at(impl->descriptor.get(), signature, 8, 0, path, code);
    // HDF5 itself also looks for the signature further on, so that a file could be two things at once.
    if (std::memcmp(signature, "\x89HDF\r\n\x1a\n", 8) != 0)
        throw_error(code, fmt::format("{}: expected an HDF5 file, found another signature", path));

    const Guard guard;
    const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    check(access && H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) >= 0, "H5Pset_fclose_degree failed");
    use_locks_of(impl->descriptor.get(), access.get());
    impl->file = Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!impl->file) {
        const std::string reason = library_reason();
        if (is_locked_by_a_writer(impl->descriptor.get()))
            throw_error(code,
                        fmt::format("{}: locked: another program has it open for writing; close it there, or "
                                    "use a copy",
                                    path));
        throw_error(code, fmt::format("{}: not readable as HDF5: {}", path, reason));
    }
    if (!is_same_file(impl->file.get(), impl->descriptor.get()))
        throw_error(code, fmt::format("{}: the file was replaced while it was opened", path));
    return Hdf5File(std::move(impl));
}

Hdf5File Hdf5File::create(const std::string& path, mode_t mode) {
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->writing = true;
    const FileDescriptor made = create_file(path, mode);
    const Guard guard;
    const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    // Datasets start at multiples of 64 bytes, for mmap and vector loads.
    check(access && H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) >= 0 &&
              H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 &&
              H5Pset_alignment(access.get(), 1024, 64) >= 0,
          "HDF5 refuses the file access properties");
    use_locks_of(made.get(), access.get());
    impl->file = Id(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
    if (!impl->file) {
        const std::string reason = library_reason();
        ::unlink(path.c_str());
        throw WriteError("{}: cannot create: {}", path, reason);
    }
    if (!is_same_file(impl->file.get(), made.get()))
        throw WriteError("{}: the file was replaced while it was made", path);
    return Hdf5File(std::move(impl));
}

void Hdf5File::close() {
    const Guard guard;
    if (!impl_ || !impl_->file) return;
    if (impl_->writing) {
        void* handle = nullptr;
        if (H5Fflush(impl_->file.get(), H5F_SCOPE_GLOBAL) < 0)
            throw WriteError("{}: cannot write: {}", impl_->path, library_reason());
        if (H5Fget_vfd_handle(impl_->file.get(), H5P_DEFAULT, &handle) < 0 || !handle)
            throw WriteError("{}: cannot sync: {}", impl_->path, library_reason());
        sync_file(*static_cast<int*>(handle), impl_->path);
    }
    if (impl_->file.close() < 0 && impl_->writing)
        throw WriteError("{}: cannot close: {}", impl_->path, library_reason());
    if (impl_->writing) {
        // Closing sets the final length and clears the mark of an open writer, after the sync above.
        FileDescriptor closed(::open(impl_->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!closed) throw WriteError("{}: cannot open: {}", impl_->path, std::strerror(errno));
        sync_file(closed.get(), impl_->path);
    }
    impl_->descriptor = FileDescriptor();
}

const std::string& Hdf5File::path() const {
    return impl_->path;
}
int64_t Hdf5File::num_bytes() const {
    return impl_->num_bytes;
}
int Hdf5File::descriptor() const {
    return impl_->descriptor.get();
}

std::vector<std::string> Hdf5File::names(const std::string& group) const {
    const Guard guard;
    const Id id = impl_->open_object(group);
    H5G_info_t info;
    if (H5Gget_info(id.get(), &info) < 0) impl_->fail(group, "expected a group: {}", library_reason());
    std::vector<std::string> found;
    for (hsize_t i = 0; i < info.nlinks; ++i) {
        char name[1024];
        const ssize_t length =
            H5Lget_name_by_idx(id.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
        if (length <= 0 || length >= static_cast<ssize_t>(sizeof name))
            impl_->fail(group, "cannot read the name of entry {}", i);
        H5L_info_t link;
        if (H5Lget_info(id.get(), name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
            impl_->fail(group, "expected only hard links, found '{}'", name);
        found.emplace_back(name);
    }
    std::sort(found.begin(), found.end());
    return found;
}

bool Hdf5File::contains(const std::string& path) const {
    const Guard guard;
    impl_->expect_open();
    size_t end = 0;
    while (end < path.size()) {
        end = path.find('/', end + 1);
        if (end == std::string::npos) end = path.size();
        const std::string prefix = path.substr(0, end);
        if (!prefix.empty() && prefix != "/" &&
            H5Lexists(impl_->file.get(), prefix.c_str(), H5P_DEFAULT) <= 0)
            return false;
    }
    return true;
}

Hdf5Dataset Hdf5File::dataset(const std::string& path) const {
    const Guard guard;
    Hdf5Dataset found;
    impl_->open_dataset(path, &found);
    return found;
}

Hdf5Dataset Hdf5File::dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape) const {
    Hdf5Dataset found = dataset(path);
    if (found.dtype != dtype || found.shape != shape)
        impl_->fail(path, "expected {}, found {}", describe(dtype, shape),
                    describe(found.dtype, found.shape));
    return found;
}

int64_t Hdf5File::checked_length(const std::string& path, DType dtype, int64_t max_elements) const {
    const Hdf5Dataset found = dataset(path);
    if (found.dtype != dtype || found.shape.size() != 1 || found.num_elements > max_elements)
        impl_->fail(path, "expected {} with at most {} elements, found {}", name_of(dtype), max_elements,
                    describe(found.dtype, found.shape));
    return found.num_elements;
}

void Hdf5File::read(const std::string& path, DType dtype, const std::vector<int64_t>& shape,
                    void* out) const {
    dataset(path, dtype, shape);
    read_box(path, dtype, std::vector<int64_t>(shape.size(), 0), shape, out);
}

void Hdf5File::read_box(const std::string& path, DType dtype, const std::vector<int64_t>& start,
                        const std::vector<int64_t>& count, void* out) const {
    const Guard guard;
    Hdf5Dataset found;
    const Id dataset = impl_->open_dataset(path, &found);
    if (found.dtype != dtype || !inside(start, count, found.shape))
        impl_->fail(path, "expected {} with a box of [{}] at [{}], found {}", name_of(dtype),
                    fmt::join(count, ", "), fmt::join(start, ", "), describe(found.dtype, found.shape));
    // Named, as the library forgets its reason when a temporary is closed.
    const Id file_space = make_space(found.shape), memory_space = make_space(count), type = make_type(dtype);
    if (H5Sget_simple_extent_npoints(memory_space.get()) == 0) return;
    select_box(file_space.get(), start, count);
    if (H5Dread(dataset.get(), type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, out) < 0)
        impl_->fail(path, "cannot read: {}", library_reason());
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
    const Guard guard;
    const Id id = impl_->open_object(object);
    return H5Aexists(id.get(), name.c_str()) > 0;
}

int64_t Hdf5File::read_i64(const std::string& object, const std::string& name) const {
    const std::vector<int64_t> values = read_i64_list(object, name);
    if (values.size() != 1)
        impl_->fail(object, "attribute '{}': expected one number, found {}", name, values.size());
    return values[0];
}

double Hdf5File::read_f64(const std::string& object, const std::string& name) const {
    const std::vector<double> values = read_f64_list(object, name);
    if (values.size() != 1)
        impl_->fail(object, "attribute '{}': expected one number, found {}", name, values.size());
    return values[0];
}

std::vector<int64_t> Hdf5File::read_i64_list(const std::string& object, const std::string& name) const {
    const Guard guard;
    return impl_->read_list<int64_t>(object, name);
}

std::vector<double> Hdf5File::read_f64_list(const std::string& object, const std::string& name) const {
    const Guard guard;
    return impl_->read_list<double>(object, name);
}

std::string Hdf5File::read_string(const std::string& object, const std::string& name) const {
    const Guard guard;
    const Id attribute = impl_->open_attribute(object, name);
    const Id type(H5Aget_type(attribute.get()), H5Tclose), space(H5Aget_space(attribute.get()), H5Sclose);
    if (!type || H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 ||
        H5Sget_simple_extent_type(space.get()) != H5S_SCALAR)
        impl_->fail(object, "attribute '{}': expected one string of fixed size", name);
    const size_t size = H5Tget_size(type.get());
    if (size > static_cast<size_t>(kMaxAttributeBytes))
        impl_->fail(object, "attribute '{}': expected at most {} bytes, found {}", name, kMaxAttributeBytes,
                    size);
    std::string value(size, '\0');
    if (H5Aread(attribute.get(), type.get(), value.data()) < 0)
        impl_->fail(object, "attribute '{}': cannot read: {}", name, library_reason());
    value.resize(std::min(value.find('\0'), value.size()));
    return value;
}

std::string hdf5_version() {
    const Guard guard;
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return fmt::format("{}.{}.{}", major, minor, release);
}

} // namespace braid
