#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layalign::launch {

// The subcommands of layalign-checkpoint. Each prints to standard output and returns its exit code.
// Errors: CheckpointError, ConfigError, IoError and those of the models' folders.

struct InspectArguments {
  std::string path;
  bool json = false;
};
/// What lies at a path.
int inspect(const InspectArguments& arguments);

struct VerifyArguments {
  std::string path;
};
/// Checks every byte. kBadInput where something is wrong.
int verify(const VerifyArguments& arguments);

struct DiffArguments {
  std::string a, b;
  bool optimizer = false;
};
/// Compares two sets of weights: 0 where they are bit-equal, 1 where they differ, as diff(1).
int diff(const DiffArguments& arguments);

struct MergeArguments {
  std::vector<std::string> paths;
  std::string output;
  bool optimizer = false;
  bool force = false;
};
/// One file of trained weights, or their average.
int merge(const MergeArguments& arguments);

struct ExportArguments {
  std::string path;
  std::string output;
  std::string format;
  std::string config;
  std::vector<int64_t> language_layers;
  std::string name, encoder_name, llm_name, license;  ///< of a folder; empty: from the config
  bool force = false;
};
/// Trained weights in a form for others: adapter, huggingface or layalign-reference.
int export_weights(const ExportArguments& arguments);

struct ImportArguments {
  std::string path;
  std::string output;
  std::string prefix;
  std::vector<int64_t> language_layers;
  bool force = false;
};
/// Trained weights of others under our names.
int import_weights(const ImportArguments& arguments);

}  // namespace layalign::launch
