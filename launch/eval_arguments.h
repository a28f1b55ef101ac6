#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/answering.h"

namespace layalign::launch {

/// The command line of layalign-eval.
struct EvalArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string checkpoint;  ///< empty: the output folder of the config
  bool untrained = false;  ///< with what a run begins with, in place of a checkpoint
  std::vector<std::string> tasks;
  std::vector<std::string> languages;
  std::vector<std::string> modes{"layalign"};
  std::optional<int64_t> limit;
  std::optional<int64_t> max_new_tokens;
  std::optional<int64_t> batch;
  model::SamplingOptions sampling;
  std::string input;   ///< of the tasks text and token_ids; empty: standard input
  std::string output;  ///< empty: "evaluation" in the output folder of the config

  bool has_task(const std::string& name) const;
  /// Fills the struct from a command line. Returns the exit code where the program ends there (help, a wrong option).
  std::optional<int> parse(int argc, char** argv);
};

/// The tasks besides the benchmarks.
inline constexpr const char* kPerplexityTask = "perplexity";
inline constexpr const char* kTextTask = "text";
inline constexpr const char* kTokenIdsTask = "token_ids";
inline constexpr const char* kRepresentationsTask = "representations";

/// What stands in results for the name of the weights that a run begins with.
inline constexpr const char* kUntrained = "untrained";

}  // namespace layalign::launch
