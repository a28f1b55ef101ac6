#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "model/trainables.h"

namespace layalign::trainer {

using model::TrainableLayout;

/// Elements of all tensors of a layout: N.
int64_t layout_numel(const TrainableLayout& layout);

/// The tensors of a flat buffer by name, as views. Shapes: flat [N].
std::vector<std::pair<std::string, at::Tensor>> split_flat(const TrainableLayout& layout, const at::Tensor& flat);

/// Writes the named tensors of `flat` (float32 [N], any device) as one safetensors file, atomically.
/// Errors: IoError with the path.
void save_trainables(const std::filesystem::path& path, const TrainableLayout& layout, const at::Tensor& flat);

/// What tells trained weights from others: XXH3-128 of the flat float32 buffer, on any device.
std::string trainables_hash(const at::Tensor& flat);

/// Where trained weights lie.
struct TrainablesPlace {
  std::filesystem::path file;
  std::vector<std::string> unfinished;  ///< folders of the run's later stages, which have not ended; none for a file
};

/// What a path of the user means: a file; a folder that holds trainables.safetensors (a checkpoint or a stage) or
/// adapter.safetensors (an export); a run folder (its last stage that has ended). Errors: CheckpointError where a folder is none of these.
TrainablesPlace find_trainables(const std::filesystem::path& path);

/// Reads the tensors of `layout` into a flat float32 buffer [N] in CPU memory. `path`: as find_trainables takes
/// it. The tensors may be float32, bfloat16 or float16. A file without plain names may hold them as `init.NAME` among others.
/// Errors: CheckpointError naming the file and EVERY tensor that is missing, unexpected, of another shape, of another
/// kind of number, or not finite.
at::Tensor load_trainables(const std::filesystem::path& path, const TrainableLayout& layout);

}  // namespace layalign::trainer
