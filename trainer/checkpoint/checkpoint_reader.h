#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "tensor/tensor.h"
#include "trainer/checkpoint/checkpoint_manifest.h"

namespace braid {

/// A checkpoint opened for reading, by any number of ranks in any layout. Whatever it returns has passed the
/// hashes of the manifest; files in the folder are otherwise not trusted, and read by offset: loading runs
/// none of HDF5. Every defect is a CheckpointError naming file and field, expected and found. A const reader
/// may be used from several threads.
class CheckpointReader {
  public:
    /// Reads and checks the manifest, and that the folder holds exactly the regular files it lists, in their
    /// sizes. Takes no memory beyond the manifest (at most Manifest::kMaxBytes of text).
    static CheckpointReader open(const std::string& folder);

    const std::string& folder() const { return folder_; }
    const Manifest& manifest() const { return manifest_; }

    /// Checks that the stored tensors of these kinds are exactly `wanted`, in name, kind, element type and
    /// shape; names those that are missing, unexpected or different.
    void expect(std::span<const TensorInfo> wanted, std::span<const TensorKind> kinds) const;

    /// Puts a box of a tensor together, packed, from whatever boxes are stored, and checks the hashes of just
    /// the blocks it reads. `out` has the bytes of the box.
    void read(const std::string& name, const Box& box, std::span<std::byte> out) const;
    /// The same into a packed tensor in host memory, of the stored element type.
    void read(const std::string& name, const Box& box, const Tensor& out) const;

    /// Reads everything: the SHA-256 of every file, that of every block, and that the ranks' files are the
    /// HDF5 files that the manifest describes: of this save, with these contiguous datasets and nothing else.
    /// `tick`, where given, is called often meanwhile: at least after each block.
    void verify(const std::function<void()>& tick = {}) const;

  private:
    CheckpointReader(std::string folder, Manifest manifest)
        : folder_(std::move(folder)), manifest_(std::move(manifest)) {}

    void check_folder() const;
    FileDescriptor open_file(const std::string& name) const;
    void read_part(const StoredTensor& tensor, const StoredBox& stored, const Box& box,
                   std::span<std::byte> out) const;
    struct Part {
        const StoredTensor* tensor;
        const StoredBox* stored;
    };
    void verify_rank_file(const std::string& name, std::span<const Part> parts,
                          const std::function<void()>& tick) const;

    std::string folder_;
    Manifest manifest_;
};

} // namespace braid
