#include "trainer/trainables_file.h"

#include <algorithm>
#include <set>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/safetensors.h"
#include "trainer/checkpoint_place.h"
#include "trainer/durable_file.h"
#include "trainer/run_folder.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;
using checkpoints_tools::SafetensorsFile;

constexpr const char* kInitPrefix = "init.";

/// "init." where the file holds the layout's names only so, else "".
std::string prefix_of(const SafetensorsFile& file, const TrainableLayout& layout) {
  const auto holds_any = [&](const std::string& prefix) {
    return std::any_of(layout.begin(), layout.end(), [&](const auto& t) { return file.contains(prefix + t.first); });
  };
  return !holds_any("") && holds_any(kInitPrefix) ? kInitPrefix : "";
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

/// What keeps the file from giving the layout's tensors; empty where nothing does.
std::string problems(const SafetensorsFile& file, const TrainableLayout& layout, const std::string& prefix) {
  const std::set<std::string> kinds{"F32", "BF16", "F16"};
  std::string text;
  std::set<std::string> expected;
  for (const auto& [name, shape] : layout) {
    expected.insert(prefix + name);
    const auto found = file.tensors().find(prefix + name);
    if (found == file.tensors().end()) {
      text += "\n  missing: " + prefix + name + " " + shape_text(shape);
    } else if (found->second.shape != shape) {
      text += "\n  wrong shape: " + prefix + name + ": expected " + shape_text(shape) + ", got " +
              shape_text(found->second.shape);
    } else if (!kinds.contains(found->second.dtype)) {
      text += "\n  wrong kind: " + prefix + name + ": expected F32, BF16 or F16, got " + found->second.dtype;
    }
  }
  for (const auto& [name, info] : file.tensors()) {
    if (name.starts_with(prefix) && !expected.contains(name)) {
      text += "\n  unexpected: " + name + " " + shape_text(info.shape);
    }
  }
  return text;
}

}  // namespace

TrainablesPlace find_trainables(const fs::path& path) {
  if (!fs::is_directory(path)) return {path, {}};
  for (const char* name : {RunFolder::kTrainables, kAdapterWeights}) {
    if (fs::exists(path / name)) return {path / name, {}};
  }
  const auto stages = stage_folders(path);
  std::vector<std::string> unfinished;
  for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
    const fs::path file = stage->second / RunFolder::kTrainables;
    if (fs::exists(file)) return {file, {unfinished.rbegin(), unfinished.rend()}};
    unfinished.push_back(stage->second.filename().string());
  }
  throw CheckpointError(path.string() + ": no trained weights here; expected a safetensors file, an exported adapter, a "
                        "folder with " +
                        RunFolder::kTrainables + ", or the output folder of a run with a finished stage");
}

std::string trainables_hash(const at::Tensor& flat) {
  const auto host = flat.to(at::kCPU).contiguous();
  return checkpoints_tools::xxh3_hex({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
}

int64_t layout_numel(const TrainableLayout& layout) {
  int64_t total = 0;
  for (const auto& [name, shape] : layout) total += c10::multiply_integers(shape);
  return total;
}

std::vector<std::pair<std::string, at::Tensor>> split_flat(const TrainableLayout& layout, const at::Tensor& flat) {
  TORCH_CHECK(flat.dim() == 1 && flat.numel() == layout_numel(layout), "trainables: expected a flat buffer of ",
              layout_numel(layout), " elements, got ", flat.sizes());
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  int64_t begin = 0;
  for (const auto& [name, shape] : layout) {
    const int64_t size = c10::multiply_integers(shape);
    tensors.emplace_back(name, flat.narrow(0, begin, size).view(shape));
    begin += size;
  }
  return tensors;
}

void save_trainables(const fs::path& path, const TrainableLayout& layout, const at::Tensor& flat) {
  as_io_error([&] { checkpoints_tools::write_safetensors(path, split_flat(layout, flat)); });
}

at::Tensor load_trainables(const fs::path& path, const TrainableLayout& layout) {
  const SafetensorsFile file(find_trainables(path).file);
  const std::string prefix = prefix_of(file, layout);
  std::string wrong = problems(file, layout, prefix);
  at::Tensor flat = at::empty({layout_numel(layout)}, at::kFloat);
  if (wrong.empty()) {
    for (auto& [name, slice] : split_flat(layout, flat)) {
      slice.copy_(file.read(prefix + name));
      if (!slice.isfinite().all().item<bool>()) wrong += "\n  holds NaN or Inf: " + prefix + name;
    }
  }
  if (!wrong.empty())
    throw CheckpointError(file.path().string() +
                          ": these are not the trainables of this model (is it the same encoder, "
                          "LLM, layers and structure?):" +
                          wrong);
  return flat;
}

}  // namespace layalign::trainer
