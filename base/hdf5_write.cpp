// The writing half of Hdf5File.
#include <limits>

#include "base/hdf5_internal.h"

namespace braid {

using namespace hdf5;

namespace {

Id create_parents() {
    Id list(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    check(list && H5Pset_create_intermediate_group(list.get(), 1) >= 0,
          "H5Pset_create_intermediate_group failed");
    return list;
}

// What shows in a virtual dataset where its source is missing: never a number that could be taken for data.
// Zeros, the default, look like weights.
void set_missing_value(hid_t creation, DType dtype) {
    const Id type = make_type(dtype);
    const auto set = [&](auto value) {
        check(H5Pset_fill_value(creation, type.get(), &value) >= 0, "HDF5 refuses the fill value: {}",
              library_reason());
    };
    switch (dtype) {
        case DType::u8:
            return set(std::numeric_limits<uint8_t>::max());
        case DType::u16:
            return set(std::numeric_limits<uint16_t>::max());
        case DType::i32:
            return set(std::numeric_limits<int32_t>::min());
        case DType::i64:
            return set(std::numeric_limits<int64_t>::min());
        case DType::f32:
            return set(std::numeric_limits<float>::quiet_NaN());
        case DType::f64:
            return set(std::numeric_limits<double>::quiet_NaN());
        case DType::bf16:
            return set(uint16_t{0x7fc0}); // NaN, in the bits of the type
    }
}

} // namespace

Id Hdf5File::Impl::create_dataset(const std::string& object, DType dtype, const std::vector<int64_t>& shape,
                                  hid_t creation) {
    expect_writing();
    // Named, as the library forgets its reason when a temporary is closed.
    const Id type = make_type(dtype), space = make_space(shape), parents = create_parents();
    Id dataset(
        H5Dcreate2(file.get(), object.c_str(), type.get(), space.get(), parents.get(), creation, H5P_DEFAULT),
        H5Dclose);
    if (!dataset) fail(object, "cannot create the dataset: {}", library_reason());
    return dataset;
}

void Hdf5File::Impl::write_attribute(const std::string& object, const std::string& name, hid_t type,
                                     hid_t space, const void* data) {
    expect_writing();
    const Id target = open_object(object);
    const Id attribute(H5Acreate2(target.get(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                       H5Aclose);
    if (!attribute || H5Awrite(attribute.get(), type, data) < 0)
        fail(object, "cannot write attribute '{}': {}", name, library_reason());
}

void Hdf5File::create_group(const std::string& path) {
    const Guard guard;
    impl_->expect_writing();
    const Id parents = create_parents();
    const Id group(H5Gcreate2(impl_->file.get(), path.c_str(), parents.get(), H5P_DEFAULT, H5P_DEFAULT),
                   H5Gclose);
    if (!group) impl_->fail(path, "cannot create the group: {}", library_reason());
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& path, DType dtype,
                                     const std::vector<int64_t>& shape) {
    const Guard guard;
    const Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    check(creation && H5Pset_layout(creation.get(), H5D_CONTIGUOUS) >= 0 &&
              H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY) >= 0 &&
              H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER) >= 0,
          "HDF5 refuses the dataset properties");
    const Id dataset = impl_->create_dataset(path, dtype, shape, creation.get());
    Hdf5Dataset made{dtype, {}, 0, -1};
    impl_->check_storage(path, dataset.get(), &made);
    return made;
}

void Hdf5File::write(const std::string& path, DType dtype, const std::vector<int64_t>& shape,
                     const void* data) {
    const Guard guard;
    create_dataset(path, dtype, shape);
    write_box(path, dtype, std::vector<int64_t>(shape.size(), 0), shape, data);
}

void Hdf5File::write_box(const std::string& path, DType dtype, const std::vector<int64_t>& start,
                         const std::vector<int64_t>& count, const void* data) {
    const Guard guard;
    impl_->expect_writing();
    Hdf5Dataset made;
    const Id dataset = impl_->open_dataset(path, &made);
    check(made.dtype == dtype && inside(start, count, made.shape),
          "{}: {}: writing a box of [{}] at [{}] into {}", impl_->path, path, fmt::join(count, ", "),
          fmt::join(start, ", "), describe(made.dtype, made.shape));
    const Id file_space = make_space(made.shape), memory_space = make_space(count), type = make_type(dtype);
    if (H5Sget_simple_extent_npoints(memory_space.get()) == 0) return;
    select_box(file_space.get(), start, count);
    if (H5Dwrite(dataset.get(), type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, data) < 0)
        impl_->fail(path, "cannot write: {}", library_reason());
}

void Hdf5File::create_virtual_dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape,
                                      std::span<const Hdf5Box> boxes) {
    const Guard guard;
    const Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    set_missing_value(creation.get(), dtype);
    const Id space = make_space(shape);
    for (const Hdf5Box& box : boxes) {
        const auto start =
            box.source_start.empty() ? std::vector<int64_t>(box.count.size(), 0) : box.source_start;
        check(inside(box.start, box.count, shape) && inside(start, box.count, box.source_shape),
              "{}: {}: a box of [{}] at [{}] does not fit [{}] or its source [{}]", impl_->path, path,
              fmt::join(box.count, ", "), fmt::join(box.start, ", "), fmt::join(shape, ", "),
              fmt::join(box.source_shape, ", "));
        const Id source_space = make_space(box.source_shape);
        select_box(space.get(), box.start, box.count);
        select_box(source_space.get(), start, box.count);
        if (H5Pset_virtual(creation.get(), space.get(), box.file.c_str(), box.dataset.c_str(),
                           source_space.get()) < 0)
            impl_->fail(path, "cannot map {} of {}: {}", box.dataset, box.file, library_reason());
    }
    impl_->create_dataset(path, dtype, shape, creation.get());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, int64_t value) {
    const Guard guard;
    impl_->write_attribute(object, name, make_type(DType::i64).get(), make_space({}).get(), &value);
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, double value) {
    const Guard guard;
    impl_->write_attribute(object, name, make_type(DType::f64).get(), make_space({}).get(), &value);
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, std::string_view value) {
    const Guard guard;
    check(static_cast<int64_t>(value.size()) <= kMaxAttributeBytes &&
              value.find('\0') == std::string_view::npos,
          "{}: {}: attribute '{}' is too long or holds a NUL", impl_->path, object, name);
    const std::string text(value.empty() ? std::string(1, '\0')
                                         : std::string(value)); // HDF5 has no empty strings
    const Id type(H5Tcopy(H5T_C_S1), H5Tclose);
    check(H5Tset_size(type.get(), text.size()) >= 0 && H5Tset_strpad(type.get(), H5T_STR_NULLPAD) >= 0 &&
              H5Tset_cset(type.get(), H5T_CSET_UTF8) >= 0,
          "HDF5 cannot describe a string of {} bytes", text.size());
    impl_->write_attribute(object, name, type.get(), make_space({}).get(), text.data());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name,
                               std::span<const int64_t> values) {
    const Guard guard;
    check(static_cast<int64_t>(values.size()) <= kMaxAttributeElements,
          "attribute '{}' has too many elements", name);
    const Id space = make_space({static_cast<int64_t>(values.size())});
    impl_->write_attribute(object, name, make_type(DType::i64).get(), space.get(), values.data());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name,
                               std::span<const double> values) {
    const Guard guard;
    check(static_cast<int64_t>(values.size()) <= kMaxAttributeElements,
          "attribute '{}' has too many elements", name);
    const Id space = make_space({static_cast<int64_t>(values.size())});
    impl_->write_attribute(object, name, make_type(DType::f64).get(), space.get(), values.data());
}

} // namespace braid
