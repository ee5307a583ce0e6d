#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"
#include "trainer/checkpoint/checkpoint_manifest.h"

namespace braid {

constexpr mode_t kCheckpointFileMode = 0600, kCheckpointFolderMode = 0700;

/// The shape of the dataset that holds a box of this extent: HDF5 virtual datasets know no scalars, so [1]
/// stands for them.
std::vector<int64_t> dataset_shape(const std::vector<int64_t>& extent);

/// A part of a global tensor that this rank writes.
struct TensorShard {
    TensorInfo tensor;
    Box box;
    Tensor data; // packed, in host memory, box.numel() elements of tensor.dtype
};

/// What a checkpoint holds besides tensors; equal on all ranks.
struct CheckpointContent {
    TrainingState training;
    std::string config; // the resolved run file
    CheckpointLayout layout;
};

/// Every rank's text, by rank; called by all ranks in step. all_gather_text of a communicator, or for one
/// rank a function that returns its argument.
using GatherText = std::function<std::vector<std::string>(const std::string&)>;

struct SaveOptions {
    int64_t keep = 0;                        // of the checkpoints up to this step the newest stay; 0: all
    int64_t block_bytes = int64_t{64} << 20; // that share one hash
};

/// Saves FOLDER/step-NNNNNNNN (FOLDER is created) with one file per rank that has shards, and returns its
/// path. The shards of all ranks cover each tensor once.
///
/// All is written into a temporary folder beside the target, synced and renamed, so that a checkpoint exists
/// whole or not at all; one of the same step is replaced in the same instant. Then older ones are removed as
/// `keep` says. What a killed process left behind is removed first, so the caller must hold the run's lock.
///
/// All ranks call this in step, and all throw the same AgreedError if any fails: ExitCode::non_finite where a
/// tensor holds NaN or infinity, cannot_write where the disk refuses. The checkpoints from before stay.
std::string save_checkpoint(const std::string& folder, std::span<const TensorShard> shards,
                            const CheckpointContent& content, int rank, const GatherText& gather,
                            const SaveOptions& options = {});

/// The single steps of save_checkpoint, without communication. Writes this rank's file into an existing
/// folder and returns what it wrote; no shards, no file.
RankRecord write_rank_file(const std::string& folder, int rank, const std::string& save_id, int64_t step,
                           std::span<const TensorShard> shards, int64_t block_bytes);

/// Merges what all ranks wrote into `folder`, checks that it is whole, and writes index and manifest.
void write_manifest(const std::string& folder, const std::string& save_id, const CheckpointContent& content,
                    std::span<const RankRecord> records, int64_t block_bytes);

} // namespace braid
