#include "base/hdf5_internal.h"

#include <algorithm>
#include <string_view>

namespace braid::hdf5 {

std::string library_reason() {
    std::string reason;
    const auto keep_first = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
        auto& text = *static_cast<std::string*>(out);
        if (text.empty() && error->desc) text = error->desc;
        return 0;
    };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
    // Failures of the system come with time, addresses and line breaks around the part that says something.
    constexpr std::string_view kMark = "error message = '";
    if (const size_t start = reason.find(kMark); start != std::string::npos) {
        reason.erase(0, start + kMark.size());
        reason.resize(std::min(reason.find('\''), reason.size()));
    }
    return reason.empty() ? "unknown reason" : reason;
}

Id make_type(DType dtype) {
    const auto copy = [](hid_t native) { return Id(H5Tcopy(native), H5Tclose); };
    switch (dtype) {
        case DType::u8:
            return copy(H5T_STD_U8LE);
        case DType::u16:
            return copy(H5T_STD_U16LE);
        case DType::i32:
            return copy(H5T_STD_I32LE);
        case DType::i64:
            return copy(H5T_STD_I64LE);
        case DType::f32:
            return copy(H5T_IEEE_F32LE);
        case DType::f64:
            return copy(H5T_IEEE_F64LE);
        case DType::bf16: {
            // HDF5 describes floats by their fields, so that readers without bf16 (h5py) convert it to f32.
            Id type = copy(H5T_IEEE_F32LE);
            const bool made = H5Tset_fields(type.get(), 15, 7, 8, 0, 7) >= 0 &&
                              H5Tset_size(type.get(), 2) >= 0 && H5Tset_ebias(type.get(), 127) >= 0;
            check(made, "HDF5 cannot describe bf16");
            return type;
        }
    }
    throw InternalError("unknown dtype {}", static_cast<int>(dtype));
}

std::optional<DType> match_type(hid_t file_type) {
    for (DType dtype : {DType::u8, DType::u16, DType::i32, DType::i64, DType::f32, DType::f64, DType::bf16})
        if (H5Tequal(file_type, make_type(dtype).get()) > 0) return dtype;
    return std::nullopt;
}

Id link_access(hid_t property_class) {
    const auto refuse = [](const char*, const char*, const char*, const char*, unsigned*, hid_t,
                           void*) -> herr_t { return -1; };
    Id list(H5Pcreate(property_class), H5Pclose);
    check(list && H5Pset_elink_cb(list.get(), refuse, nullptr) >= 0, "H5Pset_elink_cb failed");
    return list;
}

std::vector<hsize_t> to_hsize(const std::vector<int64_t>& sizes) {
    for (int64_t size : sizes) check(size >= 0, "an HDF5 dimension is negative: {}", size);
    return {sizes.begin(), sizes.end()};
}

Id make_space(const std::vector<int64_t>& shape) {
    const auto dims = to_hsize(shape);
    Id space(shape.empty() ? H5Screate(H5S_SCALAR)
                           : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
             H5Sclose);
    check(bool(space), "HDF5 cannot describe the shape [{}]", fmt::join(shape, ", "));
    return space;
}

void select_box(hid_t space, const std::vector<int64_t>& start, const std::vector<int64_t>& count) {
    if (start.empty()) return; // a scalar
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, to_hsize(start).data(), nullptr, to_hsize(count).data(),
                              nullptr) >= 0,
          "HDF5 cannot select the box at [{}] of size [{}]", fmt::join(start, ", "), fmt::join(count, ", "));
}

bool inside(const std::vector<int64_t>& start, const std::vector<int64_t>& count,
            const std::vector<int64_t>& shape) {
    if (start.size() != shape.size() || count.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i)
        if (start[i] < 0 || count[i] < 0 || start[i] > shape[i] || count[i] > shape[i] - start[i])
            return false;
    return true;
}

std::string describe(DType dtype, const std::vector<int64_t>& shape) {
    return fmt::format("{} [{}]", name_of(dtype), fmt::join(shape, ", "));
}

} // namespace braid::hdf5

