// inspect, verify, diff and merge of layalign-checkpoint.

#include "launch/checkpoint_commands.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/tensor_map.h"
#include "configs/error.h"
#include "launch/checkpoint_output.h"
#include "launch/failure.h"
#include "trainer/checkpoint_check.h"
#include "trainer/checkpoint_place.h"
#include "trainer/checkpoint_report.h"
#include "trainer/training_state.h"

namespace layalign::launch {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;
using checkpoints_tools::TensorDifference;
using checkpoints_tools::TensorMap;
using trainer::CheckpointPlace;
using trainer::PlaceKind;

/// Tensors of a path, with the file or folder that they were read from.
struct Loaded {
  fs::path from;
  TensorMap tensors;
};

/// The trained weights of a path, or its training checkpoint: weights and moments.
Loaded load(const std::string& path, bool optimizer) {
  const CheckpointPlace place(path);
  if (!optimizer) return {place.weights(), trainer::read_weights(place)};
  if (place.kind() == PlaceKind::kFile || place.kind() == PlaceKind::kAdapter) {
    throw CheckpointError(path +
                          ": --optimizer needs a training checkpoint (step-XXXXXXXX), a stage or a run; a file of "
                          "weights has no moments");
  }
  Loaded loaded{place.checkpoint(), {}};
  const trainer::TrainingState state = trainer::load_training_state(loaded.from);
  const auto add = [&](const std::string& prefix, const at::Tensor& flat) {
    for (const auto& [name, tensor] : trainer::split_flat(state.layout, flat))
      loaded.tensors.emplace(prefix + name, tensor);
  };
  add("", state.masters);
  add("exp_avg.", state.exp_avg);
  add("exp_avg_sq.", state.exp_avg_sq);
  return loaded;
}

std::string number(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

std::string difference_text(const TensorDifference& tensor) {
  if (tensor.bit_equal) return tensor.form_a + "  bit-equal";
  if (tensor.form_a.empty()) return tensor.form_b + "  only in B";
  if (tensor.form_b.empty()) return tensor.form_a + "  only in A";
  std::string text = tensor.form_a;
  if (tensor.form_a != tensor.form_b) text += " in A, " + tensor.form_b + " in B";
  if (!tensor.same_shape) return text;
  return text + "  " + std::to_string(tensor.differing) + " of " + std::to_string(tensor.values) +
         " values differ, largest difference " + number(tensor.max_absolute) + ", relative " +
         number(tensor.max_relative);
}

}  // namespace

int inspect(const InspectArguments& arguments) {
  const auto report = trainer::checkpoint_report(CheckpointPlace(arguments.path));
  std::cout << (arguments.json ? report.dump(2) + "\n" : trainer::report_text(report)) << std::flush;
  return kDone;
}

int verify(const VerifyArguments& arguments) {
  const auto items = trainer::check_all(CheckpointPlace(arguments.path));
  size_t bad = 0;
  for (const trainer::CheckedItem& item : items) {
    std::cout << (item.problems.empty() ? "ok   " : "BAD  ") << item.path.string()
              << (item.note.empty() ? "" : "  (" + item.note + ")") << "\n";
    for (const std::string& problem : item.problems) std::cout << "       " << problem << "\n";
    if (!item.problems.empty()) ++bad;
  }
  std::cout << std::flush;
  if (items.empty()) throw CheckpointError(arguments.path + ": nothing has been saved here yet");
  if (bad == 0) return kDone;
  throw CheckpointError(
      std::to_string(bad) + " of " + std::to_string(items.size()) + " checked in " + arguments.path +
      " are damaged; remove those, or copy them again. A resume takes the newest checkpoint that is whole");
}

int diff(const DiffArguments& arguments) {
  const Loaded a = load(arguments.a, arguments.optimizer), b = load(arguments.b, arguments.optimizer);
  const auto differences = checkpoints_tools::compare(a.tensors, b.tensors);
  std::cout << "A  " << a.from.string() << "\nB  " << b.from.string() << "\n";
  size_t differing = 0;
  for (const TensorDifference& tensor : differences) {
    std::cout << "  " << tensor.name << "  " << difference_text(tensor) << "\n";
    if (!tensor.bit_equal) ++differing;
  }
  if (differing == 0) {
    std::cout << "bit-equal: all " << differences.size() << " tensors" << std::endl;
    return kDone;
  }
  std::cout << "different: " << differing << " of " << differences.size() << " tensors" << std::endl;
  return kDifferent;
}

int merge(const MergeArguments& arguments) {
  if (arguments.optimizer && arguments.paths.size() > 1) {
    throw configs::ConfigError("merge: --optimizer goes with one PATH: averaged moments belong to no step of a run");
  }
  check_output_file(arguments.output, arguments.force);
  std::vector<TensorMap> sets;
  std::vector<std::string> names;
  for (const std::string& path : arguments.paths) {
    Loaded loaded = load(path, arguments.optimizer);
    std::cout << "read " << loaded.from.string() << ": " << loaded.tensors.size() << " tensors\n";
    sets.push_back(std::move(loaded.tensors));
    names.push_back(loaded.from.string());
  }
  const TensorMap merged = sets.size() == 1 ? sets[0] : checkpoints_tools::average(sets, names);
  write_output_file(arguments.output, merged, {});
  std::cout << "wrote " << arguments.output << ": " << merged.size() << " tensors"
            << (sets.size() == 1 ? "" : ", the average of " + std::to_string(sets.size())) << std::endl;
  return kDone;
}

}  // namespace layalign::launch