namespace braid {

using namespace hdf5;

// Every component of the path must be a hard link: a soft or external one could lead into another file.
void Hdf5File::Impl::check_links(const std::string& object) const {
    expect_open();
    size_t end = 0;
    while (end < object.size()) {
        end = object.find('/', end + 1);
        if (end == std::string::npos) end = object.size();
        const std::string prefix = object.substr(0, end);
        if (prefix.empty() || prefix == "/") continue;
        H5L_info_t info;
        if (H5Lget_info(file.get(), prefix.c_str(), &info, H5P_DEFAULT) < 0)
            fail(object, "expected an object of this name, found none");
        if (info.type != H5L_TYPE_HARD) fail(prefix, "expected a hard link, found a soft or external one");
    }
}

Id Hdf5File::Impl::open_object(const std::string& object) const {
    check_links(object);
    const Id access = link_access(H5P_LINK_ACCESS);
    Id id(H5Oopen(file.get(), object.c_str(), access.get()), H5Oclose);
    if (!id) fail(object, "cannot open: {}", library_reason());
    return id;
}

// Contiguous by default. The layout is checked before the dataspace is touched: asking a virtual dataset for
// its extent opens its source files.
Id Hdf5File::Impl::open_dataset(const std::string& object, Hdf5Dataset* found) const {
    check_links(object);
    const Id access = link_access(H5P_DATASET_ACCESS);
    Id dataset(H5Dopen2(file.get(), object.c_str(), access.get()), H5Dclose);
    if (!dataset) fail(object, "cannot open as a dataset: {}", library_reason());
    const Id creation(H5Dget_create_plist(dataset.get()), H5Pclose);
    if (!creation) fail(object, "cannot read the layout: {}", library_reason());
    const H5D_layout_t layout = H5Pget_layout(creation.get());
    const bool pieces = layout == H5D_COMPACT || layout == H5D_CHUNKED;
    if (layout != H5D_CONTIGUOUS && !(pieces && accept.compact_and_chunked))
        fail(object, "expected contiguous storage, found {}",
             layout == H5D_VIRTUAL   ? "a virtual dataset"
             : layout == H5D_CHUNKED ? "chunks"
                                     : "another layout");
    if (H5Pget_external_count(creation.get()) != 0) fail(object, "expected no external storage, found some");
    const int num_filters = H5Pget_nfilters(creation.get());
    for (int i = 0; i < num_filters; ++i) {
        unsigned flags = 0;
        size_t num_values = 0;
        const H5Z_filter_t filter = H5Pget_filter2(creation.get(), static_cast<unsigned>(i), &flags,
                                                   &num_values, nullptr, 0, nullptr, nullptr);
        if (filter != H5Z_FILTER_FLETCHER32)
            fail(object, "expected no filters, found filter {}", static_cast<int>(filter));
    }
    if (num_filters < 0) fail(object, "cannot read the filters: {}", library_reason());
    const Id type(H5Dget_type(dataset.get()), H5Tclose);
    const auto dtype = type ? match_type(type.get()) : std::nullopt;
    if (!dtype) fail(object, "expected little-endian integers or floats, found another type");
    found->dtype = *dtype;
    check_storage(object, dataset.get(), found);
    return dataset;
}

// Fills shape, size and offset, and refuses a dataset that claims more bytes than the file has.
void Hdf5File::Impl::check_storage(const std::string& object, hid_t dataset, Hdf5Dataset* found) const {
    const Id space(H5Dget_space(dataset), H5Sclose);
    const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : -1;
    if (rank < 0 || H5Sget_simple_extent_type(space.get()) == H5S_NULL)
        fail(object, "expected a shape, found none");
    std::vector<hsize_t> dims(static_cast<size_t>(rank));
    if (rank > 0 && H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) != rank)
        fail(object, "cannot read the shape: {}", library_reason());
    int64_t bytes = static_cast<int64_t>(size_of(found->dtype));
    for (hsize_t dim : dims) {
        if (dim > static_cast<hsize_t>(INT64_MAX) ||
            __builtin_mul_overflow(bytes, static_cast<int64_t>(dim), &bytes))
            fail(object, "the shape [{}] overflows", fmt::join(dims, ", "));
    }
    found->shape.assign(dims.begin(), dims.end());
    found->num_elements = bytes / static_cast<int64_t>(size_of(found->dtype));
    found->offset = -1;
    if (bytes == 0 || writing) {
        const haddr_t address = bytes ? H5Dget_offset(dataset) : HADDR_UNDEF;
        if (address != HADDR_UNDEF) found->offset = static_cast<int64_t>(address);
        return;
    }
    const Id creation(H5Dget_create_plist(dataset), H5Pclose);
    const bool contiguous = H5Pget_layout(creation.get()) == H5D_CONTIGUOUS;
    const hsize_t stored = H5Dget_storage_size(dataset);
    // Chunks at the border are padded, so they may hold more than the shape; never less, as nothing is
    // compressed.
    if (stored < static_cast<hsize_t>(bytes) || (contiguous && stored != static_cast<hsize_t>(bytes)) ||
        bytes > num_bytes)
        fail(object, "the shape [{}] needs {} bytes, found {} stored in a file of {}", fmt::join(dims, ", "),
             bytes, stored, num_bytes);
    if (!contiguous) return;
    const haddr_t address = H5Dget_offset(dataset);
    if (address == HADDR_UNDEF || address > static_cast<haddr_t>(num_bytes - bytes))
        fail(object, "its {} bytes lie beyond the end of the file ({} bytes)", bytes, num_bytes);
    found->offset = static_cast<int64_t>(address);
}

Id Hdf5File::Impl::open_attribute(const std::string& object, const std::string& name) const {
    const Id owner = open_object(object);
    Id attribute(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
    if (!attribute) fail(object, "expected an attribute '{}', found none", name);
    return attribute;
}

template <typename T>
std::vector<T> Hdf5File::Impl::read_list(const std::string& object, const std::string& name) const {
    const Id attribute = open_attribute(object, name);
    const Id type(H5Aget_type(attribute.get()), H5Tclose), space(H5Aget_space(attribute.get()), H5Sclose);
    constexpr DType dtype = dtype_of<T>();
    if (!type || H5Tequal(type.get(), make_type(dtype).get()) <= 0)
        fail(object, "attribute '{}': expected {}, found another type", name, name_of(dtype));
    const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : -1;
    const hssize_t count = space ? H5Sget_simple_extent_npoints(space.get()) : -1;
    if (rank < 0 || rank > 1 || count < 0 || count > kMaxAttributeElements)
        fail(object, "attribute '{}': expected at most {} numbers in one dimension", name,
             kMaxAttributeElements);
    std::vector<T> values(static_cast<size_t>(count));
    if (count > 0 && H5Aread(attribute.get(), type.get(), values.data()) < 0)
        fail(object, "attribute '{}': cannot read: {}", name, library_reason());
    return values;
}
template std::vector<int64_t> Hdf5File::Impl::read_list(const std::string&, const std::string&) const;
template std::vector<double> Hdf5File::Impl::read_list(const std::string&, const std::string&) const;

} // namespace braid
